//! Reads the layers into the rooms' own settings, and remembers everything that is wrong.
//!
//! A struct's field is the setting of that name in the table that the struct is read from. A field that is a struct is
//! read from the table of its name; where there is none, from the same table, so that a table can serve several rooms.
//! A name that starts with a dot is counted from the root: `.queue.lease` is that setting wherever it is asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer, MapAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{ConfigError, ConfigErrors, Warning};
use super::layer::{RawValue, SettingLayers};

/// Takes values out of the layers. A bad value is noted and the next weaker one is used in its place, so that reading
/// goes on; [`Reader::finish`] makes sure that nothing that was built this way is ever used.
pub(super) struct Reader {
    layers: SettingLayers,
    bad: BTreeSet<String>,
    read: RefCell<BTreeSet<String>>,
    is_complete: bool,
}

impl Reader {
    pub(super) fn new(layers: SettingLayers) -> Self {
        let is_complete = layers.errors.is_empty();
        Self { layers, bad: BTreeSet::new(), read: RefCell::default(), is_complete }
    }

    /// All settings, as the strongest sources have them. The weaker ones are read as well: a bad value is an error also
    /// where another outweighs it.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> T {
        let rounds = self.layers.entries.values().map(Vec::len).max().unwrap_or(1);
        for round in 0..rounds.saturating_sub(1) {
            self.read_round::<T>(round);
        }
        self.read_round(rounds)
    }

    /// Each setting as its `round`-th source has it; as its strongest one has it, if there are fewer.
    fn read_round<T: DeserializeOwned>(&mut self, round: usize) -> T {
        loop {
            let root = SettingDeserializer { reader: self, round, table: String::new(), name: String::new() };
            match T::deserialize(root) {
                Ok(settings) => return settings,
                Err(mismatch) => self.reject(mismatch, round),
            }
        }
    }

    /// Notes a bad value, and takes it out of the layers.
    fn reject(&mut self, mismatch: Mismatch, round: usize) {
        let Mismatch { name, given, expected } = mismatch;
        let Some(entries) = self.layers.entries.get_mut(&name).filter(|entries| entries.len() > 1) else {
            panic!("INVARIANT: config/default.toml has {name:?} as {expected}");
        };
        let entry = entries.remove(round.min(entries.len() - 1));
        let given = given.unwrap_or_else(|| entry.given.to_string());
        self.layers.errors.push(ConfigError::BadValue { origin: entry.origin, key: name.clone(), given, expected });
        self.bad.insert(name);
    }

    /// Notes that `rule` is broken unless it `holds`. Where one of the `keys` it is about has a bad value, nothing is known.
    pub(super) fn check(&mut self, keys: &[&str], holds: bool, rule: impl FnOnce() -> String) {
        if !holds && self.is_complete && !keys.iter().any(|key| self.bad.contains(*key)) {
            self.layers.errors.push(ConfigError::Contradiction(rule()));
        }
    }

    /// Notes that `used` stands in for the number that was given for the setting `key`, if it is another.
    pub(super) fn check_clamped(&mut self, key: &'static str, used: usize) {
        let Some(RawValue::Text(text)) = self.given(key, usize::MAX) else { return };
        let Ok(given) = text.trim().parse::<i64>() else { return };
        if usize::try_from(given) != Ok(used) {
            self.layers.warnings.push(Warning::Clamped { key, given, used });
        }
    }

    /// What the strongest source says about the setting `key`, if that is one text.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        match self.given(key, usize::MAX)? {
            RawValue::Text(text) => Some(text),
            RawValue::List(_) | RawValue::Table => None,
        }
    }

    /// What the `round`-th source says about the setting `key`; the strongest, if there are fewer.
    fn given(&self, key: &str, round: usize) -> Option<&RawValue> {
        let entries = self.layers.entries.get(key)?;
        entries.get(round).or(entries.last()).map(|entry| &entry.given)
    }

    /// The settings that nobody has read.
    pub(super) fn unread(&self) -> Vec<&str> {
        let read = self.read.borrow();
        self.layers.entries.keys().filter(|key| !read.contains(*key)).map(String::as_str).collect()
    }

    /// What was odd, unless something was wrong.
    pub(super) fn finish(self) -> Result<Vec<Warning>, ConfigErrors> {
        if self.layers.errors.is_empty() {
            Ok(self.layers.warnings)
        } else {
            Err(ConfigErrors::new(self.layers.errors))
        }
    }
}

/// A value that is not of its setting's kind.
#[derive(Debug, Default)]
struct Mismatch {
    /// The setting's dotted name.
    name: String,
    /// What to show in the place of what was given.
    given: Option<String>,
    expected: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.name, self.expected)
    }
}

impl std::error::Error for Mismatch {}

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(expected: T) -> Self {
        Self { expected: expected.to_string(), ..Self::default() }
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let given = match unexpected {
            Unexpected::Other(words) => Some(words.to_owned()),
            _ => None,
        };
        Self { given, ..Self::custom(expected) }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(expected.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" or "))
    }
}

/// A setting, or a struct of settings.
struct SettingDeserializer<'a> {
    reader: &'a Reader,
    round: usize,
    /// The table that it stands in: empty for the root, else with a dot behind it.
    table: String,
    /// Its own dotted name; empty for the root.
    name: String,
}

impl SettingDeserializer<'_> {
    /// The text of a setting that is one.
    fn text(&self) -> Result<&str, Mismatch> {
        match self.given() {
            RawValue::Text(text) => Ok(text),
            RawValue::List(_) | RawValue::Table => Err(Mismatch::custom("one value")),
        }
    }

    fn given(&self) -> &RawValue {
        self.reader.read.borrow_mut().insert(self.name.clone());
        let given = self.reader.given(&self.name, self.round);
        given.unwrap_or_else(|| panic!("INVARIANT: config/default.toml has no setting {:?}", self.name))
    }
}

impl<'de> Deserializer<'de> for SettingDeserializer<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.given() {
            RawValue::Text(text) => visitor.visit_str(text),
            RawValue::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(String::as_str))),
            RawValue::Table => Err(Mismatch::custom("one value or a list")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let Self { reader, round, table, name } = self;
        let table = if name.is_empty() {
            name
        } else if reader.layers.is_table(&name) {
            format!("{name}.")
        } else {
            table
        };
        visitor.visit_map(SettingAccess { reader, round, table, names: fields.iter(), next: "" })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let expected = || Mismatch::unknown_variant("", variants);
        let text: StrDeserializer<'_, Mismatch> = self.text().map_err(|_| expected())?.trim().into_deserializer();
        text.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The fields of a struct, each as the setting that it names.
struct SettingAccess<'a> {
    reader: &'a Reader,
    round: usize,
    table: String,
    names: std::slice::Iter<'static, &'static str>,
    next: &'static str,
}

impl<'de> MapAccess<'de> for SettingAccess<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mismatch> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.next = name;
        let name: StrDeserializer<'_, Mismatch> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let name = match self.next.strip_prefix('.') {
            Some(name) => name.to_owned(),
            None => format!("{}{}", self.table, self.next),
        };
        let setting = SettingDeserializer {
            reader: self.reader,
            round: self.round,
            table: self.table.clone(),
            name: name.clone(),
        };
        seed.deserialize(setting).map_err(|mismatch| match mismatch.name.as_str() {
            "" => Mismatch { name, ..mismatch },
            _ => mismatch,
        })
    }
}

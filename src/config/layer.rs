//! Layers of settings: who says what about which setting, before values are understood.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::client;
use super::error::{ConfigError, Origin, Warning, line_of};
use super::name::{PREFIX, removed, removed_variable, renamed, renamed_variable, suggest, variable_of};
use super::sources::Sources;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum RawValue {
    /// A string, number, flag or time in TOML; any variable.
    Text(String),
    /// An array of such.
    List(Vec<String>),
    /// A table, or an array with other than plain values inside: no setting is one.
    Table,
}

impl fmt::Display for RawValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => write!(f, "{items:?}"),
            Self::Table => f.write_str("a table"),
        }
    }
}

/// One source's word on one setting.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) given: RawValue,
    pub(super) origin: Origin,
}

/// Every setting with what the sources say about it, the default first, the strongest last.
#[derive(Debug)]
pub(super) struct SettingLayers {
    pub(super) entries: BTreeMap<String, Vec<Entry>>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<Warning>,
}

impl SettingLayers {
    /// `defaults` name all settings; what `sources` say lies on top.
    pub(super) fn stack(defaults: &str, sources: Sources) -> Self {
        let entries = default_entries(defaults);
        let mut layers = Self { entries, errors: Vec::new(), warnings: Vec::new() };
        if let Some((path, text)) = &sources.file {
            layers.add_file(path, text);
        }
        layers.add_variables(&Origin::Dotenv, sources.dotenv);
        layers.add_variables(&Origin::Environment, sources.env);
        layers
    }

    fn add_file(&mut self, path: &Path, text: &str) {
        let (table, syntax_errors) = DeTable::parse_recoverable(text);
        if !syntax_errors.is_empty() {
            // What could be recovered of a broken file may differ from what was meant.
            self.errors.extend(first_of_each_line(path, text, &syntax_errors));
            return;
        }
        self.add_table(table.get_ref(), "", &|at| Origin::File(path.to_owned(), line_of(text, at)));
    }

    fn add_table(&mut self, table: &DeTable<'_>, prefix: &str, origin_at: &dyn Fn(usize) -> Origin) {
        let mut items: Vec<_> = table.iter().collect();
        items.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in items {
            let mut name = format!("{prefix}{}", key.get_ref());
            let origin = origin_at(key.span().start);
            if let Some(new) = renamed(&name) {
                let old = std::mem::replace(&mut name, new.to_owned());
                self.warnings.push(Warning::Renamed { origin: origin.clone(), old, new: new.to_owned() });
            }
            if let Some(why) = removed(&name) {
                self.warnings.push(Warning::Removed { origin, name, why });
            } else if let Some(entries) = self.entries.get_mut(&name) {
                entries.push(Entry { given: given(value.get_ref()), origin });
            } else if !self.is_table(&name) {
                let suggestion = suggest(&name, self.entries.keys().map(String::as_str));
                self.errors.push(ConfigError::UnknownKey { origin, key: name, suggestion });
            } else if let DeValue::Table(inner) = value.get_ref() {
                self.add_table(inner, &format!("{name}."), origin_at);
            } else {
                let given = given(value.get_ref()).to_string();
                self.errors.push(ConfigError::BadValue { origin, key: name, given, expected: "a table".into() });
            }
        }
    }

    /// Whether settings stand in a table of this dotted name.
    pub(super) fn is_table(&self, name: &str) -> bool {
        let inside = format!("{name}.");
        self.entries.keys().any(|key| key.starts_with(&inside))
    }

    fn add_variables(&mut self, origin: &Origin, variables: Vec<(String, String)>) {
        let keys: BTreeMap<String, String> = self.entries.keys().map(|key| (variable_of(key), key.clone())).collect();
        let is_setting = |name: &str| name.starts_with(PREFIX) && !client::VARIABLES.contains(&name);
        for (name, value) in variables.into_iter().filter(|(name, _)| is_setting(name)) {
            let new = renamed_variable(&name);
            let entries = keys.get(&name).map(String::as_str).or(new).and_then(|key| self.entries.get_mut(key));
            match entries {
                Some(_) if value.trim().is_empty() => {}
                Some(entries) if let Some(new) = new => {
                    entries.push(Entry { given: RawValue::Text(value), origin: origin.clone() });
                    self.warnings.push(Warning::Renamed { origin: origin.clone(), old: name, new: variable_of(new) });
                }
                Some(entries) => entries.push(Entry { given: RawValue::Text(value), origin: origin.clone() }),
                None if let Some(why) = removed_variable(&name) => {
                    self.warnings.push(Warning::Removed { origin: origin.clone(), name, why });
                }
                None => {
                    let suggestion = suggest(&name, keys.keys().map(String::as_str));
                    self.warnings.push(Warning::UnknownVariable { origin: origin.clone(), name, suggestion });
                }
            }
        }
    }
}

/// The dotted names that `defaults` hold, sorted.
pub(super) fn setting_names(defaults: &str) -> Vec<String> {
    default_entries(defaults).into_keys().collect()
}

fn default_entries(defaults: &str) -> BTreeMap<String, Vec<Entry>> {
    let table = DeTable::parse(defaults).expect("INVARIANT: config/default.toml is TOML");
    let mut entries = BTreeMap::new();
    flatten(table.get_ref(), "", &mut entries);
    entries
}

fn flatten(table: &DeTable<'_>, prefix: &str, entries: &mut BTreeMap<String, Vec<Entry>>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(inner, &format!("{name}."), entries),
            plain => {
                entries.insert(name, vec![Entry { given: given(plain), origin: Origin::Default }]);
            }
        }
    }
}

/// One message a line: those after the first are mostly its consequences.
fn first_of_each_line(path: &Path, text: &str, errors: &[toml::de::Error]) -> Vec<ConfigError> {
    let mut by_line = BTreeMap::new();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        by_line.entry(line_of(text, at)).or_insert_with(|| ConfigError::syntax(path, text, at, error.message()));
    }
    by_line.into_values().collect()
}

fn given(value: &DeValue<'_>) -> RawValue {
    match value {
        DeValue::Table(_) => RawValue::Table,
        DeValue::Array(items) => items
            .iter()
            .map(|item: &Spanned<_>| text_of(item.get_ref()))
            .collect::<Option<_>>()
            .map_or(RawValue::Table, RawValue::List),
        plain => text_of(plain).map_or(RawValue::Table, RawValue::Text),
    }
}

/// The text of a plain value: kinds of settings are told apart by what they accept, not by how TOML writes them.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(time) => Some(time.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

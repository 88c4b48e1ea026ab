//! Reads settings one by one and remembers everything that is wrong.

use std::collections::BTreeSet;

use super::error::{ConfigError, ConfigErrors, Warning};
use super::kind::Kind;
use super::layer::Layers;

/// Takes values out of the layers. A bad value is noted and the next weaker one is used in its place, so that reading
/// goes on; [`Reader::finish`] makes sure that nothing that was built this way is ever used.
pub(super) struct Reader {
    layers: Layers,
    bad: BTreeSet<&'static str>,
    is_complete: bool,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        let is_complete = layers.errors.is_empty();
        Self { layers, bad: BTreeSet::new(), is_complete }
    }

    /// The value of the setting `key`.
    pub(super) fn read<T>(&mut self, key: &'static str, kind: &Kind<T>) -> T {
        let entries = self.layers.entries.remove(key).expect("INVARIANT: config/default.toml names every setting once");
        let mut value = None;
        for entry in entries {
            if let Some(parsed) = kind.parse(&entry.given) {
                value = Some(parsed);
                continue;
            }
            let given = if kind.is_secret { "[redacted]".to_owned() } else { entry.given.to_string() };
            let (origin, expected) = (entry.origin, kind.expected.clone());
            self.layers.errors.push(ConfigError::BadValue { origin, key: key.to_owned(), given, expected });
            self.bad.insert(key);
        }
        value.expect("INVARIANT: the defaults are of their kinds")
    }

    /// Notes that `rule` is broken unless it `holds`. Where one of the `keys` it is about has a bad value, nothing is known.
    pub(super) fn check(&mut self, keys: &[&'static str], holds: bool, rule: impl FnOnce() -> String) {
        if !holds && self.is_complete && !keys.iter().any(|key| self.bad.contains(key)) {
            self.layers.errors.push(ConfigError::Contradiction(rule()));
        }
    }

    pub(super) fn warn(&mut self, warning: Warning) {
        self.layers.warnings.push(warning);
    }

    /// The settings that nobody has read.
    pub(super) fn unread(&self) -> Vec<&str> {
        self.layers.entries.keys().map(String::as_str).collect()
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

//! What can be wrong with settings, in words for the operator.

use std::fmt;
use std::path::{Path, PathBuf};

use super::name::variable_of;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The defaults that are compiled in.
    Default,
    /// A line, counted from 1, of the file given by `--config`.
    File(PathBuf, usize),
    /// `.env` in the working directory.
    Dotenv,
    /// The environment of the process.
    Environment,
}

impl Origin {
    /// What the setting `key` is called there.
    fn name_of(&self, key: &str) -> String {
        match self {
            Self::Default | Self::File(..) => key.to_owned(),
            Self::Dotenv | Self::Environment => variable_of(key),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default.toml"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Dotenv => f.write_str(".env"),
            Self::Environment => f.write_str("environment"),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{} can't be read: {source}", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a file can't be understood. The line itself is not shown: it may hold a secret.
    #[error("{}, line {line}: {detail}", .path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The file names a setting that there is none of.
    #[error("{origin}: unknown setting {key}{}", did_you_mean(.suggestion.as_deref()))]
    UnknownKey {
        /// Where.
        origin: Origin,
        /// Its dotted name.
        key: String,
        /// The setting that may be meant.
        suggestion: Option<String>,
    },
    /// A value is not of its setting's kind.
    #[error("{origin}: {} is {given}; expected {expected}", .origin.name_of(.key))]
    BadValue {
        /// Where.
        origin: Origin,
        /// The setting's dotted name.
        key: String,
        /// What stands there; redacted where it is a secret.
        given: String,
        /// What could.
        expected: String,
    },
    /// Two values, each fine in itself, don't go together.
    #[error("{0}")]
    Contradiction(String),
}

impl ConfigError {
    /// The line of a file that byte `at` of its `text` lies on.
    pub(super) fn syntax(path: &Path, text: &str, at: usize, detail: impl Into<String>) -> Self {
        Self::Syntax { path: path.to_owned(), line: line_of(text, at), detail: detail.into() }
    }
}

/// The line, counted from 1, that byte `at` of `text` lies on.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Everything that is wrong with the settings; never empty.
#[derive(Debug)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self(errors)
    }

    pub(super) fn into_inner(self) -> Vec<ConfigError> {
        self.0
    }

    /// One by one, in the order of the sources.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("there is an error in the settings:")?,
            n => write!(f, "there are {n} errors in the settings:")?,
        }
        self.0.iter().try_for_each(|error| write!(f, "\n  - {error}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Something odd that the server can live with. The caller logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A variable that starts with `PIXERVE_` and is no setting.
    UnknownVariable {
        /// Where it is set.
        origin: Origin,
        /// The variable, as it was set.
        name: String,
        /// The variable that may be meant.
        suggestion: Option<String>,
    },
    /// A setting under the name that it had before; it is understood.
    Renamed {
        /// Where it is set.
        origin: Origin,
        /// The name there.
        old: String,
        /// The one it has now.
        new: String,
    },
    /// A setting that there is no more; it is ignored.
    Removed {
        /// Where it is set.
        origin: Origin,
        /// Its name there.
        name: String,
        /// What became of it.
        why: &'static str,
    },
    /// A number outside its range, for which the nearest one inside is used.
    Clamped {
        /// The setting's dotted name.
        key: &'static str,
        /// What was given.
        given: i64,
        /// What is used.
        used: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariable { origin, name, suggestion } => {
                write!(f, "{origin}: {name} is no setting of Pixerve{}", did_you_mean(suggestion.as_deref()))
            }
            Self::Renamed { origin, old, new } => write!(f, "{origin}: {old} is called {new} now"),
            Self::Removed { origin, name, why } => write!(f, "{origin}: {name} has no effect any more: {why}"),
            Self::Clamped { key, given, used } => {
                write!(f, "{key} ({}) is {given}, out of range; {used} is used", variable_of(key))
            }
        }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

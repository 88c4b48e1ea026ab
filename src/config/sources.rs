//! Where settings come from, before they are understood.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Origin};
use super::name::PREFIX;

/// The text of each source. Only variables that start with `PIXERVE_` count.
#[derive(Debug, Default)]
pub struct Sources {
    /// A TOML file: its path, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// What `.env` sets.
    pub dotenv: Vec<(String, String)>,
    /// The environment.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// What this process has, and what of it can't be read. A missing `.env` is fine, a missing `file` is not.
    pub(super) fn gather(file: Option<&Path>) -> (Self, Vec<ConfigError>) {
        let mut errors = Vec::new();
        let file = file.and_then(|path| match std::fs::read_to_string(path) {
            Ok(text) => Some((path.to_owned(), text)),
            Err(source) => {
                errors.push(ConfigError::Unreadable { path: path.to_owned(), source });
                None
            }
        });
        let dotenv = read_dotenv(Path::new(".env"), &mut errors);
        let env = read_environment(&mut errors);
        (Self { file, dotenv, env }, errors)
    }
}

fn read_dotenv(path: &Path, errors: &mut Vec<ConfigError>) -> Vec<(String, String)> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse_dotenv(path, &text, errors),
        Err(source) if source.kind() == ErrorKind::NotFound => Vec::new(),
        Err(source) => {
            errors.push(ConfigError::Unreadable { path: path.to_owned(), source });
            Vec::new()
        }
    }
}

/// The variables that the text of a `.env` sets, the last one last; lines that can't be understood are errors.
pub(super) fn parse_dotenv(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Vec<(String, String)> {
    let text = text.trim_start_matches('\u{feff}');
    let mut variables = Vec::new();
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            Ok(variable) => variables.push(variable),
            // The library's own message quotes the line, which may hold a secret.
            Err(dotenvy::Error::LineParse(line, _)) => {
                let at = text.find(line.trim()).unwrap_or(0);
                errors.push(ConfigError::syntax(path, text, at, "expected NAME=value, odd values in single quotes"));
            }
            Err(_) => {
                errors.push(ConfigError::syntax(path, text, 0, "can't be understood"));
                break;
            }
        }
    }
    variables
}

fn read_environment(errors: &mut Vec<ConfigError>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for (name, value) in env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        if !name.starts_with(PREFIX) {
            continue;
        }
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) => errors.push(ConfigError::Contradiction(format!(
                "{}: {name} is not UTF-8; expected text",
                Origin::Environment
            ))),
        }
    }
    variables.sort();
    variables
}

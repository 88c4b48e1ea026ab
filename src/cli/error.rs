//! Why a command didn't do what it was asked for.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::Exit;
use super::problem::Problem;
use super::token::TokenError;
use crate::config::ConfigErrors;
use crate::error_chain::ErrorChain;

/// Why a command failed, in words for whoever typed it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line asks for what can't be done.
    #[error("{0}")]
    Usage(String),
    /// The settings can't be used.
    #[error(transparent)]
    Settings(#[from] ConfigErrors),
    /// There is no token to send.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There can be no HTTP client.
    #[error("setting up an HTTP client")]
    Client(#[source] reqwest::Error),
    /// No connection, or one that broke before the answer.
    #[error("{} {server} {}", if source.is_connect() { "the server at" } else { "the connection to" },
        if source.is_connect() { "can't be reached" } else { "broke" })]
    Unreachable {
        /// The server's address.
        server: String,
        /// How it failed.
        source: reqwest::Error,
    },
    /// A connection on which nothing comes and goes.
    #[error("the server at {server} has not moved for {} s", .waited.as_secs())]
    Stalled {
        /// The server's address.
        server: String,
        /// For how long.
        waited: Duration,
    },
    /// The server refuses.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// What answers is no Pixerve, or one of another age.
    #[error("what the server at {server} answered can't be understood: {detail}")]
    Answer {
        /// The server's address.
        server: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The server would refuse the file.
    #[error("it has {bytes} bytes, and the server takes {bytes_max}; it was not sent")]
    TooLarge {
        /// How many it has.
        bytes: u64,
        /// How many it may have.
        bytes_max: u64,
    },
    /// A file can't be used.
    #[error("{what}")]
    File {
        /// What was attempted, on which file.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody takes what is to be said.
    #[error("writing to standard output")]
    Output(#[source] io::Error),
}

impl CliError {
    /// Whether the same may go well a moment later; then how long to wait, at least.
    pub(super) fn may_pass(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } => Some(Duration::ZERO),
            Self::Problem(problem) => problem.may_pass(),
            _ => None,
        }
    }

    /// How a program that failed so ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Settings(_) | Self::Token(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::Stalled { .. } => Exit::Unreachable,
            Self::Problem(problem) => problem.exit(),
            Self::Client(_) | Self::Answer { .. } | Self::TooLarge { .. } | Self::File { .. } | Self::Output(_) => {
                Exit::Failed
            }
        }
    }

    /// For machines: what the server said, or a document like it.
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Problem(problem) => problem.to_json(),
            Self::TooLarge { .. } => json!({ "code": "too_large", "detail": self.to_string() }),
            Self::Unreachable { .. } | Self::Stalled { .. } => {
                json!({ "code": "unreachable", "detail": ErrorChain(self).to_string() })
            }
            _ => json!({ "detail": ErrorChain(self).to_string() }),
        }
    }
}

//! What every key in a bucket starts with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The start of every key in a bucket: segments of `[A-Za-z0-9._-]+` other than `.` and `..`, joined by `/`, at most
/// 256 bytes, so that no key has more than the 1,024 that stores take; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPrefix(String);

impl KeyPrefix {
    const BYTES_MAX: usize = 256;
    /// What was registered with 0.2.0 and before, when a job's `subDir` had fewer segments.
    const BYTES_MAX_REGISTERED: usize = 512;
    pub(crate) const PATTERN: &'static str =
        r"^/*(?:(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*)?/*$";
    pub(crate) const RULE: &'static str =
        "must be segments of [A-Za-z0-9._-] joined by `/`, none of them `.` or `..`, of at most 256 bytes in all";

    /// Reads a prefix; slashes at its ends don't count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_up_to(Self::BYTES_MAX, text)
    }

    fn parse_up_to(bytes_max: usize, text: &str) -> Option<Self> {
        let text = text.trim_matches('/');
        let is_segment = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        let ok = text.is_empty() || (text.len() <= bytes_max && text.split('/').all(is_segment));
        ok.then(|| Self(text.to_owned()))
    }

    /// `rest` below this prefix.
    #[must_use]
    pub fn join(&self, rest: &str) -> String {
        if self.0.is_empty() { rest.to_owned() } else { format!("{}/{rest}", self.0) }
    }

    /// What follows this prefix in `key`; none if `key` is not below it.
    #[must_use]
    pub fn strip<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.0.is_empty() { Some(key) } else { key.strip_prefix(&self.0)?.strip_prefix('/') }
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse_up_to(Self::BYTES_MAX_REGISTERED, &text).ok_or(Self::RULE)
    }
}

impl From<KeyPrefix> for String {
    fn from(prefix: KeyPrefix) -> Self {
        prefix.0
    }
}

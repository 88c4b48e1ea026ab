//! What the settings of all kinds of store have in common.

mod fields;

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

pub(super) use self::fields::{any, bucket, common_schemas, endpoint, first, just_one, prefix, required, spellings};
use super::Object;
use crate::job::{BackendKind, ClaimErrors, Fields};
use crate::retry::Backoff;
use crate::setting;

/// The settings of one kind of store.
pub(super) trait BackendSettings {
    /// Which kind.
    fn kind(&self) -> BackendKind;

    /// Reads a registration and notes everything that is wrong with it; none if something needed is missing.
    fn from_fields(fields: &mut Fields<'_>, errors: &mut ClaimErrors) -> Option<Self>
    where
        Self: Sized;

    /// The JSON Schema of what [`from_fields`](Self::from_fields) reads, `type` aside.
    fn schema() -> Value
    where
        Self: Sized;

    /// What may be listed: no secret.
    fn summary(&self) -> Value;

    /// See [`StorageSettings::place`](super::StorageSettings::place).
    fn place(&self) -> String;
}

/// How long to wait for a remote store.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StoreTimeouts {
    /// For a connection.
    #[serde(deserialize_with = "setting::duration")]
    pub connect_timeout: Duration,
    /// What a transfer may take beyond the time its bytes take at 256 KiB/s.
    #[serde(deserialize_with = "setting::duration")]
    pub idle_timeout: Duration,
}

/// How files get into stores.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StoreSettings {
    /// How long to wait for a remote store.
    pub timeouts: StoreTimeouts,
    /// The waits between tries at one file.
    pub backoff: Backoff,
    /// How long a store that can't be reached is waited for, from the moment a job's variants are made.
    #[serde(deserialize_with = "setting::duration")]
    pub give_up_after: Duration,
    /// How long a store that refuses is asked again, from its first refusal on.
    #[serde(deserialize_with = "setting::duration_or_zero")]
    pub refused_give_up_after: Duration,
    /// Writes to one store at once.
    #[serde(deserialize_with = "setting::count")]
    pub concurrency: u32,
    /// How long a write that has begun may go on after its job was stopped: enough for a store that answers at all, and
    /// short enough for someone who waits for a cancellation.
    #[serde(deserialize_with = "setting::duration_or_zero")]
    pub cancel_grace: Duration,
}

/// A connection slower than this counts as stalled: 256 KiB/s.
const BYTES_PER_SECOND_MIN: u64 = 256 * 1024;

impl StoreTimeouts {
    /// For a whole exchange, connecting included, whose request carries `bytes`.
    ///
    /// The stores' clients can't tell a body that stands still from one that is slow, so the slowest bearable line sets
    /// the limit.
    pub(super) fn exchange(&self, bytes: u64) -> Duration {
        self.connect_timeout
            .saturating_add(self.idle_timeout)
            .saturating_add(Duration::from_secs(bytes / BYTES_PER_SECOND_MIN))
    }
}

/// The start of every key in a bucket: segments of `[A-Za-z0-9._-]+` other than `.` and `..`, joined by `/`, at most
/// 256 bytes, so that no key has more than the 1,024 that stores take; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPrefix(String);

impl KeyPrefix {
    const BYTES_MAX: usize = 256;
    /// What was registered with 0.2.0 and before, when a job's `subDir` had fewer segments.
    const BYTES_MAX_REGISTERED: usize = 512;
    const PATTERN: &'static str =
        r"^/*(?:(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)*)?/*$";
    const RULE: &'static str =
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

    /// `prefix/subDir/name`, empty parts left out.
    #[must_use]
    pub fn key(&self, object: &Object) -> String {
        self.join(&object.sub_dir.join(&object.name))
    }

    /// `rest` below this prefix.
    #[must_use]
    pub fn join(&self, rest: &str) -> String {
        if self.0.is_empty() { rest.to_owned() } else { format!("{}/{rest}", self.0) }
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

/// Serialises a secret as it is, for the register to seal.
pub(super) fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

//! What the settings of all kinds of store have in common.

mod fields;
mod public_base;

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serializer};
use serde_json::Value;

pub(super) use self::fields::{
    any, bucket, cache_control, common_schemas, endpoint, first, just_one, prefix, required, spellings,
};
pub use self::public_base::PublicBase;
pub(super) use self::public_base::listed;
pub use crate::bucket::{KeyPrefix, StoreTimeouts};
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

    /// The bucket's name, and what every key starts with.
    fn bucket(&self) -> (&str, &KeyPrefix);
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

/// Serialises a secret as it is, for the register to seal.
pub(super) fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

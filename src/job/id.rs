//! A job's identity.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::{NoContext, Uuid};

use crate::clock::Timestamp;

/// A UUID of version 7: ids sort by the time of their upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = "uuid")]
pub struct JobId(Uuid);

impl JobId {
    /// A new id for a job uploaded at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let subsec_nanos = u32::try_from(now.as_millis() % 1000).unwrap_or(0) * 1_000_000;
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, now.as_secs(), subsec_nanos)))
    }

    /// When it was made: as the upload began, so never after the job was accepted.
    #[must_use]
    pub fn made_at(&self) -> Timestamp {
        let (millis, _) = self.as_bytes().split_at(6);
        Timestamp::from_millis(millis.iter().fold(0, |millis, byte| millis << 8 | u64::from(*byte)))
    }

    /// The 16 bytes, big-endian: database keys.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Whether it is of version 7, as all are that are made here.
    #[must_use]
    pub fn is_time_ordered(&self) -> bool {
        self.0.get_version_num() == 7 && self.0.get_variant() == uuid::Variant::RFC4122
    }

    /// The id whose bytes these are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

//! What becomes of an upload whose bytes are a live job's.

use serde::{Deserialize, Serialize};

use super::{ContentHash, JobRecord};

/// What becomes of an upload while a job of the same bytes and owner is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDuplicate {
    /// It is refused.
    #[default]
    Refuse,
    /// It waits for that job's end, unless it is the same job: then it is that one.
    Queue(JobFingerprint),
}

/// The same for two jobs that ask for the same under the same names. Keyed: what a job asks for holds secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobFingerprint(pub ContentHash);

impl OnDuplicate {
    /// Whether it is the default.
    #[must_use]
    pub fn refuses(&self) -> bool {
        *self == Self::Refuse
    }
}

impl JobRecord {
    /// Whether this job, of the same bytes and owner as the `live` one, is to wait for that one's end.
    #[must_use]
    pub fn waits_for(&self, live: &Self) -> bool {
        !self.on_duplicate.refuses() && self.on_duplicate != live.on_duplicate
    }
}

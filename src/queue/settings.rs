//! The settings that a queue is opened with.

use serde::Deserialize;

use crate::setting;

/// Bytes of a serialized job record: the 64 KiB of 0.1.0, whose largest manifests must fit still, and a little for what was
/// added since, most of it the seal of a callback's URL.
pub const RECORD_BYTES_MAX: usize = 68 * 1024;

/// A queue's limits.
#[derive(Clone, Debug, Deserialize)]
pub struct QueueSettings {
    /// Live jobs (pending and processing) in all.
    #[serde(deserialize_with = "setting::count")]
    pub depth_max: usize,
    /// Live jobs of one tenant: of a registered user, or of one `sub` of the keys of `jwt.json`.
    #[serde(deserialize_with = "setting::count")]
    pub owner_depth_max: usize,
    /// Attempts of one job.
    #[serde(deserialize_with = "setting::count")]
    pub attempts_max: u32,
    /// Crashes of one job.
    #[serde(deserialize_with = "setting::count")]
    pub crashes_max: u32,
    /// After this many claims from the realtime lane in a row, one comes from the queued lane if it waits.
    #[serde(deserialize_with = "setting::count")]
    pub realtime_run_max: u32,
}

/// Which jobs the death of the server is attributed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAttribution {
    /// None: a job's pixels are worked on in a child process, whose death is counted by
    /// [`Settlement::Crashed`](super::Settlement::Crashed). A job that crashed endangers no other and runs among them.
    NoJob,
    /// Every job that was being made: that is done in the server's own process. One of which all is made
    /// ([`JobWork::made`](super::JobWork::made)) was not it. A job that crashed is then made alone: it waits until nothing
    /// else is being made, and halts other claims until it is.
    JobsInFlight,
}

//! What a queue is told when it is opened.

/// A queue's limits.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// Live jobs (pending and processing) in all.
    pub depth_max: usize,
    /// Live jobs of one owner.
    pub owner_depth_max: usize,
    /// Attempts of one job.
    pub attempts_max: u32,
    /// Crashes of one job.
    pub crashes_max: u32,
    /// Bytes of a serialized job record.
    pub record_bytes_max: usize,
    /// After this many claims from the realtime lane in a row, one comes from the queued lane if it waits.
    pub realtime_run_max: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            depth_max: 10_000,
            owner_depth_max: 1_000,
            attempts_max: 5,
            crashes_max: 3,
            record_bytes_max: 64 * 1024,
            realtime_run_max: 8,
        }
    }
}

/// Which jobs the death of the server is attributed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAttribution {
    /// None: a job's pixels are worked on in a child process, whose death is counted by
    /// [`Settlement::Crashed`](super::Settlement::Crashed). A job that crashed endangers no other and runs among them.
    NoJob,
    /// Every job that was processing: they run in the server's own process. A job that crashed then runs alone:
    /// it waits until nothing else is processing, and halts other claims until it has run.
    JobsInFlight,
}

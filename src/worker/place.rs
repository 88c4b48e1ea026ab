//! What a job holds while its variants are made: a worker, and a share of memory.

use tokio::sync::oneshot;

use super::budget::MemoryShare;
use crate::active_jobs::{ActiveJobs, CountGuard};

/// A worker's place and a share of memory. Dropped, both are free for the next job.
#[derive(Debug)]
pub(super) struct PlaceGuard {
    memory: MemoryShare,
    #[expect(dead_code, reason = "holding it is its use")]
    worker: BusyWorker,
}

#[derive(Debug)]
struct BusyWorker {
    #[expect(dead_code, reason = "holding it is its use")]
    making: CountGuard,
    /// Dropping it tells the worker.
    #[expect(dead_code, reason = "holding it is its use")]
    freed: oneshot::Sender<()>,
}

/// Resolves when a place is free again.
pub(super) type Freed = oneshot::Receiver<()>;

impl PlaceGuard {
    /// A worker's place, with the memory that was reserved for the job.
    pub(super) fn new(jobs: &ActiveJobs, memory: MemoryShare) -> (Self, Freed) {
        let (freed, is_freed) = oneshot::channel();
        (Self { memory, worker: BusyWorker { making: jobs.begin_making(), freed } }, is_freed)
    }

    /// Whether the memory suffices for a job that takes `bytes`.
    pub(super) fn covers(&self, bytes: u64) -> bool {
        self.memory.covers(bytes)
    }
}

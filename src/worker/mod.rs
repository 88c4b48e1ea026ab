//! Works on jobs: claims one, has its variants made, stores them, settles it. What is done beside the jobs is in
//! `maintenance`.

mod attempt;
mod budget;
mod maintenance;
mod pool;
mod renderer;
mod retry;
mod stored_files;
mod stores;
mod uploader;

pub use budget::{MemoryBudget, half_of_memory};
pub use maintenance::{LeaseReaper, ReconcileError, ReconcileScope, RecordCleaner, SpoolReconciler};
pub use pool::{Pool, StartedPool};
pub use renderer::Renderer;
pub use stores::StoreClients;

use std::sync::Arc;
use std::time::Duration;

use crate::active_jobs::ActiveJobs;
use crate::clock::SharedClock;
use crate::encoder::AvifEngine;
use crate::pipeline::MemoryLimit;
use crate::queue::JobQueue;
use crate::spool::Spool;

/// How the workers work.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Jobs at once.
    pub workers: usize,
    /// How long a claim holds without being renewed.
    pub lease: Duration,
    /// How often it is renewed.
    pub lease_renew: Duration,
    /// How long the pixels of one job may take.
    pub job_timeout: Duration,
    /// The wait before the second attempt; the n-th attempt that fails is followed by n^4 times this, with jitter.
    pub retry_base: Duration,
    /// How long an ended job is remembered.
    pub retention: Duration,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            workers: 1,
            lease: Duration::from_mins(1),
            lease_renew: Duration::from_secs(15),
            job_timeout: Duration::from_mins(5),
            retry_base: Duration::from_secs(1),
            retention: Duration::from_hours(30 * 24),
        }
    }
}

/// What every attempt needs.
pub struct WorkerContext {
    /// Where jobs come from and where they are settled.
    pub queue: Arc<dyn JobQueue>,
    /// Where originals are.
    pub spool: Spool,
    /// Where attempts are registered.
    pub active_jobs: ActiveJobs,
    /// Makes variants.
    pub renderer: Renderer,
    /// Where files go.
    pub stores: StoreClients,
    /// What one job may take of memory, and what its original may be.
    pub memory_limit: MemoryLimit,
    /// What all jobs together may take.
    pub memory: MemoryBudget,
    /// What makes AVIF.
    pub avif_engine: AvifEngine,
    /// The time.
    pub clock: SharedClock,
    /// How the workers work.
    pub settings: WorkerSettings,
}

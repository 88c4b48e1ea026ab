//! Works jobs off: claim, render, store, settle.

mod attempt;
mod budget;
mod keeper;
mod pool;
mod reconcile;
mod renderer;
mod rescuer;
mod retry;
mod shelf;
mod stores;

pub use budget::{MemoryBudget, half_of_memory};
pub use pool::{Pool, StartedPool};
pub use reconcile::{ReconcileError, Scope, forget_what_had_ended, reconcile};
pub use renderer::Renderer;
pub use rescuer::Rescuer;
pub use stores::Stores;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SharedClock;
use crate::pipeline::MemoryLimit;
use crate::queue::JobQueue;
use crate::running::Running;
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
    /// Where a job in work is known.
    pub running: Running,
    /// Pixels.
    pub renderer: Renderer,
    /// Where files go.
    pub stores: Stores,
    /// What one job may need of memory.
    pub memory_limit: MemoryLimit,
    /// What all of them may.
    pub memory: MemoryBudget,
    /// The time.
    pub clock: SharedClock,
    /// How to work.
    pub settings: WorkerSettings,
}

//! Works on jobs: claims one, has its variants made, stores them, settles it. What is done beside the jobs is in
//! `maintenance`.

mod attempt;
mod budget;
mod maintenance;
mod metrics;
mod place;
mod pool;
mod renderer;
mod shortage;
mod stores;
mod uploader;

pub use budget::{MemoryBudget, half_of_memory};
pub use maintenance::{
    CancellationListener, ClockKeeper, Eraser, GarbageCollector, KeptFor, KeptOriginals, LeaseReaper, ReconcileError,
    ReconcileScope, RecordCleaner, SpoolReconciler, remove_kept_originals,
};
pub use metrics::WorkerMetrics;
pub use pool::{Pool, StartedPool};
pub use renderer::Renderer;
pub use shortage::Shortage;
pub use stores::{DirectStore, StoreClients};

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::active_jobs::ActiveJobs;
use crate::canceller::JobCanceller;
use crate::clock::{ClockTrust, SharedClock};
use crate::disks::DiskHealth;
use crate::encoder::AvifEngine;
use crate::job::{JobRecord, PublicUrl};
use crate::ledger::{ErasableLedger, ErasureSignals};
use crate::pipeline::MemoryLimit;
use crate::queue::JobQueue;
use crate::retry::Backoff;
use crate::setting;
use crate::spool::Spool;
use crate::writer::StoreSettings;

/// How the workers work.
#[derive(Clone, Debug, Deserialize)]
pub struct WorkerSettings {
    /// Where clients reach the server: stored manifests tell.
    #[serde(rename = ".server.public_url")]
    pub public_url: PublicUrl,
    /// Jobs at once.
    #[serde(rename = ".max_workers", deserialize_with = "setting::workers")]
    pub max_workers: usize,
    /// How long a claim holds without being renewed.
    #[serde(rename = ".queue.lease", deserialize_with = "setting::duration")]
    pub lease: Duration,
    /// How often it is renewed.
    #[serde(rename = ".queue.lease_renew", deserialize_with = "setting::duration")]
    pub lease_renew: Duration,
    /// The waits between a job's attempts; the queue counts them.
    #[serde(rename = ".queue")]
    pub backoff: Backoff,
    /// How long the record of an ended job is kept.
    #[serde(rename = ".queue.retention", deserialize_with = "setting::duration")]
    pub retention: Duration,
    /// How long the originals of failed and cancelled jobs are kept.
    #[serde(rename = ".queue.failed_originals_kept", deserialize_with = "setting::duration_or_zero")]
    pub failed_originals_kept: Duration,
    /// How long the pixels of one job may take.
    #[serde(deserialize_with = "setting::duration")]
    pub job_timeout: Duration,
    /// Encoding threads of each job.
    #[serde(deserialize_with = "setting::threads")]
    pub encode_threads: usize,
    /// What makes AVIF.
    pub avif_engine: AvifEngine,
    /// How long files are tried to be stored.
    #[serde(rename = ".stores")]
    pub stores: StoreSettings,
    /// Bytes of memory of one job.
    #[serde(deserialize_with = "setting::bytes")]
    pub memory_max: u64,
    /// Bytes of memory of all jobs together; none for half of what there is.
    #[serde(deserialize_with = "setting::bytes_or_auto")]
    pub memory_budget: Option<u64>,
}

/// What every attempt needs.
pub struct WorkerContext {
    /// Where jobs come from and where they are settled.
    pub queue: Arc<dyn JobQueue>,
    /// Where originals are.
    pub spool: Arc<dyn Spool>,
    /// Where it is written down what lies where.
    pub ledger: Arc<dyn ErasableLedger>,
    /// What whoever carries out orders to erase is told, and tells.
    pub erasures: ErasureSignals,
    /// Whether the directories can be written now.
    pub disks: DiskHealth,
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
    /// Whether attempts end for want of something of the server's.
    pub shortage: Shortage,
    /// What they count.
    pub metrics: WorkerMetrics,
    /// The time.
    pub clock: SharedClock,
    /// Whether its wall clock may be believed, by those who remove or give up what is old.
    pub clock_trust: ClockTrust,
    /// How the workers work.
    pub settings: WorkerSettings,
}

impl WorkerContext {
    /// Cancels its jobs, and those of other nodes.
    #[must_use]
    pub fn canceller(&self) -> JobCanceller {
        let (queue, spool) = (Arc::clone(&self.queue), Arc::clone(&self.spool));
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.clock));
        JobCanceller::new(queue, spool, self.active_jobs.clone(), ledger, clock)
    }

    /// What a job may take: what settings say, or what they said when it was accepted, where that is more. An accepted job
    /// is made; one that takes more than the whole budget waits until it has all of it.
    fn limit_of(&self, record: &JobRecord) -> MemoryLimit {
        let mut limit = self.memory_limit;
        limit.bytes_max = limit.bytes_max.max(record.memory.unwrap_or(0));
        if let Some(inspection) = &record.inspection {
            limit.pixels.source_max = limit.pixels.source_max.max(inspection.source_pixels_max);
        }
        limit
    }
}

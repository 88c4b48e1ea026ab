//! The workers: each works on one job at a time, until the server stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::budget::MemoryShare;
use super::stored_files::stored_files;
use super::{WorkerContext, attempt};
use crate::error_chain::ErrorChain;
use crate::job::{ErrorCode, JobError};
use crate::queue::{Claim, ClaimRequest, Place, QueueError, Retry, Settlement};

/// An idle worker asks the queue again after this long, even if nothing wakes it.
const IDLE_POLL: Duration = Duration::from_secs(5);
/// For workers to cancel writes to stores and to release their jobs when the server stops.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(8);
/// A worker that waits for memory asks the queue again after this long: the job that needs it may be cancelled, or no longer
/// the next.
const MEMORY_POLL: Duration = Duration::from_secs(1);
/// Between tries to claim from a queue that fails.
const CLAIM_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The pool of workers.
pub struct Pool {
    context: Arc<WorkerContext>,
    stop_claiming: CancellationToken,
    stop_working: CancellationToken,
}

impl Pool {
    /// A pool that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>) -> Self {
        Self { context, stop_claiming: CancellationToken::new(), stop_working: CancellationToken::new() }
    }

    /// Starts every worker. They run until [`Pool::drain`].
    pub fn start(self) -> StartedPool {
        let mut workers = JoinSet::new();
        let claiming = Arc::new(Mutex::new(()));
        for _ in 0..self.context.settings.max_workers {
            let worker = Worker {
                context: Arc::clone(&self.context),
                claiming: Arc::clone(&claiming),
                stop_claiming: self.stop_claiming.clone(),
                stop_working: self.stop_working.clone(),
            };
            workers.spawn(worker.run());
        }
        StartedPool { workers, stop_claiming: self.stop_claiming, stop_working: self.stop_working }
    }
}

/// A pool whose workers run.
pub struct StartedPool {
    workers: JoinSet<()>,
    stop_claiming: CancellationToken,
    stop_working: CancellationToken,
}

impl StartedPool {
    /// Stops claiming, lets running jobs finish for `drain_timeout`, then releases the rest.
    pub async fn drain(mut self, drain_timeout: Duration) {
        self.stop_claiming.cancel();
        if timeout(drain_timeout, self.all_ended()).await.is_err() {
            self.stop_working.cancel();
            if timeout(RELEASE_TIMEOUT, self.all_ended()).await.is_err() {
                warn!("running jobs could not be released in time; the next start requeues them");
            }
        }
    }

    async fn all_ended(&mut self) {
        while self.workers.join_next().await.is_some() {}
    }
}

struct Worker {
    context: Arc<WorkerContext>,
    /// Held while claiming: nobody else reserves the memory that a claim counts on.
    claiming: Arc<Mutex<()>>,
    stop_claiming: CancellationToken,
    stop_working: CancellationToken,
}

impl Worker {
    async fn run(self) {
        let _counted = self.context.active_jobs.add_worker();
        while !self.stop_claiming.is_cancelled() {
            match self.next().await {
                Ok(Some((claim, memory))) => self.work(claim, memory).await,
                Ok(None) => self.idle(self.context.queue.wait_ready(Place::Regular, IDLE_POLL)).await,
                Err(error) => {
                    error!(error = %ErrorChain(&error), "jobs can't be claimed; will be retried");
                    self.idle(tokio::time::sleep(CLAIM_RETRY_DELAY)).await;
                }
            }
        }
    }

    /// The next job and its share of memory. It is claimed only once that is free, so that a job that waits for memory is
    /// pending: it can be cancelled like any other, no attempt has begun, and it keeps its place.
    async fn next(&self) -> Result<Option<(Claim, MemoryShare)>, QueueError> {
        let WorkerContext { queue, memory, settings, .. } = &*self.context;
        let _claiming = self.claiming.lock().await;
        while !self.stop_claiming.is_cancelled() {
            let (place, memory_left) = (Place::Regular, memory.left());
            let mut claimed =
                queue.claim(ClaimRequest { max: 1, place, memory: memory_left, lease: settings.lease }).await?;
            if let Some(claim) = claimed.claims.pop() {
                let share = memory.take(claim.job.record.memory.unwrap_or(0)).await;
                return Ok(Some((claim, share)));
            }
            let Some(takes) = claimed.next_takes else { return Ok(None) };
            // Reserved only to learn when there is enough: the queue says whose turn it is then.
            self.idle(async { drop(timeout(MEMORY_POLL, memory.take(takes)).await) }).await;
        }
        Ok(None)
    }

    async fn idle(&self, wait: impl Future<Output = ()>) {
        tokio::select! {
            () = wait => {}
            () = self.stop_claiming.cancelled() => {}
        }
    }

    /// One attempt, in a task of its own: should it panic, it costs this job an attempt and the pool nothing.
    async fn work(&self, claim: Claim, memory: MemoryShare) {
        let lease = claim.lease.clone();
        let attempts = claim.job.attempts;
        let record = claim.job.record.clone();
        let attempt = attempt::run(Arc::clone(&self.context), claim, memory, self.stop_working.clone());
        let Err(panic) = tokio::spawn(attempt).await else { return };
        error!(job_id = %lease.id, error = %ErrorChain(&panic), "attempt panicked");
        let error = JobError::new(ErrorCode::Internal, "the attempt panicked; this is a bug in Pixerve, see its log");
        let retry = Retry::After(self.context.settings.backoff.wait_after(attempts));
        // What it stored before it panicked is in the journal, and belongs into the record should this have been its last.
        let files = stored_files(&self.context.spool, &record).await.unwrap_or_else(|error| {
            warn!(job_id = %lease.id, error = %ErrorChain(&error), "journal can't be read");
            Vec::new()
        });
        match self.context.queue.settle(&lease, Settlement::Failed { error, files, retry }).await {
            Ok(_) => {}
            Err(error) => warn!(
                job_id = %lease.id, error = %ErrorChain(&error),
                "job can't be settled; its lease will expire"
            ),
        }
    }
}

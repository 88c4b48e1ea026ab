//! The workers: each takes one job at a time, for as long as the server takes jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::budget::MemoryShare;
use super::reconcile::stored_files;
use super::{WorkerContext, attempt, retry};
use crate::job::JobError;
use crate::queue::{Claim, QueueError, Retry};

/// A worker with nothing to do looks again after this long, even if nobody wakes it.
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// For workers to give up what is on its way to a store and to put their jobs back when the server stops.
const PUT_BACK_PATIENCE: Duration = Duration::from_secs(8);
/// Who waits for memory asks again after this long: the job that it is for may be cancelled, or not the next any more.
const MEMORY_LOOK: Duration = Duration::from_secs(1);
/// A worker whose queue fails waits this long.
const QUEUE_TROUBLE: Duration = Duration::from_secs(1);

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
        let turn = Arc::new(Mutex::new(()));
        for _ in 0..self.context.settings.workers {
            let worker = Worker {
                context: Arc::clone(&self.context),
                turn: Arc::clone(&turn),
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
    /// Claims nothing more, lets the jobs in work finish for `patience`, then puts the rest back.
    pub async fn drain(mut self, patience: Duration) {
        self.stop_claiming.cancel();
        let finished =
            tokio::time::timeout(patience, async { while self.workers.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            self.stop_working.cancel();
            let put_back = async { while self.workers.join_next().await.is_some() {} };
            if tokio::time::timeout(PUT_BACK_PATIENCE, put_back).await.is_err() {
                warn!("some jobs could not be put back in time; the next start does it");
            }
        }
    }
}

struct Worker {
    context: Arc<WorkerContext>,
    /// Whose turn it is to claim: nobody else takes of the memory that a claim counts on.
    turn: Arc<Mutex<()>>,
    stop_claiming: CancellationToken,
    stop_working: CancellationToken,
}

impl Worker {
    async fn run(self) {
        let _at_work = self.context.running.worker();
        while !self.stop_claiming.is_cancelled() {
            match self.next().await {
                Ok(Some((claim, memory))) => self.work(claim, memory).await,
                Ok(None) => self.idle(self.context.queue.wait_ready(IDLE_LOOK)).await,
                Err(error) => {
                    error!(%error, "can't claim a job; trying again");
                    self.idle(tokio::time::sleep(QUEUE_TROUBLE)).await;
                }
            }
        }
    }

    /// The next job, and the memory that it takes: claimed only once that is free, so that a job that waits for memory
    /// can still be cancelled like any other, is nobody's attempt, and keeps its place.
    async fn next(&self) -> Result<Option<(Claim, MemoryShare)>, QueueError> {
        let WorkerContext { queue, memory, settings, .. } = &*self.context;
        let _turn = self.turn.lock().await;
        while !self.stop_claiming.is_cancelled() {
            let mut claimed = queue.claim_within(memory.left(), 1, settings.lease).await?;
            if let Some(claim) = claimed.claims.pop() {
                let share = memory.take(claim.job.record.memory.unwrap_or(0)).await;
                return Ok(Some((claim, share)));
            }
            let Some(takes) = claimed.next_takes else { return Ok(None) };
            // Whatever comes first; the queue knows better than this worker whose turn it is then.
            self.idle(async { drop(timeout(MEMORY_LOOK, memory.take(takes)).await) }).await;
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
        error!(job_id = %lease.id, %panic, "an attempt panicked");
        let error = JobError::new("internal", "the attempt panicked; this is a bug in Pixerve, see its log");
        let again = Retry::After(retry::back_off(attempts, self.context.settings.retry_base));
        // What it stored before it panicked is in the journal, and on record should this have been its last try.
        let files = stored_files(&self.context.spool, &record).await.unwrap_or_else(|error| {
            warn!(job_id = %lease.id, %error, "can't read what it has stored");
            Vec::new()
        });
        match self.context.queue.fail(&lease, error, files, again).await {
            Ok(_) => {}
            Err(error) => warn!(job_id = %lease.id, %error, "can't settle it; its lease will lapse"),
        }
    }
}

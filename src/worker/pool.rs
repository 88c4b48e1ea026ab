//! The workers: each takes one job at a time, for as long as the server takes jobs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::reconcile::stored_files;
use super::{WorkerContext, attempt, retry};
use crate::job::JobError;
use crate::queue::{Claim, Retry};

/// A worker with nothing to do looks again after this long, even if nobody wakes it.
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// For workers to give up what is on its way to a store and to put their jobs back when the server stops.
const PUT_BACK_PATIENCE: Duration = Duration::from_secs(8);
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
        for _ in 0..self.context.settings.workers {
            let worker = Worker {
                context: Arc::clone(&self.context),
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
    stop_claiming: CancellationToken,
    stop_working: CancellationToken,
}

impl Worker {
    async fn run(self) {
        let _at_work = self.context.running.worker();
        while !self.stop_claiming.is_cancelled() {
            match self.context.queue.claim(1, self.context.settings.lease).await {
                Ok(claims) if claims.is_empty() => self.idle(self.context.queue.wait_ready(IDLE_LOOK)).await,
                Ok(claims) => {
                    for claim in claims {
                        self.work(claim).await;
                    }
                }
                Err(error) => {
                    error!(%error, "can't claim a job; trying again");
                    self.idle(tokio::time::sleep(QUEUE_TROUBLE)).await;
                }
            }
        }
    }

    async fn idle(&self, wait: impl Future<Output = ()>) {
        tokio::select! {
            () = wait => {}
            () = self.stop_claiming.cancelled() => {}
        }
    }

    /// One attempt, in a task of its own: should it panic, it costs this job an attempt and the pool nothing.
    async fn work(&self, claim: Claim) {
        let lease = claim.lease.clone();
        let attempts = claim.job.attempts;
        let record = claim.job.record.clone();
        let attempt = attempt::run(Arc::clone(&self.context), claim, self.stop_working.clone());
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

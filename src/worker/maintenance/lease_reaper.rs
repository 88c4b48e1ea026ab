//! Requeues the jobs whose lease has expired, and fails those whose attempts are exhausted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{BATCH, repeat};
use crate::error_chain::ErrorChain;
use crate::job::{JobId, State};
use crate::ledger::record_stored;
use crate::worker::WorkerContext;

/// For an attempt that lost its lease to stop: longer than writes to stores take to be cancelled.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// One for the whole server.
pub struct LeaseReaper {
    context: Arc<WorkerContext>,
}

impl LeaseReaper {
    /// A reaper that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>) -> Self {
        Self { context }
    }

    /// Looks for expired leases four times in a lease's length, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        repeat(self.context.settings.lease / 4, &stop, || self.reap()).await;
    }

    async fn reap(&self) {
        match self.context.queue.expired_leases(BATCH).await {
            // Concurrently: each may take as long as a write to a store.
            Ok(expired) => drop(join_all(expired.into_iter().map(|id| self.reap_one(id))).await),
            Err(error) => warn!(error = %ErrorChain(&error), "expired leases can't be listed; will be retried"),
        }
    }

    async fn reap_one(&self, id: JobId) {
        // The attempt may still run: what it stores belongs into the record, before the queue reports its end.
        let has_stopped = timeout(STOP_TIMEOUT, self.context.active_jobs.stop(id)).await.is_ok();
        let Some(state) = self.end_lease(id).await else { return };
        match state {
            State::Pending => warn!(job_id = %id, "lease expired; job requeued"),
            ended if has_stopped => {
                warn!(job_id = %id, "lease expired; attempts exhausted");
                if let Err(error) = self.context.spool.job_ended(id, ended).await {
                    warn!(
                        job_id = %id, error = %ErrorChain(&error),
                        "ended job can't be removed from the spool; will be retried"
                    );
                }
            }
            // The spool keeps it: the reconciler records what is stored late, and removes it.
            _ => warn!(job_id = %id, "lease expired; attempts exhausted, but the last one has not stopped"),
        }
    }

    /// Where the job is afterwards; none if its lease holds again, or it could not be ended.
    async fn end_lease(&self, id: JobId) -> Option<State> {
        let WorkerContext { queue, spool, ledger, clock, .. } = &*self.context;
        let failed = |error: &dyn std::error::Error| {
            warn!(
                job_id = %id, error = %ErrorChain(error),
                "job with an expired lease can't be requeued; will be retried"
            );
        };
        let job = queue.get(&id).await.inspect_err(|error| failed(error)).ok()?;
        let files = match job {
            Some(job) => {
                let files = spool.stored_files(&job.record).await.inspect_err(|error| failed(error)).ok()?;
                // It may have been the last attempt.
                let recorded = record_stored(&**ledger, &job.record, &files, clock.now()).await;
                recorded.inspect_err(|error| failed(error)).ok()?;
                files
            }
            None => Vec::new(),
        };
        queue.reap(&id, files).await.inspect_err(|error| failed(error)).ok()?
    }
}

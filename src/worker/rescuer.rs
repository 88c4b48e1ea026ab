//! Puts jobs back whose worker is gone, finds accepted uploads that the queue lost, and forgets what is older than the
//! retention.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::reconcile::stored_files;
use super::{ReconcileError, Scope, WorkerContext, reconcile};
use crate::job::{JobId, State, StoredFile};

/// Records are swept this often, and at start.
const SWEEP_EVERY: Duration = Duration::from_hours(24);
/// The spool is compared with the queue this often, at start besides.
const RECONCILE_EVERY: Duration = Duration::from_mins(1);
/// Jobs a call may touch, so that no call holds the queue up.
const BATCH: usize = 100;
/// For an attempt that lost its lease to stop: longer than a store's writes take to be given up.
const LET_GO: Duration = Duration::from_secs(6);

/// One for the whole server.
pub struct Rescuer {
    context: Arc<WorkerContext>,
}

impl Rescuer {
    /// A rescuer that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>) -> Self {
        Self { context }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut reap = interval(self.context.settings.lease / 4);
        reap.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval(SWEEP_EVERY);
        let mut compare = interval(RECONCILE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = reap.tick() => self.reap().await,
                _ = sweep.tick() => self.sweep().await,
                _ = compare.tick() => self.compare().await,
            }
        }
    }

    async fn reap(&self) {
        match self.context.queue.expired(BATCH).await {
            // At once: each may take as long as a write to a store.
            Ok(lapsed) => drop(join_all(lapsed.into_iter().map(|id| self.reap_one(id))).await),
            Err(error) => warn!(%error, "can't look for lost jobs; trying again"),
        }
    }

    async fn reap_one(&self, id: JobId) {
        // Lost, but maybe not gone: what it is storing belongs to the record, and is to be there before anybody is told.
        let stopped = timeout(LET_GO, self.context.running.stop(id)).await.is_ok();
        let reaped = match self.stored(id).await {
            Ok(files) => self.context.queue.reap(&id, files).await.map_err(ReconcileError::from),
            Err(error) => Err(error),
        };
        match reaped {
            Ok(Some(State::Pending)) => warn!(job_id = %id, "its worker was lost; put back"),
            Ok(Some(_)) if stopped => {
                warn!(job_id = %id, "its worker was lost once too often; failed");
                if let Err(error) = self.context.spool.remove(id).await {
                    warn!(job_id = %id, %error, "an ended job is still in the spool; the next start removes it");
                }
            }
            // It stays in the spool: the next comparison names what came late, and removes it.
            Ok(Some(_)) => warn!(job_id = %id, "its worker was lost once too often and doesn't stop; failed"),
            Ok(None) => {}
            Err(error) => warn!(job_id = %id, %error, "can't take back a lost job; trying again"),
        }
    }

    /// What is stored of a job, by whichever attempt.
    async fn stored(&self, id: JobId) -> Result<Vec<StoredFile>, ReconcileError> {
        let WorkerContext { queue, spool, .. } = &*self.context;
        match queue.get(&id).await? {
            Some(job) => match stored_files(spool, &job.record).await {
                Err(error) if error.is_missing() => Ok(Vec::new()),
                files => Ok(files?),
            },
            None => Ok(Vec::new()),
        }
    }

    async fn compare(&self) {
        let scope = Scope::AcceptedBefore(self.context.clock.now().before(RECONCILE_EVERY));
        if let Err(error) = reconcile(&self.context.spool, &*self.context.queue, scope).await {
            warn!(%error, "can't compare the spool with the queue; trying again");
        }
    }

    async fn sweep(&self) {
        let before = self.context.clock.now().before(self.context.settings.retention);
        let mut forgotten = 0;
        loop {
            match self.context.queue.purge(before, BATCH).await {
                Ok(0) => break,
                Ok(purged) => forgotten += purged,
                Err(error) => {
                    warn!(%error, "can't forget old records; the next sweep tries again");
                    break;
                }
            }
        }
        if forgotten > 0 {
            info!(records = forgotten, "forgot records older than the retention");
        }
    }
}

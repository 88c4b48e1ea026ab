//! Makes the queue agree with the spool, which is right: an upload that the queue doesn't know is queued, and a job that
//! has ended leaves the spool. At start, and once a minute, since an upload whose duplicate is live must wait for its end,
//! and since a queue can lose its database while it runs.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::repeat;
use crate::clock::{SharedClock, Timestamp};
use crate::error_chain::ErrorChain;
use crate::job::{JobRecord, State, StoredFile};
use crate::queue::{Enqueued, Filter, Job, JobQueue, Page, PageRequest, QueueError};
use crate::spool::{Spool, SpoolEntry, SpoolError};

const PERIOD: Duration = Duration::from_mins(1);

/// A younger upload may just be on its way from the spool to the queue. To queue one all the same does no harm.
const AGE_MIN: Duration = Duration::from_secs(10);

/// Jobs in a page of the queue's list.
const PAGE: usize = 200;

/// Why the spool and the queue can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The spool can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The queue can't be read.
    #[error("comparing the spool with the queue: {0}")]
    Queue(#[from] QueueError),
}

/// Which uploads are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileScope {
    /// All, and damaged ones are logged. Only before the server takes uploads.
    AtStart,
    /// Those accepted before this: a younger one may just be on its way from the spool to the queue.
    AcceptedBefore(Timestamp),
}

impl ReconcileScope {
    fn covers(self, record: &JobRecord) -> bool {
        match self {
            Self::AtStart => true,
            Self::AcceptedBefore(moment) => record.created_at < moment,
        }
    }
}

/// One for the whole server.
pub struct SpoolReconciler {
    spool: Spool,
    queue: Arc<dyn JobQueue>,
    clock: SharedClock,
}

impl SpoolReconciler {
    /// A reconciler that has not started.
    #[must_use]
    pub fn new(spool: Spool, queue: Arc<dyn JobQueue>, clock: SharedClock) -> Self {
        Self { spool, queue, clock }
    }

    /// Reconciles now and then once a minute, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let reconcile = || async {
            let scope = ReconcileScope::AcceptedBefore(self.clock.now().before(AGE_MIN));
            if let Err(error) = self.reconcile(scope).await {
                warn!(error = %ErrorChain(&error), "spool and queue can't be compared; will be retried");
            }
        };
        repeat(PERIOD, &stop, reconcile).await;
    }

    /// Compares every upload in `scope` with the queue.
    ///
    /// # Errors
    /// If the spool can't be listed, or the queue as a whole fails. What concerns one upload is logged.
    pub async fn reconcile(&self, scope: ReconcileScope) -> Result<(), ReconcileError> {
        let mut requeued = 0_usize;
        for entry in self.spool.entries().await? {
            match entry {
                SpoolEntry::Whole(record) if scope.covers(&record) => {
                    let id = record.id;
                    match self.reconcile_one(*record).await {
                        Ok(is_queued) => requeued += usize::from(is_queued),
                        Err(ReconcileError::Queue(
                            error @ (QueueError::Unavailable { .. } | QueueError::StorageFull),
                        )) => return Err(error.into()),
                        Err(error) => error!(
                            job_id = %id, error = %ErrorChain(&error),
                            "upload can't be reconciled; will be retried"
                        ),
                    }
                }
                SpoolEntry::Damaged { path, why } if scope == ReconcileScope::AtStart => {
                    error!(path = %path.display(), why, "accepted upload is damaged; it stays in the spool");
                }
                SpoolEntry::Whole(_) | SpoolEntry::Damaged { .. } => {}
            }
        }
        if requeued > 0 {
            warn!(jobs = requeued, "accepted uploads were missing from the queue; requeued");
        }
        Ok(())
    }

    /// After a queue came back older than it was: drops the jobs that it takes for unfinished and that are not in the
    /// spool. They had ended; to work on them again would end them twice.
    ///
    /// # Errors
    /// If the spool or the queue fails.
    pub async fn drop_jobs_missing_from_spool(&self) -> Result<(), ReconcileError> {
        for state in [State::Pending, State::Processing] {
            let filter = Filter { state: Some(state), owner: None };
            let mut cursor = None;
            loop {
                let page = PageRequest { limit: PAGE, cursor };
                let Page { jobs, next } = self.queue.list(&filter, page).await?;
                for Job { record, .. } in jobs {
                    if !self.spool.holds(record.id).await? && self.queue.drop_live(&record.id).await? {
                        error!(job_id = %record.id, hash = %record.hash, "job had ended, but its record is lost");
                    }
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether the upload had to be queued.
    async fn reconcile_one(&self, record: JobRecord) -> Result<bool, ReconcileError> {
        let id = record.id;
        match self.queue.get(&id).await? {
            Some(job) if job.state.is_terminal() => {
                self.record_files(&job).await?;
                self.spool.remove(id).await?;
                info!(job_id = %id, state = %job.state, "ended job removed from the spool");
                Ok(false)
            }
            Some(_) => Ok(false),
            None => match self.queue.enqueue(record).await {
                Ok(Enqueued::Created | Enqueued::Known) => Ok(true),
                // Its client may have been told of it, so it is a job of its own, to be queued once its duplicate has
                // ended.
                Ok(Enqueued::Duplicate(_)) | Err(QueueError::Full { .. } | QueueError::OwnerFull { .. }) => Ok(false),
                // Its client was answered that much, or nothing: two uploads with one token were under way when the server died.
                Ok(Enqueued::TokenUsed(used_by)) => {
                    self.spool.remove(id).await?;
                    info!(job_id = %id, %used_by, "upload removed from the spool; its token was good for another one");
                    Ok(false)
                }
                Err(error) => Err(error.into()),
            },
        }
    }

    /// A job that failed or was cancelled without its worker may have stored more than its record says.
    async fn record_files(&self, job: &Job) -> Result<(), ReconcileError> {
        if job.state == State::Completed {
            return Ok(());
        }
        let files = self.spool.stored_files(&job.record).await?;
        if copies(&files) > copies(&job.files) {
            self.queue.record_files(&job.record.id, files).await?;
        }
        Ok(())
    }
}

/// How many copies of files there are in all stores together.
fn copies(files: &[StoredFile]) -> usize {
    files.iter().map(|file| file.stored.len()).sum()
}

//! Calling jobs off: the work stops, wherever it is done, then the job has ended, and nothing more of it appears.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::active_jobs::ActiveJobs;
use crate::clock::SharedClock;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobId, JobRecord, State, StoredFile};
use crate::ledger::{ErasableLedger, LedgerError, record_stored};
use crate::queue::{CancelOutcome, Job, JobQueue, QueueError};
use crate::spool::Spool;

/// Between two tries to record a cancellation.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Tries after the first.
const RETRIES_MAX: usize = 10;
/// The same for taking a job's original out of the spool.
const LEAVE_DELAY: Duration = Duration::from_millis(200);
const LEAVE_RETRIES: usize = 3;
/// For another node to stop a job.
const STOP_TIMEOUT: Duration = Duration::from_secs(7);

/// Why a job could not be cancelled, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The queue can't be asked, or doesn't take it.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// What is stored of it can't be written down.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another node works on it, and has not stopped yet. It is cancelled once that has.
    #[error("another node works on the job and takes long to stop")]
    NotStoppedYet,
    /// It is cancelled, and its original is where it may be taken for work still, should the queue forget that.
    #[error("the job is cancelled, but its original could not be taken out of the bucket yet")]
    NotLeftSpool,
}

/// What calling a job off came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancellation {
    /// It is cancelled.
    Cancelled,
    /// It had ended before, so.
    Ended(State),
    /// There is no such job.
    Unknown,
}

/// Cancels jobs. Clones are one.
#[derive(Clone)]
pub struct JobCanceller {
    queue: Arc<dyn JobQueue>,
    spool: Arc<dyn Spool>,
    active_jobs: ActiveJobs,
    ledger: Arc<dyn ErasableLedger>,
    clock: SharedClock,
}

impl fmt::Debug for JobCanceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCanceller").field("active_jobs", &self.active_jobs).finish_non_exhaustive()
    }
}

impl JobCanceller {
    /// One for all of a server.
    #[must_use]
    pub fn new(
        queue: Arc<dyn JobQueue>,
        spool: Arc<dyn Spool>,
        active_jobs: ActiveJobs,
        ledger: Arc<dyn ErasableLedger>,
        clock: SharedClock,
    ) -> Self {
        Self { queue, spool, active_jobs, ledger, clock }
    }

    /// First the work stops, so that the record can name everything that was stored; then the queue is told; then, should
    /// a worker have claimed it in between, that stops too. When this returns nothing more appears. Whoever drops it midway
    /// leaves a job that is stopped and not cancelled.
    ///
    /// # Errors
    /// [`CancelError`]; what has been done by then stays, and the same may be asked for again.
    pub async fn cancel(&self, job: Job) -> Result<Cancellation, CancelError> {
        let id = job.record.id;
        let stored = match self.active_jobs.stop(id).await {
            Some(stored) => stored,
            // Nobody works on it now; whoever did has left a journal.
            None => match self.spool.stored_files(&job.record).await {
                Ok(journaled) if !journaled.is_empty() => journaled,
                Ok(_) => job.files,
                Err(error) => {
                    warn!(job_id = %id, error = %ErrorChain(&error), "journal can't be read");
                    job.files
                }
            },
        };
        reached(Step::CancelBefore);
        self.record_stored(&job.record, &stored).await?;
        match self.record_cancellation(id, stored).await? {
            CancelOutcome::CancelledPending | CancelOutcome::CancelledProcessing => {}
            CancelOutcome::Stopping => return self.wait_for_stop(id).await,
            CancelOutcome::Ended(ended) => return Ok(Cancellation::Ended(ended)),
            CancelOutcome::Unknown => return Ok(Cancellation::Unknown),
        }
        reached(Step::CancelAfter);
        self.active_jobs.stop(id).await;
        self.leave_spool(id).await?;
        info!(job_id = %id, "job cancelled");
        Ok(Cancellation::Cancelled)
    }

    /// Another node works on the job, and has been asked to stop. Its attempt ends the job.
    async fn wait_for_stop(&self, id: JobId) -> Result<Cancellation, CancelError> {
        let mut watch = self.queue.events().watch(id);
        let ended = async {
            loop {
                let Some(job) = self.queue.get(&id).await? else { return Ok(Cancellation::Unknown) };
                match job.state {
                    State::Cancelled => return Ok(Cancellation::Cancelled),
                    ended if ended.is_terminal() => return Ok(Cancellation::Ended(ended)),
                    _ => {}
                }
                // Whichever comes first: an event may be lost.
                let _ = timeout(RETRY_DELAY, watch.changed()).await;
            }
        };
        let outcome = timeout(STOP_TIMEOUT, ended).await.unwrap_or(Err(CancelError::NotStoppedYet))?;
        if outcome == Cancellation::Cancelled {
            self.leave_spool(id).await?;
            info!(job_id = %id, "job cancelled");
        }
        Ok(outcome)
    }

    /// From now on nobody takes a cancelled job's original for work. Whoever worked on it does the same; twice is harmless.
    async fn leave_spool(&self, id: JobId) -> Result<(), CancelError> {
        // Whoever worked on it may be at it just now.
        let leave = || self.spool.job_ended(id, State::Cancelled);
        let left = leave.retry(ConstantBuilder::default().with_delay(LEAVE_DELAY).with_max_times(LEAVE_RETRIES)).await;
        let Err(error) = left else { return Ok(()) };
        warn!(
            job_id = %id, error = %ErrorChain(&error),
            "cancelled job could not be removed from the spool; the next comparison removes it"
        );
        // The queue of one machine is on the same disk, and never forgets that it is cancelled. Redis may.
        if self.queue.is_shared() { Err(CancelError::NotLeftSpool) } else { Ok(()) }
    }

    async fn record_stored(&self, record: &JobRecord, stored: &[StoredFile]) -> Result<(), LedgerError> {
        let note = || record_stored(&*self.ledger, record, stored, self.clock.now());
        note.retry(ConstantBuilder::default().with_delay(RETRY_DELAY).with_max_times(RETRIES_MAX)).await
    }

    /// The work has stopped already, so a queue that fails is retried before the client gets an error.
    async fn record_cancellation(&self, id: JobId, stored: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        let ask = || self.queue.cancel(&id, stored.clone());
        ask.retry(ConstantBuilder::default().with_delay(RETRY_DELAY).with_max_times(RETRIES_MAX)).await
    }
}

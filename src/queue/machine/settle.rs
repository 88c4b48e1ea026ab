//! Attempts coming to their end, and jobs being called off.

use super::{Machine, encode};
use crate::job::{ErrorCode, JobError, JobId, State, StoredFile};
use crate::queue::record::StoredJob;
use crate::queue::store::{Batch, Store, Table};
use crate::queue::{CancelOutcome, Lease, QueueError, Retry, Settled, read};

impl<S: Store> Machine<S> {
    pub(in crate::queue) fn complete(&mut self, lease: &Lease, files: Vec<StoredFile>) -> Result<Settled, QueueError> {
        let Some(mut stored) = self.held(lease)? else { return Ok(Settled::Stale) };
        stored.job.state = State::Completed;
        stored.job.error = None;
        stored.job.files = files;
        self.end(stored, State::Processing)?;
        Ok(Settled::Applied(State::Completed))
    }

    pub(in crate::queue) fn fail(
        &mut self,
        lease: &Lease,
        error: JobError,
        files: Vec<StoredFile>,
        retry: Retry,
    ) -> Result<Settled, QueueError> {
        let Some(mut stored) = self.held(lease)? else { return Ok(Settled::Stale) };
        stored.job.error = Some(error);
        // An attempt that stored nothing doesn't undo what an earlier one stored.
        if !files.is_empty() {
            stored.job.files = files;
        }
        match retry {
            Retry::After(wait) if stored.job.attempts < self.settings.attempts_max => {
                self.put_back(stored, State::Processing, Some(wait))?;
                Ok(Settled::Applied(State::Pending))
            }
            Retry::After(_) | Retry::Never => self.end_failed(stored),
        }
    }

    pub(in crate::queue) fn crashed(
        &mut self,
        lease: &Lease,
        error: JobError,
        files: Vec<StoredFile>,
    ) -> Result<Settled, QueueError> {
        let Some(mut stored) = self.held(lease)? else { return Ok(Settled::Stale) };
        if !files.is_empty() {
            stored.job.files = files;
        }
        stored.job.crashes += 1;
        stored.job.error = Some(error);
        if stored.job.crashes >= self.settings.crashes_max {
            poison(&mut stored);
            return self.end_failed(stored);
        }
        if stored.job.attempts >= self.settings.attempts_max {
            return self.end_failed(stored);
        }
        self.put_back(stored, State::Processing, None)?;
        Ok(Settled::Applied(State::Pending))
    }

    pub(in crate::queue) fn release(&mut self, lease: &Lease) -> Result<Settled, QueueError> {
        let Some(mut stored) = self.held(lease)? else { return Ok(Settled::Stale) };
        refund(&mut stored);
        self.put_back(stored, State::Processing, None)?;
        Ok(Settled::Applied(State::Pending))
    }

    pub(in crate::queue) fn cancel(&mut self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        let Some(mut stored) = read::stored(&*self.store, id)? else { return Ok(CancelOutcome::Unknown) };
        let before = stored.job.state;
        if before.is_terminal() {
            return Ok(CancelOutcome::Ended(before));
        }
        stored.job.state = State::Cancelled;
        if !files.is_empty() {
            stored.job.files = files;
        }
        self.end(stored, before)?;
        Ok(match before {
            State::Processing => CancelOutcome::CancelledProcessing,
            _ => CancelOutcome::CancelledPending,
        })
    }

    pub(in crate::queue) fn name_files(&mut self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError> {
        let Some(mut stored) = read::stored_in(&*self.store, Table::Failures, id)? else { return Ok(()) };
        stored.job.files = files;
        let mut batch = Batch::default();
        batch.put(Table::Failures, *id.as_bytes(), encode(&stored)?);
        self.apply(&batch)
    }

    pub(super) fn end_failed(&mut self, mut stored: StoredJob) -> Result<Settled, QueueError> {
        stored.job.state = State::Failed;
        self.end(stored, State::Processing)?;
        Ok(Settled::Applied(State::Failed))
    }

    /// The job, if the lease is the one that holds it.
    fn held(&mut self, lease: &Lease) -> Result<Option<StoredJob>, QueueError> {
        if self.schedule.token(&lease.id) != Some(lease.token) {
            return Ok(None);
        }
        self.put_away_if_unreadable(&lease.id)?;
        read::stored_in(&*self.store, Table::Jobs, &lease.id)
    }
}

/// Takes an attempt back that ended through no fault of the job.
pub(super) fn refund(stored: &mut StoredJob) {
    stored.job.attempts = stored.job.attempts.saturating_sub(1);
    if stored.job.attempts == 0 {
        stored.job.started_at = None;
    }
}

/// Says that a job crashed too often, and how it did last.
pub(super) fn poison(stored: &mut StoredJob) {
    let last = stored.job.error.take().map(|error| format!(": {}", error.detail)).unwrap_or_default();
    let detail = format!("it took its worker down {} times{last}", stored.job.crashes);
    stored.job.error = Some(JobError::new(ErrorCode::Poison, detail));
}

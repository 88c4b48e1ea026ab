//! How attempts end, and how jobs are cancelled.

use std::time::Duration;

use super::{Machine, encode};
use crate::job::{ErrorCode, JobError, JobId, State, StoredFile};
use crate::queue::local::read;
use crate::queue::local::record::StoredJob;
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::metrics::AttemptOutcome;
use crate::queue::{CancelOutcome, Lease, QueueError, Retry, Settled, Settlement};

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn settle(
        &mut self,
        lease: &Lease,
        settlement: Settlement,
    ) -> Result<Settled, QueueError> {
        let Some(stored) = self.held(lease)? else { return Ok(Settled::Stale) };
        let outcome = AttemptOutcome::of(&settlement);
        let state = match settlement {
            Settlement::Completed { files } => self.complete(stored, files),
            Settlement::Failed { error, files, retry } => self.fail(stored, error, files, retry),
            Settlement::Crashed { error, files } => self.count_crash(stored, error, files),
            Settlement::Released => self.release(stored),
            Settlement::Postponed { error, files, wait } => self.postpone(stored, error, files, wait),
            Settlement::Unmade { files } => self.unmake(stored, files),
            Settlement::Outgrown { memory } => self.outgrow(stored, memory),
        }?;
        self.observers.metrics.attempt_ended(outcome(state));
        Ok(Settled::Applied(state))
    }

    fn complete(&mut self, mut stored: StoredJob, files: Vec<StoredFile>) -> Result<State, QueueError> {
        stored.job.error = None;
        stored.job.files = files;
        self.end(stored, State::Completed)?;
        Ok(State::Completed)
    }

    fn fail(
        &mut self,
        mut stored: StoredJob,
        error: JobError,
        files: Vec<StoredFile>,
        retry: Retry,
    ) -> Result<State, QueueError> {
        stored.job.error = Some(error);
        stored.is_made = false;
        add_files(&mut stored, files);
        match retry {
            Retry::After(wait) if stored.job.attempts < self.settings.attempts_max => {
                self.requeue(stored, Some(wait))?;
                Ok(State::Pending)
            }
            Retry::After(_) | Retry::Never => self.end_failed(stored),
        }
    }

    fn count_crash(
        &mut self,
        mut stored: StoredJob,
        error: JobError,
        files: Vec<StoredFile>,
    ) -> Result<State, QueueError> {
        add_files(&mut stored, files);
        stored.job.crashes += 1;
        stored.job.error = Some(error);
        stored.is_made = false;
        if stored.job.crashes >= self.settings.crashes_max {
            poison(&mut stored);
            return self.end_failed(stored);
        }
        if stored.job.attempts >= self.settings.attempts_max {
            return self.end_failed(stored);
        }
        self.requeue(stored, None)?;
        Ok(State::Pending)
    }

    pub(super) fn release(&mut self, mut stored: StoredJob) -> Result<State, QueueError> {
        refund(&mut stored);
        self.requeue(stored, None)?;
        Ok(State::Pending)
    }

    fn unmake(&mut self, mut stored: StoredJob, files: Vec<StoredFile>) -> Result<State, QueueError> {
        stored.is_made = false;
        add_files(&mut stored, files);
        self.release(stored)
    }

    fn outgrow(&mut self, mut stored: StoredJob, memory: u64) -> Result<State, QueueError> {
        stored.job.record.memory = Some(memory);
        self.release(stored)
    }

    fn postpone(
        &mut self,
        mut stored: StoredJob,
        error: JobError,
        files: Vec<StoredFile>,
        wait: Duration,
    ) -> Result<State, QueueError> {
        refund(&mut stored);
        stored.job.error = Some(error);
        add_files(&mut stored, files);
        self.requeue(stored, Some(wait))?;
        Ok(State::Pending)
    }

    pub(in crate::queue::local) fn cancel(
        &mut self,
        id: &JobId,
        files: Vec<StoredFile>,
    ) -> Result<CancelOutcome, QueueError> {
        self.set_aside_if_unreadable(id)?;
        let Some(mut stored) = read::stored(&*self.records, id)? else { return Ok(CancelOutcome::Unknown) };
        let before = stored.job.state;
        if before.is_terminal() {
            return Ok(CancelOutcome::Ended(before));
        }
        add_files(&mut stored, files);
        self.end(stored, State::Cancelled)?;
        Ok(match before {
            State::Processing => {
                self.observers.metrics.attempt_ended(AttemptOutcome::Settled);
                CancelOutcome::CancelledProcessing
            }
            _ => CancelOutcome::CancelledPending,
        })
    }

    pub(in crate::queue::local) fn record_files(
        &mut self,
        id: &JobId,
        files: Vec<StoredFile>,
    ) -> Result<(), QueueError> {
        let Some(mut stored) = read::stored_in(&*self.records, Table::Failures, id)? else { return Ok(()) };
        stored.job.files = files;
        stored.job.changes += 1;
        let mut batch = Batch::default();
        batch.put(Table::Failures, *id.as_bytes(), encode(&stored)?);
        self.apply(&batch)?;
        self.changed.push(*id);
        Ok(())
    }

    pub(super) fn end_failed(&mut self, stored: StoredJob) -> Result<State, QueueError> {
        self.end(stored, State::Failed)?;
        Ok(State::Failed)
    }

    /// The job, if the lease is the one that holds it.
    pub(super) fn held(&mut self, lease: &Lease) -> Result<Option<StoredJob>, QueueError> {
        if self.schedule.token(&lease.id) != Some(lease.token) {
            return Ok(None);
        }
        self.set_aside_if_unreadable(&lease.id)?;
        read::stored_in(&*self.records, Table::Jobs, &lease.id)
    }
}

/// Notes what is stored. An attempt that stored nothing doesn't undo what an earlier one stored.
pub(super) fn add_files(stored: &mut StoredJob, files: Vec<StoredFile>) {
    if !files.is_empty() {
        stored.job.files = files;
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

//! How attempts end, and how jobs are cancelled.

use super::{Machine, encode};
use crate::job::{JobId, State, StoredFile};
use crate::queue::local::read;
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::metrics::AttemptOutcome;
use crate::queue::record::StoredJob;
use crate::queue::rules::{self, Next};
use crate::queue::{CancelOutcome, Lease, QueueError, Settled, Settlement};

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn settle(
        &mut self,
        lease: &Lease,
        settlement: Settlement,
    ) -> Result<Settled, QueueError> {
        let Some(mut stored) = self.held(lease)? else { return Ok(Settled::Stale) };
        let outcome = AttemptOutcome::of(&settlement);
        let next = rules::settle(&mut stored, settlement, &self.settings);
        let state = self.go_on(stored, next)?;
        self.observers.metrics.attempt_ended(outcome(state));
        Ok(Settled::Applied(state))
    }

    /// Ends a job, or lets it wait.
    pub(super) fn go_on(&mut self, stored: StoredJob, next: Next) -> Result<State, QueueError> {
        match next {
            Next::Waits(wait) => {
                self.requeue(stored, wait)?;
                Ok(State::Pending)
            }
            Next::Ends(state) => {
                self.end(stored, state)?;
                Ok(state)
            }
        }
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
        rules::add_files(&mut stored, files);
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

    /// The job, if the lease is the one that holds it.
    pub(super) fn held(&mut self, lease: &Lease) -> Result<Option<StoredJob>, QueueError> {
        if self.schedule.token(&lease.id) != Some(lease.token) {
            return Ok(None);
        }
        self.set_aside_if_unreadable(&lease.id)?;
        read::stored_in(&*self.records, Table::Jobs, &lease.id)
    }
}

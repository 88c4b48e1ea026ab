//! A job's way from one state to the next. Nothing else changes the state of a job that has one.

use std::time::Duration;

use super::{Machine, encode, ended_count, live};
use crate::clock::millis;
use crate::failpoint::{Step, reached};
use crate::job::State;
use crate::queue::local::key;
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::record::StoredJob;
use crate::queue::{QueueError, rules};

#[cfg(test)]
mod tests;

impl<S: RecordStore> Machine<S> {
    /// Moves a job to `next`: its record and its place in the lists go into `batch`.
    /// Refuses what the table of transitions ([`State::may_become`]) doesn't have.
    pub(super) fn transition(&self, batch: &mut Batch, stored: &mut StoredJob, next: State) -> Result<(), QueueError> {
        let before = stored.job.state;
        let id = stored.job.record.id;
        let unrecorded = self.observers.events.unrecorded(id);
        rules::enter(stored, next, self.clock.now(), unrecorded + 1)?;
        self.observers.events.counted(id, unrecorded);
        #[cfg(test)]
        tests::note_granted(id, before, next);
        key::move_on(batch, &stored.job, before);
        if key::home(before) != key::home(next) {
            batch.remove(key::home(before), *id.as_bytes());
        }
        batch.put(key::home(next), *id.as_bytes(), encode(stored)?);
        if let Some(finished) = stored.job.finished_at {
            batch.put(Table::ByDone, key::done(finished, &id), Vec::new());
        }
        Ok(())
    }

    /// Ends a job: its record, its place in the lists and the callbacks it owes, in one batch. The caller has set aside
    /// what can't be read under its id.
    pub(super) fn end(&mut self, mut stored: StoredJob, ended: State) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        self.transition(&mut batch, &mut stored, ended)?;
        let owed = self.owe_callbacks(&mut batch, &stored.job)?;
        self.apply(&batch)?;
        reached(Step::SettleApplied);
        self.changed.push(stored.job.record.id);
        self.schedule.remove(&stored.job.record.id);
        if let Some(count) = ended_count(&mut self.ended, ended) {
            *count += 1;
        }
        self.schedule_owed(&stored.job, owed);
        self.observers.metrics.ended(&stored.job);
        Ok(())
    }

    /// Lets a job wait in its old place: ready at once, or after `wait`.
    pub(super) fn requeue(&mut self, mut stored: StoredJob, wait: Option<Duration>) -> Result<(), QueueError> {
        stored.job.not_before = wait.map(|wait| self.clock.now().after(wait));
        stored.wait_ms = wait.map_or(0, millis);
        let mut batch = Batch::default();
        self.transition(&mut batch, &mut stored, State::Pending)?;
        self.apply(&batch)?;
        self.changed.push(stored.job.record.id);
        let not_before = wait.map(|wait| self.clock.elapsed().saturating_add(wait));
        self.schedule.wait(live(&stored), not_before);
        Ok(())
    }
}

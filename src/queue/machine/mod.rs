//! The queue's transitions, the same for every store: each is one batch, and what is kept in memory changes only after
//! the batch was taken.

mod claim;
mod delivery;
mod enqueue;
mod recover;
mod settle;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

pub(super) use recover::{Carried, Start};

use super::outbox::Outbox;
use super::record::{self, StoredDelivery, StoredJob};
use super::schedule::{Live, Schedule};
use super::signal::Pulse;
use super::store::{Batch, Store, StoreError, Table};
use super::{Counts, Job, QueueError, QueueSettings, key};
use crate::clock::SharedClock;
use crate::failpoint::{Step, reached};
use crate::job::State;

/// Numbers are reserved so many at a time.
const RESERVED: u64 = 1024;

/// The queue itself. One thread at a time; every call may block on the store.
pub(super) struct Machine<S> {
    store: Arc<S>,
    settings: QueueSettings,
    clock: SharedClock,
    schedule: Schedule,
    outbox: Outbox,
    /// Only the ended states; the live ones are the schedule's to count.
    ended: Counts,
    seq: Numbers,
    token: Numbers,
    /// The leases that their holders know of: those of the last batch that was durable.
    acknowledged: recover::Leases,
    /// Whether anything was written since the last sync.
    dirty: bool,
    /// Why the store failed. What is in memory may not be what is on disk then: recover from the store.
    broken: Option<StoreError>,
}

/// Numbers that are never given out twice, not even by a later start.
#[derive(Debug)]
struct Numbers {
    key: &'static [u8],
    next: u64,
    /// On disk: everything below may have been given out.
    reserved: u64,
}

impl Numbers {
    /// The next number; its reservation is part of the batch that uses it.
    fn take(&mut self, batch: &mut Batch) -> u64 {
        if self.next >= self.reserved {
            self.reserved = self.next + RESERVED;
            batch.put(Table::Meta, self.key, self.reserved.to_be_bytes());
        }
        self.next += 1;
        self.next - 1
    }
}

impl<S: Store> Machine<S> {
    /// How things stand, for whoever waits.
    pub(super) fn pulse(&mut self) -> Pulse {
        let processing = self.schedule.processing();
        let pending = self.schedule.depth() - processing;
        let now = self.clock.elapsed();
        Pulse {
            counts: Counts { pending: pending as u64, processing: processing as u64, ..self.ended },
            down: None,
            claimable: self.schedule.next(now).is_some(),
            next_ready: self.schedule.next_due(),
            next_delivery: self.outbox.next_due(),
        }
    }

    /// Where its records are.
    pub(super) fn store(&self) -> &S {
        &self.store
    }

    /// Why it can't go on, if it can't.
    pub(super) fn broken(&self) -> Option<&StoreError> {
        self.broken.as_ref()
    }

    /// Syncs if there is anything to sync. What was done before may be acknowledged if it succeeds.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.dirty && self.broken.is_none() {
            reached(Step::QueueBeforeSync);
            if let Err(error) = self.store.sync() {
                self.broken = Some(error);
            }
            reached(Step::QueueAfterSync);
            self.dirty = false;
        }
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.acknowledged = self.leases();
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), QueueError> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        self.dirty = true;
        self.store.apply(batch).map_err(|error| {
            self.broken = Some(error.clone());
            error.into()
        })
    }

    /// Writes a job that was in state `before` and is live still.
    fn write_live(batch: &mut Batch, stored: &StoredJob, before: State) -> Result<(), QueueError> {
        batch.put(Table::Jobs, *stored.job.record.id.as_bytes(), encode(stored)?);
        if stored.job.state != before {
            key::move_on(batch, &stored.job, before);
        }
        Ok(())
    }

    /// Writes a job that was in state `before` and has ended in this very moment.
    fn write_ended(&self, batch: &mut Batch, stored: &mut StoredJob, before: State) -> Result<(), QueueError> {
        let now = self.clock.now();
        stored.job.not_before = None;
        stored.job.finished_at = Some(now);
        let job = &stored.job;
        let id = job.record.id;
        batch.remove(Table::Jobs, *id.as_bytes());
        batch.put(key::home(job.state), *id.as_bytes(), encode(stored)?);
        batch.put(Table::ByDone, key::done(now, &id), Vec::new());
        key::move_on(batch, job, before);
        if owes_callback(job) {
            let delivery = StoredDelivery { due: now, wait_ms: 0, attempts: 0 };
            batch.put(Table::Outbox, *id.as_bytes(), encode(&delivery)?);
        }
        Ok(())
    }

    /// Ends a job: its record, its place in the lists and the callback it owes, in one batch.
    fn end(&mut self, mut stored: StoredJob, before: State) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        self.write_ended(&mut batch, &mut stored, before)?;
        self.apply(&batch)?;
        reached(Step::SettleApplied);
        self.note_ended(&stored.job);
        Ok(())
    }

    fn note_ended(&mut self, job: &Job) {
        self.schedule.remove(&job.record.id);
        if let Some(count) = ended_count(&mut self.ended, job.state) {
            *count += 1;
        }
        if owes_callback(job) {
            let owed = super::outbox::Owed { due: self.clock.elapsed(), attempts: 0 };
            self.outbox.set(job.record.id, owed);
        }
    }

    /// Puts a job back to its place: ready at once, or after `wait`.
    fn put_back(&mut self, mut stored: StoredJob, before: State, wait: Option<Duration>) -> Result<(), QueueError> {
        stored.job.state = State::Pending;
        stored.job.not_before = wait.map(|wait| self.clock.now().after(wait));
        stored.wait_ms = wait.map_or(0, millis);
        let mut batch = Batch::default();
        Self::write_live(&mut batch, &stored, before)?;
        self.apply(&batch)?;
        let not_before = wait.map(|wait| self.clock.elapsed().saturating_add(wait));
        self.schedule.wait(live(&stored.job), not_before);
        Ok(())
    }
}

fn owes_callback(job: &Job) -> bool {
    job.record.callback.is_some() && matches!(job.state, State::Completed | State::Failed)
}

fn ended_count(ended: &mut Counts, state: State) -> Option<&mut u64> {
    match state {
        State::Pending | State::Processing => None,
        State::Completed => Some(&mut ended.completed),
        State::Failed => Some(&mut ended.failed),
        State::Cancelled => Some(&mut ended.cancelled),
    }
}

fn live(job: &Job) -> Live {
    Live {
        id: job.record.id,
        seq: job.seq,
        priority: job.record.spec.priority,
        owner: job.record.owner.digest(),
        suspect: job.crashes > 0,
        memory: job.record.memory.unwrap_or(0),
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, QueueError> {
    Ok(record::encode(value).map_err(|e| StoreError::failed("writing a record", e))?)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

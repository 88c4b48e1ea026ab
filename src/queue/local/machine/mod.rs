//! The queue's state machine, the same for every store: each change is one batch, and what is kept in memory changes only
//! after the batch was taken.

mod claim;
mod delivery;
mod enqueue;
mod erase;
mod recover;
mod requests;
mod settle;
mod sweep;
#[cfg(test)]
mod tests;
mod transfer;
mod transition;

use std::sync::Arc;

pub(super) use recover::{RecoveryCause, RecoveryState};

use self::requests::Requests;

use super::Observers;
use super::deliveries::DeliverySchedule;
use super::schedule::{Choice, LiveJob, Schedule};
use super::status::QueueStatus;
use super::store::{Batch, RecordStore, RecordStoreError, Table};
use crate::clock::SharedClock;
use crate::failpoint::{Step, reached};
use crate::job::{JobId, State};
use crate::queue::record::{self, StoredJob};
use crate::queue::{Counts, Place, QueueError, QueueSettings, WaitReason};

/// Numbers are reserved so many at a time: of places, which are those of a moment in microseconds, a minute's.
const RESERVED: u64 = 1024;
const PLACES_RESERVED: u64 = 60_000_000;

/// The queue itself. One thread at a time; every call may block on the store.
pub(super) struct Machine<S> {
    records: Arc<S>,
    settings: QueueSettings,
    clock: SharedClock,
    schedule: Schedule,
    deliveries: DeliverySchedule,
    /// The requests under way that may be repeated.
    requests: Requests,
    /// By place: the bytes of memory for which the last claim was short, or any number if it was not. With no more than these
    /// another claim would be short again.
    memory_left: [u64; 2],
    /// Only the ended states; the live ones are the schedule's to count.
    ended: Counts,
    seq: Sequence,
    token: Sequence,
    /// The leases that their holders know of: those of the last batch that was durable.
    acknowledged: recover::Leases,
    observers: Observers,
    /// The jobs whose records have changed since that was told last.
    changed: Vec<JobId>,
    /// Whether anything was written since the last sync.
    dirty: bool,
    /// Why the store failed. What is in memory may not be what is on disk then: recover from the store.
    broken: Option<RecordStoreError>,
}

/// Numbers that are never given out twice, not even by a later start.
#[derive(Debug)]
struct Sequence {
    key: &'static [u8],
    next: u64,
    /// On disk: everything below may have been given out.
    reserved: u64,
    reserved_at_once: u64,
}

impl Sequence {
    /// The next number; its reservation is part of the batch that uses it.
    fn take(&mut self, batch: &mut Batch) -> u64 {
        if self.next >= self.reserved {
            self.reserved = self.next + self.reserved_at_once;
            batch.put(Table::Meta, self.key, self.reserved.to_be_bytes());
        }
        self.next += 1;
        self.next - 1
    }

    /// The same, and no less than this.
    fn take_from(&mut self, batch: &mut Batch, least: u64) -> u64 {
        self.next = self.next.max(least);
        self.take(batch)
    }

    /// Never gives this number out, nor one below it.
    fn pass(&mut self, number: u64, batch: &mut Batch) {
        if number < self.next {
            return;
        }
        self.next = number + 1;
        if self.next > self.reserved {
            self.reserved = self.next + self.reserved_at_once;
            batch.put(Table::Meta, self.key, self.reserved.to_be_bytes());
        }
    }
}

impl<S: RecordStore> Machine<S> {
    /// What waits, for whoever waits for it.
    pub(super) fn status(&mut self) -> QueueStatus {
        let processing = self.schedule.processing();
        let pending = self.schedule.depth() - processing;
        let now = self.clock.elapsed();
        QueueStatus {
            counts: Counts {
                pending: pending as u64,
                processing: processing as u64,
                storing: self.schedule.storing() as u64,
                ..self.ended
            },
            lanes: self.schedule.lanes(),
            callbacks: self.deliveries.owed(),
            outage: None,
            claimable: Place::ALL.map(|place| {
                let memory = self.memory_left[place as usize];
                matches!(self.schedule.choose(now, place, memory), Choice::Job(_))
            }),
            made_waits: self.schedule.first_made(now).is_some(),
            next_ready: self.schedule.next_due(),
            next_delayed: self.schedule.next_delayed(),
            next_delivery: self.deliveries.next_due(),
        }
    }

    /// What each of these jobs waits for.
    pub(super) fn waiting_for(&self, ids: &[JobId]) -> Vec<Option<WaitReason>> {
        ids.iter().map(|id| self.schedule.waits_for(id)).collect()
    }

    /// Where its records are.
    pub(super) fn records(&self) -> &S {
        &self.records
    }

    /// Why it can't go on, if it can't.
    pub(super) fn broken(&self) -> Option<&RecordStoreError> {
        self.broken.as_ref()
    }

    /// Syncs if there is anything to sync. What was done before may be acknowledged if it succeeds.
    pub(super) fn sync(&mut self) -> Result<(), RecordStoreError> {
        if self.dirty && self.broken.is_none() {
            reached(Step::QueueBeforeSync);
            let began = self.clock.elapsed();
            if let Err(error) = self.records.sync() {
                self.broken = Some(error);
            }
            self.observers.metrics.synced(self.clock.elapsed().saturating_sub(began));
            reached(Step::QueueAfterSync);
            self.dirty = false;
        }
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.acknowledged = self.leases();
        self.tell_changes();
        Ok(())
    }

    /// Tells whose records have changed, now that nothing can take that back.
    pub(super) fn tell_changes(&mut self) {
        for id in self.changed.drain(..) {
            self.observers.events.recorded(id);
        }
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), QueueError> {
        if let Some(error) = &self.broken {
            return Err(error.clone().into());
        }
        self.dirty = true;
        self.records.apply(batch).map_err(|error| {
            self.broken = Some(error.clone());
            error.into()
        })
    }
}

fn ended_count(ended: &mut Counts, state: State) -> Option<&mut u64> {
    match state {
        State::Pending | State::Processing => None,
        State::Completed => Some(&mut ended.completed),
        State::Failed => Some(&mut ended.failed),
        State::Cancelled => Some(&mut ended.cancelled),
    }
}

fn live(stored: &StoredJob) -> LiveJob {
    let job = &stored.job;
    LiveJob {
        id: job.record.id,
        seq: job.seq,
        priority: job.record.spec.priority,
        user: job.record.owner.user_key(),
        owner: job.record.owner.digest(),
        bytes: job.record.original.sha256,
        tenant: job.record.owner.tenant_key(),
        crashed: job.crashes > 0,
        created_at: job.record.created_at,
        memory: job.record.memory.unwrap_or(0),
        is_made: stored.is_made,
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, QueueError> {
    Ok(record::encode(value).map_err(|e| RecordStoreError::failed("writing a record", e))?)
}

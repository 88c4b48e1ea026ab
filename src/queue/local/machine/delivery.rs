//! The callbacks that jobs owe, and what became of them.

use std::time::Duration;

use super::{Machine, encode};
use crate::failpoint::{Step, reached};
use crate::job::{DeliveryId, JobId, StoredFile};
use crate::queue::local::deliveries::ScheduledDelivery;
use crate::queue::local::store::{Batch, RecordStore, ScanOrder, Table};
use crate::queue::local::{key, read};
use crate::queue::record::{self, StoredDelivery, StoredJob, StoredRecipient};
use crate::queue::rules::{self, AfterTry, ToldCallbacks};
use crate::queue::{Delivery, DeliveryOutcome, DeliveryState, DeliveryTry, Job, Lease, QueueError};

/// Records looked at in one batch: batches are kept small, since each holds up all others.
const FORGOTTEN_AT_ONCE: usize = 64;

impl<S: RecordStore> Machine<S> {
    /// Hiding is not durable: after a restart whatever is owed is due, and is delivered at least once.
    pub(in crate::queue::local) fn due_deliveries(&mut self, limit: usize, lease: Duration) -> Vec<Delivery> {
        let now = self.clock.elapsed();
        let due = self.deliveries.due(now, limit);
        due.into_iter()
            .filter_map(|id| {
                let owed = self.deliveries.get(&id)?.clone();
                self.deliveries.set(id, ScheduledDelivery { due: now.saturating_add(lease), ..owed.clone() });
                Some(Delivery { id, owner: owed.owner, host: owed.host, attempts: owed.attempts })
            })
            .collect()
    }

    pub(in crate::queue::local) fn settle_delivery(
        &mut self,
        id: &DeliveryId,
        tried: DeliveryTry,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError> {
        let Some(owed) = self.deliveries.get(id).cloned() else { return Ok(()) };
        let Some(mut delivery) = read::delivery_in(&*self.records, Table::Outbox, id)? else {
            // Its record is damaged: made again and again, it could never be settled.
            self.deliveries.remove(id);
            return Ok(());
        };
        let state = delivery.state;
        match rules::tried(id, &mut delivery, tried, outcome, self.clock.now()) {
            AfterTry::Nothing => {}
            AfterTry::Due => self.put_owed(*id, &delivery, owed, self.clock.elapsed())?,
            AfterTry::Waits(wait) => {
                let due = self.clock.elapsed().saturating_add(wait);
                self.put_owed(*id, &delivery, owed, due)?;
            }
            AfterTry::Held => self.put_owed(*id, &delivery, owed, Duration::MAX)?,
            AfterTry::Settled { drops_files } => {
                let mut batch = Batch::default();
                move_delivery(&mut batch, *id, &delivery, state)?;
                let mut dropped = Vec::new();
                for other in self.deliveries.of_job(id.job).filter(|other| drops_files && other != id) {
                    let delivery = read::delivery_in(&*self.records, Table::Outbox, &other)?;
                    if let Some(delivery) = delivery.filter(|delivery| !delivery.asked_again) {
                        remove_delivery(&mut batch, other, &delivery, delivery.state);
                        dropped.push(other);
                    }
                }
                // One that versions before 0.3.0 took in: nothing that was told is kept in clear.
                if let Some(mut stored) = read::stored(&*self.records, &id.job)? {
                    forget_if_clear(&mut batch, &mut stored)?;
                }
                self.apply(&batch)?;
                reached(Step::CallbackSettleApplied);
                for settled in dropped.iter().chain([id]) {
                    self.deliveries.remove(settled);
                }
            }
        }
        Ok(())
    }

    /// Writes a callback that is owed, and lets it be due then.
    fn put_owed(
        &mut self,
        id: DeliveryId,
        delivery: &StoredDelivery,
        owed: ScheduledDelivery,
        due: Duration,
    ) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        batch.put(Table::Outbox, key::delivery(id), encode(delivery)?);
        self.apply(&batch)?;
        self.deliveries.set(id, ScheduledDelivery { due, attempts: delivery.attempts, ..owed });
        Ok(())
    }

    pub(in crate::queue::local) fn file_stored(
        &mut self,
        lease: &Lease,
        index: u16,
        file: StoredFile,
    ) -> Result<(), QueueError> {
        let Some(stored) = self.held(lease)? else { return Ok(()) };
        let (now, changes) = (self.clock.now(), self.changes(&stored.job));
        let told = TableOfCallbacks { records: &*self.records, job: lease.id };
        let mut last = told.last_sequence()?;
        let owed = rules::owed_of_file(&stored.job, index, file, &told, &mut last, now, changes)?;
        let mut batch = Batch::default();
        if let Some((id, delivery)) = &owed {
            put_delivery(&mut batch, *id, delivery)?;
        }
        self.apply(&batch)?;
        self.schedule_owed(&stored.job, owed.map(|(id, _)| id));
        Ok(())
    }

    /// Adds the callbacks to `batch` that `job`, which has just ended, owes and that are not there yet. Answers which.
    pub(super) fn owe_callbacks(&self, batch: &mut Batch, job: &Job) -> Result<Vec<DeliveryId>, QueueError> {
        let told = TableOfCallbacks { records: &*self.records, job: job.record.id };
        let owed = rules::owed_at_end(job, &told, self.clock.now(), self.changes(job))?;
        for (id, delivery) in &owed {
            put_delivery(batch, *id, delivery)?;
        }
        Ok(owed.into_iter().map(|(id, _)| id).collect())
    }

    /// How often a job has changed.
    fn changes(&self, job: &Job) -> u64 {
        job.changes + self.observers.events.unrecorded(job.record.id)
    }

    /// Lets callbacks that are in the store be due at once.
    pub(super) fn schedule_owed(&mut self, job: &Job, owed: impl IntoIterator<Item = DeliveryId>) {
        let StoredRecipient { owner, host } = StoredRecipient::of(job);
        let (due, since) = (self.clock.elapsed(), self.clock.now());
        for id in owed {
            let (owner, host) = (owner.clone(), host.clone());
            self.deliveries.set(id, ScheduledDelivery { due, attempts: 0, owner, host, since });
        }
    }

    pub(in crate::queue::local) fn redeliver(&mut self, ids: &[DeliveryId]) -> Result<usize, QueueError> {
        let mut due_again = 0;
        for id in ids {
            let Some(mut delivery) = read::delivery(&*self.records, id)? else { continue };
            if read::job(&*self.records, &id.job)?.is_none_or(|job| job.record.callback.is_none()) {
                continue;
            }
            let Some(recipient) = delivery.recipient.clone() else { continue };
            let now = self.clock.now();
            let before = delivery.state;
            let since = delivery.since.unwrap_or(now);
            rules::ask_again(&mut delivery, now);
            let mut batch = Batch::default();
            move_delivery(&mut batch, *id, &delivery, before)?;
            self.apply(&batch)?;
            let StoredRecipient { owner, host } = recipient;
            let due = self.clock.elapsed();
            self.deliveries.set(*id, ScheduledDelivery { due, attempts: 0, owner, host, since });
            due_again += 1;
        }
        Ok(due_again)
    }

    /// Takes what is known of a job's callbacks out of the store, what can't be read of it, too. None of them is owed.
    pub(super) fn remove_deliveries(&self, batch: &mut Batch, job: JobId) -> Result<(), QueueError> {
        for (id, delivery) in read::deliveries_of(&*self.records, job)? {
            remove_delivery(batch, id, &delivery, delivery.state);
        }
        let keys = key::deliveries_of(job);
        for table in Table::OF_DELIVERIES {
            for (key, _) in self.records.range(table, &keys.start..&keys.end, ScanOrder::Ascending, usize::MAX)? {
                batch.remove(table, key);
            }
        }
        Ok(())
    }

    /// Whether a job owes a callback still.
    pub(super) fn owes_callbacks(&self, job: JobId) -> bool {
        self.deliveries.of_job(job).next().is_some()
    }

    /// Forgets, in ended jobs that owe no callback any more, URLs that are there in clear: versions before 0.3.0 kept them so.
    /// Once for a store.
    pub(super) fn forget_clear_callbacks(&mut self) -> Result<(), QueueError> {
        if self.records.get(Table::Meta, key::CALLBACKS_FORGOTTEN)?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for table in [Table::Success, Table::Failures] {
            let mut from = Vec::new();
            loop {
                let entries =
                    self.records.range(table, &from..key::AFTER_IDS, ScanOrder::Ascending, FORGOTTEN_AT_ONCE)?;
                let Some((last, _)) = entries.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                // One that can't be read is set aside by whoever looks it up.
                for mut stored in entries.iter().filter_map(|(_, bytes)| record::decode::<StoredJob>(bytes).ok()) {
                    if !self.owes_callbacks(stored.job.record.id) {
                        forget_if_clear(&mut batch, &mut stored)?;
                    }
                }
                self.apply(&std::mem::take(&mut batch))?;
            }
        }
        batch.put(Table::Meta, key::CALLBACKS_FORGOTTEN, Vec::new());
        self.apply(&batch)
    }
}

/// Forgets where the callback of an ended job goes, if its URL is there in clear.
fn forget_if_clear(batch: &mut Batch, stored: &mut StoredJob) -> Result<(), QueueError> {
    if rules::forget_if_clear(&mut stored.job) {
        batch.put(key::home(stored.job.state), *stored.job.record.id.as_bytes(), encode(stored)?);
    }
    Ok(())
}

/// A job's callbacks as the tables have them.
struct TableOfCallbacks<'a, S> {
    records: &'a S,
    job: JobId,
}

impl<S: RecordStore> ToldCallbacks for TableOfCallbacks<'_, S> {
    fn has(&self, id: &DeliveryId) -> Result<bool, QueueError> {
        Ok(read::delivery(self.records, id)?.is_some())
    }

    fn last_sequence(&self) -> Result<u64, QueueError> {
        let told = read::deliveries_of(self.records, self.job)?.into_iter();
        Ok(told.filter_map(|(_, delivery)| Some(delivery.file?.sequence)).max().unwrap_or(0))
    }
}

/// Writes a callback, and lists it.
pub(super) fn put_delivery(batch: &mut Batch, id: DeliveryId, delivery: &StoredDelivery) -> Result<(), QueueError> {
    batch.put(home(delivery.state), key::delivery(id), encode(delivery)?);
    for listed in listed(id, delivery, delivery.state) {
        batch.put(Table::DeliveryListing, listed, key::delivery(id));
    }
    Ok(())
}

/// Moves a callback that was in the state `before`.
fn move_delivery(
    batch: &mut Batch,
    id: DeliveryId,
    delivery: &StoredDelivery,
    before: DeliveryState,
) -> Result<(), QueueError> {
    remove_delivery(batch, id, delivery, before);
    put_delivery(batch, id, delivery)
}

fn remove_delivery(batch: &mut Batch, id: DeliveryId, delivery: &StoredDelivery, state: DeliveryState) {
    for listed in listed(id, delivery, state) {
        batch.remove(Table::DeliveryListing, listed);
    }
    batch.remove(home(state), key::delivery(id));
}

fn home(state: DeliveryState) -> Table {
    match state {
        DeliveryState::Pending => Table::Outbox,
        DeliveryState::Delivered | DeliveryState::GivenUp => Table::Deliveries,
    }
}

fn listed(id: DeliveryId, delivery: &StoredDelivery, state: DeliveryState) -> Vec<Vec<u8>> {
    match (&delivery.recipient, delivery.seq) {
        (Some(recipient), Some(seq)) => key::listed_delivery(id, &recipient.owner, state, seq).into(),
        _ => Vec::new(),
    }
}

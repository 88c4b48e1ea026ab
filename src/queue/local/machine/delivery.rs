//! The callbacks that jobs owe, and what became of them.

use std::time::Duration;

use super::{Machine, encode, millis};
use crate::failpoint::{Step, reached};
use crate::job::{DeliveryId, DeliverySubject, JobId, JobRecord, StoredFile};
use crate::queue::local::deliveries::ScheduledDelivery;
use crate::queue::local::record::{StoredDelivery, StoredJob, StoredRecipient};
use crate::queue::local::store::{Batch, RecordStore, ScanOrder, Table};
use crate::queue::local::{key, read, record};
use crate::queue::{Delivery, DeliveryOutcome, DeliveryState, DeliveryTry, FileStored, Job, Lease, QueueError};

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
        let is_older_than_asked = tried.number > delivery.attempts.saturating_add(1);
        delivery.last = Some(tried);
        let outcome = match outcome {
            // It was asked for again during this try, which so is none of those that count from then on.
            DeliveryOutcome::GivenUp | DeliveryOutcome::Retry(_) if is_older_than_asked => {
                return self.make_due(*id, &delivery, owed);
            }
            // What nobody owed any more must not be owed for ever for want of a key.
            DeliveryOutcome::Held if delivery.asked_again => DeliveryOutcome::GivenUp,
            outcome => outcome,
        };
        let mut batch = Batch::default();
        match outcome {
            DeliveryOutcome::Delivered | DeliveryOutcome::GivenUp => {
                delivery.attempts = delivery.attempts.saturating_add(1);
                let is_delivered = outcome == DeliveryOutcome::Delivered;
                let state = if is_delivered { DeliveryState::Delivered } else { DeliveryState::GivenUp };
                move_delivery(&mut batch, *id, delivery, state)?;
                // Whoever knows how the job ended knows of its files.
                let told = is_delivered && !matches!(id.subject, DeliverySubject::File(_));
                let mut dropped = Vec::new();
                for other in self.deliveries.of_job(id.job).filter(|other| told && other != id) {
                    let delivery = read::delivery_in(&*self.records, Table::Outbox, &other)?;
                    if let Some(delivery) = delivery.filter(|delivery| !delivery.asked_again) {
                        remove_delivery(&mut batch, other, &delivery);
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
            DeliveryOutcome::Held => {
                batch.put(Table::Outbox, key::delivery(*id), encode(&delivery)?);
                self.apply(&batch)?;
                self.deliveries.set(*id, ScheduledDelivery { due: Duration::MAX, ..owed });
            }
            DeliveryOutcome::Retry(wait) => {
                delivery.attempts = delivery.attempts.saturating_add(1);
                delivery.due = self.clock.now().after(wait);
                delivery.wait_ms = millis(wait);
                batch.put(Table::Outbox, key::delivery(*id), encode(&delivery)?);
                self.apply(&batch)?;
                let due = self.clock.elapsed().saturating_add(wait);
                self.deliveries.set(*id, ScheduledDelivery { due, attempts: delivery.attempts, ..owed });
            }
        }
        Ok(())
    }

    /// Lets a callback that is owed be due at once.
    fn make_due(
        &mut self,
        id: DeliveryId,
        delivery: &StoredDelivery,
        owed: ScheduledDelivery,
    ) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        batch.put(Table::Outbox, key::delivery(id), encode(delivery)?);
        self.apply(&batch)?;
        self.deliveries.set(id, ScheduledDelivery { due: self.clock.elapsed(), attempts: delivery.attempts, ..owed });
        Ok(())
    }

    pub(in crate::queue::local) fn file_stored(
        &mut self,
        lease: &Lease,
        index: u16,
        file: StoredFile,
    ) -> Result<(), QueueError> {
        let Some(stored) = self.held(lease)? else { return Ok(()) };
        let mut batch = Batch::default();
        let mut last = self.last_sequence(&stored.job)?;
        let told = self.owe_file(&mut batch, &stored.job, index, file, &mut last)?;
        self.apply(&batch)?;
        self.schedule_owed(&stored.job, told);
        Ok(())
    }

    /// Adds the callbacks to `batch` that `job`, which has just ended, owes and that are not there yet. Answers which.
    pub(super) fn owe_callbacks(&self, batch: &mut Batch, job: &Job) -> Result<Vec<DeliveryId>, QueueError> {
        let mut owed = Vec::new();
        let Some(target) = &job.record.callback else { return Ok(owed) };
        let end = DeliveryId::of_end(job.record.id, job.state).filter(|_| target.event(job.state).is_some());
        if let Some(id) = end {
            let delivery = StoredDelivery::new(job, job.finished_at.unwrap_or_else(|| self.clock.now()), None);
            put_delivery(batch, id, &delivery)?;
            owed.push(id);
        }
        if target.tells_files() {
            let names = job.record.expected_files();
            let mut last = self.last_sequence(job)?;
            let whole = job.files.iter().filter(|file| is_everywhere(file, &job.record));
            for file in whole {
                let index = names.iter().position(|name| *name == file.name).and_then(|at| u16::try_from(at).ok());
                if let Some(index) = index {
                    owed.extend(self.owe_file(batch, job, index, file.clone(), &mut last)?);
                }
            }
        }
        Ok(owed)
    }

    /// The `sequence` of the file of `job` that was told of last, 0 before the first.
    fn last_sequence(&self, job: &Job) -> Result<u64, QueueError> {
        let told = read::deliveries_of(&*self.records, job.record.id)?.into_iter();
        Ok(told.filter_map(|(_, delivery)| Some(delivery.file?.sequence)).max().unwrap_or(0))
    }

    /// Adds the callback to `batch` that tells of a file, unless it is there. Files that were stored at once, or before a
    /// restart, are told of in an order too: each has a greater `sequence` than the `last` one.
    fn owe_file(
        &self,
        batch: &mut Batch,
        job: &Job,
        index: u16,
        file: StoredFile,
        last: &mut u64,
    ) -> Result<Option<DeliveryId>, QueueError> {
        let id = DeliveryId::of_file(job.record.id, index);
        if read::delivery(&*self.records, &id)?.is_some() {
            return Ok(None);
        }
        let sequence = (job.changes + self.observers.events.unrecorded(job.record.id)).max(*last + 1);
        *last = sequence;
        put_delivery(batch, id, &StoredDelivery::new(job, self.clock.now(), Some(FileStored { file, sequence })))?;
        Ok(Some(id))
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
            delivery.due = now;
            delivery.wait_ms = 0;
            delivery.attempts = 0;
            delivery.asked_again = true;
            let since = delivery.since.unwrap_or(now);
            let mut batch = Batch::default();
            if before == DeliveryState::Pending {
                batch.put(Table::Outbox, key::delivery(*id), encode(&delivery)?);
            } else {
                move_delivery(&mut batch, *id, delivery, DeliveryState::Pending)?;
            }
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
            remove_delivery(batch, id, &delivery);
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
    if stored.job.record.callback.take_if(|target| target.sealed_url.is_none()).is_some() {
        batch.put(key::home(stored.job.state), *stored.job.record.id.as_bytes(), encode(stored)?);
    }
    Ok(())
}

/// Whether a file is in every store of its job.
fn is_everywhere(file: &StoredFile, record: &JobRecord) -> bool {
    file.stored.len() >= record.spec.places()
}

/// Writes a callback, and lists it.
pub(super) fn put_delivery(batch: &mut Batch, id: DeliveryId, delivery: &StoredDelivery) -> Result<(), QueueError> {
    batch.put(home(delivery.state), key::delivery(id), encode(delivery)?);
    for listed in listed(id, delivery) {
        batch.put(Table::DeliveryListing, listed, key::delivery(id));
    }
    Ok(())
}

/// Moves a callback to `state`.
fn move_delivery(
    batch: &mut Batch,
    id: DeliveryId,
    mut delivery: StoredDelivery,
    state: DeliveryState,
) -> Result<(), QueueError> {
    remove_delivery(batch, id, &delivery);
    delivery.state = state;
    put_delivery(batch, id, &delivery)
}

fn remove_delivery(batch: &mut Batch, id: DeliveryId, delivery: &StoredDelivery) {
    for listed in listed(id, delivery) {
        batch.remove(Table::DeliveryListing, listed);
    }
    batch.remove(home(delivery.state), key::delivery(id));
}

fn home(state: DeliveryState) -> Table {
    match state {
        DeliveryState::Pending => Table::Outbox,
        DeliveryState::Delivered | DeliveryState::GivenUp => Table::Deliveries,
    }
}

fn listed(id: DeliveryId, delivery: &StoredDelivery) -> Vec<Vec<u8>> {
    match (&delivery.recipient, delivery.seq) {
        (Some(recipient), Some(seq)) => key::listed_delivery(id, &recipient.owner, delivery.state, seq).into(),
        _ => Vec::new(),
    }
}

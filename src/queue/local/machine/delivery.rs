//! The callbacks that ended jobs owe.

use std::time::Duration;

use super::{Machine, encode, millis};
use crate::failpoint::{Step, reached};
use crate::job::JobId;
use crate::queue::local::deliveries::ScheduledDelivery;
use crate::queue::local::record::{StoredDelivery, StoredJob, StoredRecipient};
use crate::queue::local::store::{Batch, RecordStore, ScanOrder, Table};
use crate::queue::local::{key, read, record};
use crate::queue::{Delivery, DeliveryOutcome, QueueError};

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
        id: &JobId,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError> {
        let Some(owed) = self.deliveries.get(id).cloned() else { return Ok(()) };
        let mut batch = Batch::default();
        match outcome {
            DeliveryOutcome::Done => {
                batch.remove(Table::Outbox, *id.as_bytes());
                if let Some(mut stored) = read::stored(&*self.records, id)? {
                    forget_callback(&mut batch, &mut stored)?;
                }
                self.apply(&batch)?;
                reached(Step::CallbackSettleApplied);
                self.deliveries.remove(id);
            }
            DeliveryOutcome::Held => self.deliveries.set(*id, ScheduledDelivery { due: Duration::MAX, ..owed }),
            DeliveryOutcome::Retry(wait) => {
                let attempts = owed.attempts.saturating_add(1);
                let due = self.clock.now().after(wait);
                let recipient = StoredRecipient { owner: owed.owner.clone(), host: owed.host.clone() };
                let delivery = StoredDelivery {
                    due,
                    wait_ms: millis(wait),
                    attempts,
                    since: Some(owed.since),
                    recipient: Some(recipient),
                };
                batch.put(Table::Outbox, *id.as_bytes(), encode(&delivery)?);
                self.apply(&batch)?;
                let due = self.clock.elapsed().saturating_add(wait);
                self.deliveries.set(*id, ScheduledDelivery { due, attempts, ..owed });
            }
        }
        Ok(())
    }

    /// Forgets where the callbacks of ended jobs went that are owed no more: versions before 0.3.0 kept their URLs, in clear.
    /// Once for a store.
    pub(super) fn forget_settled_callbacks(&mut self) -> Result<(), QueueError> {
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
                    if self.deliveries.get(&stored.job.record.id).is_none() {
                        forget_callback(&mut batch, &mut stored)?;
                    }
                }
                self.apply(&std::mem::take(&mut batch))?;
            }
        }
        batch.put(Table::Meta, key::CALLBACKS_FORGOTTEN, Vec::new());
        self.apply(&batch)
    }
}

/// Forgets, in an ended job that owes no callback any more, where its callback went.
fn forget_callback(batch: &mut Batch, stored: &mut StoredJob) -> Result<(), QueueError> {
    if stored.job.record.callback.take().is_some() {
        batch.put(key::home(stored.job.state), *stored.job.record.id.as_bytes(), encode(stored)?);
    }
    Ok(())
}

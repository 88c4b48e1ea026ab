//! The callbacks that ended jobs owe.

use std::time::Duration;

use super::{Machine, encode, millis};
use crate::failpoint::{Step, reached};
use crate::job::JobId;
use crate::queue::local::deliveries::ScheduledDelivery;
use crate::queue::local::record::{StoredDelivery, StoredRecipient};
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::{Delivery, DeliveryOutcome, QueueError};

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
                self.apply(&batch)?;
                reached(Step::CallbackSettleApplied);
                self.deliveries.remove(id);
            }
            DeliveryOutcome::Retry(wait) => {
                let attempts = owed.attempts.saturating_add(1);
                let due = self.clock.now().after(wait);
                let recipient = StoredRecipient { owner: owed.owner.clone(), host: owed.host.clone() };
                let delivery = StoredDelivery { due, wait_ms: millis(wait), attempts, recipient: Some(recipient) };
                batch.put(Table::Outbox, *id.as_bytes(), encode(&delivery)?);
                self.apply(&batch)?;
                let due = self.clock.elapsed().saturating_add(wait);
                self.deliveries.set(*id, ScheduledDelivery { due, attempts, ..owed });
            }
        }
        Ok(())
    }
}

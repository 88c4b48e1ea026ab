//! The callbacks that ended jobs owe.

use std::time::Duration;

use super::{Machine, encode, millis};
use crate::failpoint::{Step, reached};
use crate::job::JobId;
use crate::queue::outbox::Owed;
use crate::queue::record::StoredDelivery;
use crate::queue::store::{Batch, Store, Table};
use crate::queue::{Delivery, DeliveryOutcome, QueueError, read};

impl<S: Store> Machine<S> {
    /// Hiding is not durable: after a restart whatever is owed is due, and is delivered at least once.
    pub(in crate::queue) fn due_deliveries(
        &mut self,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let now = self.clock.elapsed();
        let mut deliveries = Vec::new();
        for id in self.outbox.due(now, limit) {
            let Some(owed) = self.outbox.get(&id) else { continue };
            if let Some(job) = read::job(&*self.store, &id)? {
                self.outbox.set(id, Owed { due: now.saturating_add(lease), ..owed });
                deliveries.push(Delivery { job, attempts: owed.attempts });
            } else {
                tracing::error!(job = %id, "a callback is owed by a job that has no record");
                self.settle_delivery(&id, DeliveryOutcome::Done)?;
            }
        }
        Ok(deliveries)
    }

    pub(in crate::queue) fn settle_delivery(&mut self, id: &JobId, outcome: DeliveryOutcome) -> Result<(), QueueError> {
        let Some(owed) = self.outbox.get(id) else { return Ok(()) };
        let mut batch = Batch::default();
        match outcome {
            DeliveryOutcome::Done => {
                batch.remove(Table::Outbox, *id.as_bytes());
                self.apply(&batch)?;
                reached(Step::CallbackSettleApplied);
                self.outbox.remove(id);
            }
            DeliveryOutcome::Retry(wait) => {
                let attempts = owed.attempts.saturating_add(1);
                let due = self.clock.now().after(wait);
                let delivery = StoredDelivery { due, wait_ms: millis(wait), attempts };
                batch.put(Table::Outbox, *id.as_bytes(), encode(&delivery)?);
                self.apply(&batch)?;
                self.outbox.set(*id, Owed { due: self.clock.elapsed().saturating_add(wait), attempts });
            }
        }
        Ok(())
    }
}

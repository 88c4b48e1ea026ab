//! The callbacks that ended jobs owe.

use std::time::Duration;

use super::{Machine, encode, millis};
use crate::failpoint::{Step, reached};
use crate::job::JobId;
use crate::queue::local::deliveries::ScheduledDelivery;
use crate::queue::local::read;
use crate::queue::local::record::StoredDelivery;
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::{Delivery, DeliveryOutcome, Job, QueueError};

impl<S: RecordStore> Machine<S> {
    /// Hiding is not durable: after a restart whatever is owed is due, and is delivered at least once.
    pub(in crate::queue::local) fn due_deliveries(
        &mut self,
        limit: usize,
        lease: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let now = self.clock.elapsed();
        let mut deliveries = Vec::new();
        for id in self.deliveries.due(now, limit) {
            let Some(owed) = self.deliveries.get(&id) else { continue };
            if let Some(job) = read::job(&*self.records, &id)? {
                self.deliveries.set(id, ScheduledDelivery { due: now.saturating_add(lease), ..owed });
                deliveries.push(Delivery { id, host: callback_host(&job), attempts: owed.attempts });
            } else {
                tracing::error!(job_id = %id, "callback dropped: its job has no readable record");
                self.settle_delivery(&id, DeliveryOutcome::Done)?;
            }
        }
        Ok(deliveries)
    }

    pub(in crate::queue::local) fn settle_delivery(
        &mut self,
        id: &JobId,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError> {
        let Some(owed) = self.deliveries.get(id) else { return Ok(()) };
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
                let delivery = StoredDelivery { due, wait_ms: millis(wait), attempts };
                batch.put(Table::Outbox, *id.as_bytes(), encode(&delivery)?);
                self.apply(&batch)?;
                self.deliveries
                    .set(*id, ScheduledDelivery { due: self.clock.elapsed().saturating_add(wait), attempts });
            }
        }
        Ok(())
    }
}

/// The host alone: a URL's user name, path and query may hold secrets.
fn callback_host(job: &Job) -> String {
    let host = job.record.callback.as_ref().and_then(|target| target.url.host_str());
    host.unwrap_or_default().to_owned()
}

//! What goes to another queue, and what comes from one, as it was there.

use super::delivery::put_delivery;
use super::{Machine, encode, ended_count, live};
use crate::job::DeliveryId;
use crate::queue::local::deliveries::ScheduledDelivery;
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::local::{key, read, transfer};
use crate::queue::record::{StoredDelivery, StoredJob, StoredRecipient};
use crate::queue::{DeliveryState, QueueError, TransferCursor, TransferEntry, TransferPage, TransferredJob};

impl<S: RecordStore> Machine<S> {
    /// The page behind `from`.
    pub(in crate::queue::local) fn export(&self, from: Option<TransferCursor>) -> Result<TransferPage, QueueError> {
        transfer::export(&*self.records, from, self.clock.now())
    }

    /// All of them in one batch.
    pub(in crate::queue::local) fn import(&mut self, entries: Vec<TransferEntry>) -> Result<(), QueueError> {
        let (mut batch, mut jobs) = (Batch::default(), Vec::new());
        for entry in entries {
            match entry {
                TransferEntry::Job(job) => {
                    let TransferredJob { stored, deliveries, answer } = *job;
                    if read::stored(&*self.records, &stored.job.record.id)?.is_none() {
                        self.put_imported(&mut batch, &stored, &deliveries)?;
                        if let (Some(request), Some(answer)) = (&stored.job.record.idempotency, answer) {
                            self.replace_answer(&mut batch, &request.key, &answer)?;
                        }
                        jobs.push((stored, deliveries));
                    }
                }
                TransferEntry::UsedToken { token, job } => {
                    batch.put(Table::UsedTokens, *token.digest.as_bytes(), *job.as_bytes());
                    batch.put(Table::UsedTokensByEnd, key::used_token_end(&token), Vec::new());
                }
            }
        }
        self.apply(&batch)?;
        for (stored, deliveries) in jobs {
            self.schedule_imported(&stored, deliveries);
        }
        Ok(())
    }

    fn put_imported(
        &mut self,
        batch: &mut Batch,
        stored: &StoredJob,
        deliveries: &[(DeliveryId, StoredDelivery)],
    ) -> Result<(), QueueError> {
        let job = &stored.job;
        self.seq.pass(job.seq, batch);
        batch.put(key::home(job.state), *job.record.id.as_bytes(), encode(stored)?);
        key::add(batch, job);
        if let Some(finished) = job.finished_at {
            batch.put(Table::ByDone, key::done(finished, &job.record.id), Vec::new());
        }
        for (id, delivery) in deliveries {
            put_delivery(batch, *id, delivery)?;
        }
        Ok(())
    }

    /// As a start would, which finds the same records.
    fn schedule_imported(&mut self, stored: &StoredJob, deliveries: Vec<(DeliveryId, StoredDelivery)>) {
        match ended_count(&mut self.ended, stored.job.state) {
            Some(count) => *count += 1,
            None => {
                let wait = stored.job.not_before.map(|due| self.wait_left(due, stored.wait_ms));
                self.schedule.wait(live(stored), wait.map(|wait| self.clock.elapsed() + wait));
            }
        }
        let owed = deliveries.into_iter().filter(|(_, delivery)| delivery.state == DeliveryState::Pending);
        for (id, StoredDelivery { due, wait_ms, attempts, since, recipient, .. }) in owed {
            let StoredRecipient { owner, host } = recipient.unwrap_or_else(|| StoredRecipient::of(&stored.job));
            let since = since.unwrap_or(due);
            let due = self.clock.elapsed() + self.wait_left(due, wait_ms);
            self.deliveries.set(id, ScheduledDelivery { due, attempts, owner, host, since });
        }
    }
}

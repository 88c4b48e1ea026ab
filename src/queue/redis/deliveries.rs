//! The callbacks that jobs owe, and what became of them.

use std::time::Duration;

use async_trait::async_trait;
use tracing::warn;

use super::RedisQueue;
use super::change::{Change, Decision, DeliveryChange, Due, With, delivery_state_word, wait_of};
use super::fields::{owner_key, user_key};
use super::scripts::{DELIVERIES, DUE};
use super::waiting::{MemoryAtHand, WorkKind};
use crate::error_chain::ErrorChain;
use crate::job::{DeliveryId, JobId, RecordVersion};
use crate::queue::record::{StoredRecipient, readable_delivery};
use crate::queue::rules::{self, AfterTry};
use crate::queue::{
    Cursor, Delivery, DeliveryContent, DeliveryOutbox, DeliveryOutcome, DeliveryPage, DeliveryRecord, DeliveryRecords,
    DeliveryScope, DeliveryState, DeliveryTry, PageRequest, QueueError,
};

#[async_trait]
impl DeliveryOutbox for RedisQueue {
    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.usable()?;
        let newest = RecordVersion::newest().number();
        let args = [limit.to_string(), lease.as_millis().to_string(), newest.to_string()];
        // Not twice: what the first answer held would be hidden.
        let (due, next_due): (Vec<(String, Vec<u8>)>, String) = self.scripts.run_once(&DUE, &args).await?;
        self.waiting(WorkKind::Callback).looked(due.len() < limit, wait_of(&next_due), MemoryAtHand::ANY);
        let mut deliveries = Vec::with_capacity(due.len());
        for (id, record) in due {
            let Some(id) = DeliveryId::parse(&id) else { continue };
            let readable = readable_delivery(&id, &record);
            let recipient = readable.and_then(|delivery| Some((delivery.attempts, delivery.recipient?)));
            match recipient {
                Some((attempts, StoredRecipient { owner, host })) => {
                    deliveries.push(Delivery { id, owner, host, attempts });
                }
                None => self.drop_unreadable(id).await,
            }
        }
        Ok(deliveries)
    }

    async fn delivery_content(&self, id: &DeliveryId) -> Result<Option<DeliveryContent>, QueueError> {
        let Some(mut found) = self.load(&id.job, With::Callbacks).await? else { return Ok(None) };
        let file = found.deliveries.remove(id).and_then(|delivery| delivery.file);
        Ok(Some(DeliveryContent { job: found.stored.job, file }))
    }

    async fn settle_delivery(
        &self,
        id: &DeliveryId,
        tried: DeliveryTry,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError> {
        let settled = self.change(&id.job, With::Callbacks, |found| {
            let owed = found.deliveries.get(id).filter(|delivery| delivery.state == DeliveryState::Pending);
            let Some(mut delivery) = owed.cloned() else { return Ok(Decision::Leave(None)) };
            let mut deliveries = Vec::new();
            let mut wait = None;
            match rules::tried(id, &mut delivery, tried.clone(), outcome, found.now) {
                AfterTry::Nothing => return Ok(Decision::Leave(None)),
                AfterTry::Due => {
                    delivery.due = found.now;
                    wait = Some(Duration::ZERO);
                    deliveries.push(DeliveryChange::put(*id, delivery));
                }
                AfterTry::Waits(after) => {
                    wait = Some(after);
                    deliveries.push(DeliveryChange::put(*id, delivery));
                }
                AfterTry::Held => {
                    deliveries.push(DeliveryChange { id: *id, delivery: Some(delivery), due: Due::Held });
                }
                AfterTry::Settled { drops_files } => {
                    deliveries.push(DeliveryChange::put(*id, delivery));
                    let dropped = found.deliveries.iter().filter(|(other, delivery)| {
                        drops_files && *other != id && delivery.state == DeliveryState::Pending && !delivery.asked_again
                    });
                    deliveries.extend(dropped.map(|(other, _)| DeliveryChange::remove(*other)));
                    rules::forget_if_clear(&mut found.stored.job);
                }
            }
            Ok(Decision::Apply(Change { deliveries, ..Change::default() }, wait))
        });
        if let Some(wait) = settled.await?.flatten() {
            self.waiting(WorkKind::Callback).due_within(wait);
        }
        Ok(())
    }

    async fn wait_delivery(&self, at_most: Duration) {
        self.waiting(WorkKind::Callback).wait(at_most).await;
    }

    fn idle_delivery_poll(&self) -> Duration {
        self.poll_among_nodes()
    }
}

impl RedisQueue {
    /// Removes a callback that, shown again and again, could never be settled.
    async fn drop_unreadable(&self, id: DeliveryId) {
        let dropped = self.change(&id.job, With::JobAlone, |_| {
            let deliveries = vec![DeliveryChange::remove(id)];
            Ok(Decision::Apply(Change { deliveries, ..Change::default() }, ()))
        });
        // The others that are due with it needn't wait for that.
        if let Err(error) = dropped.await {
            warn!(%id, error = %ErrorChain(&error), "unreadable callback can't be removed; will be tried when it is due again");
        }
    }
}

#[async_trait]
impl DeliveryRecords for RedisQueue {
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>, QueueError> {
        let found = self.load(&id.job, With::Callbacks).await?;
        let delivery = found.and_then(|mut found| found.deliveries.remove(id));
        Ok(delivery.map(|delivery| delivery.shown(*id)))
    }

    async fn deliveries_of(&self, job: &JobId) -> Result<Vec<DeliveryRecord>, QueueError> {
        let Some(found) = self.load(job, With::Callbacks).await? else { return Ok(Vec::new()) };
        let mut deliveries: Vec<_> = found.deliveries.into_iter().collect();
        deliveries.sort_by_key(|(id, _)| *id);
        Ok(deliveries.into_iter().map(|(id, delivery)| delivery.shown(id)).collect())
    }

    async fn list_deliveries(
        &self,
        scope: DeliveryScope,
        state: DeliveryState,
        page: PageRequest,
    ) -> Result<DeliveryPage, QueueError> {
        self.usable()?;
        let limit = page.entries();
        let word = delivery_state_word(state);
        let list = match &scope {
            DeliveryScope::All => format!("dl:{word}"),
            DeliveryScope::User(user) => format!("dl:u:{}:{word}", user_key(user)),
            DeliveryScope::Owner(owner) => format!("dl:o:{}:{word}", owner_key(owner)),
        };
        let before = match &page.cursor {
            None => b"+".to_vec(),
            Some(Cursor(text)) => [b"(", hex::decode(text).map_err(|_| QueueError::BadCursor)?.as_slice()].concat(),
        };
        let args: [Vec<u8>; 3] = [list.into(), before, (limit + 1).to_string().into()];
        let mut members: Vec<(Vec<u8>, String, Vec<u8>)> = self.scripts.run(&DELIVERIES, &args).await?;
        let has_more = members.len() > limit;
        members.truncate(limit);
        let next = members.last().filter(|_| has_more).map(|(member, id, _)| {
            let place = member.len() - id.len() - 1;
            Cursor(hex::encode(&member[..place]))
        });
        let deliveries = members.iter().filter_map(|(_, id, record)| {
            let id = DeliveryId::parse(id)?;
            Some(readable_delivery(&id, record)?.shown(id))
        });
        Ok(DeliveryPage { deliveries: deliveries.collect(), next })
    }

    async fn redeliver(&self, ids: Vec<DeliveryId>) -> Result<usize, QueueError> {
        let mut due_again = 0;
        for id in &ids {
            let asked = self.change(&id.job, With::Callbacks, |found| {
                let delivery = found.deliveries.get(id).filter(|delivery| delivery.recipient.is_some());
                let is_kept = found.stored.job.record.callback.is_some();
                let Some(mut delivery) = delivery.filter(|_| is_kept).cloned() else {
                    return Ok(Decision::Leave(false));
                };
                rules::ask_again(&mut delivery, found.now);
                let deliveries = vec![DeliveryChange::put(*id, delivery)];
                Ok(Decision::Apply(Change { deliveries, ..Change::default() }, true))
            });
            due_again += usize::from(asked.await? == Some(true));
        }
        if due_again > 0 {
            self.waiting(WorkKind::Callback).due_within(Duration::ZERO);
        }
        Ok(due_again)
    }
}

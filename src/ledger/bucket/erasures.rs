//! Orders to erase, as objects: one that is written once, and names that say how far it is.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{BucketLedger, ERASED, REQUESTS_MAX, fan_out};
use crate::clock::Timestamp;
use crate::job::{JobId, OwnerKey};
use crate::ledger::{
    ErasedEvent, ErasedEvents, Erasure, ErasureId, ErasureOutcome, ErasureState, ErasureTally, Erasures, KeptPlace,
    Ledger, LedgerError, LeftPlace, NewErasure, OrderedErasure, PendingJob, TargetKey,
};

const ORDERS: &str = "erasures/orders/";
const RUNNING: &str = "erasures/running/";
const UNPURGED: &str = "erasures/unpurged/";
/// What is kept of each order apart, below its id.
const JOBS: &str = "erasures/jobs/";
const DONE: &str = "erasures/done/";
const GONE: &str = "erasures/gone/";
const LEFT: &str = "erasures/left/";

/// Ids of jobs in one object.
const JOBS_MAX: usize = 10_000;

/// An order. What it came to is in it once it has ended.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: ErasureId,
    #[serde(with = "digest")]
    target: Option<OwnerKey>,
    #[serde(with = "digest")]
    owner: Option<OwnerKey>,
    #[serde(with = "digest")]
    user: Option<OwnerKey>,
    created_at: Timestamp,
    jobs: u64,
    state: ErasureState,
    #[serde(default)]
    tally: ErasureTally,
    #[serde(default)]
    is_versioned: bool,
    #[serde(default)]
    kept: Vec<KeptPlace>,
    #[serde(default)]
    left: Vec<LeftPlace>,
    #[serde(default)]
    done_at: Option<Timestamp>,
    #[serde(default)]
    purged_at: Option<Timestamp>,
}

/// What a try at a job left.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Left {
    tries: u32,
    retry_at: Timestamp,
    places: Vec<LeftPlace>,
}

#[derive(Serialize, Deserialize)]
struct Erased {
    erased_at: Timestamp,
}

#[async_trait]
impl Erasures for BucketLedger {
    async fn order(&self, new: &NewErasure) -> Result<OrderedErasure, LedgerError> {
        if let Some(target) = new.target
            && let Some(id) = self.running_of(target, &new.id).await?
        {
            return Ok(OrderedErasure::Running(id));
        }
        if self.stored_order(&new.id).await?.is_none() {
            for (number, jobs) in new.jobs.chunks(JOBS_MAX).enumerate() {
                self.put_json(&format!("{JOBS}{}/{number}", new.id), &jobs).await?;
            }
            let order = Order {
                id: new.id,
                target: new.target.map(|target| target.0),
                owner: new.owner,
                user: new.user,
                created_at: new.created_at,
                jobs: new.jobs.len() as u64,
                state: ErasureState::Running,
                tally: ErasureTally::default(),
                is_versioned: false,
                kept: Vec::new(),
                left: Vec::new(),
                done_at: None,
                purged_at: None,
            };
            self.put_json(&format!("{ORDERS}{}", new.id), &order).await?;
        }
        // Last: from here on somebody carries it out.
        self.put(&running_key(&new.id, new.target), "").await?;
        Ok(OrderedErasure::New)
    }

    async fn erasure(&self, id: &ErasureId) -> Result<Option<Erasure>, LedgerError> {
        let Some(mut order) = self.stored_order(id).await? else { return Ok(None) };
        if order.state == ErasureState::Running {
            self.sum_up(&mut order).await?;
        }
        let Order { id, target, owner, user, created_at, jobs, state, .. } = order;
        let Order { tally, is_versioned, kept, left, done_at, purged_at, .. } = order;
        let target = target.map(TargetKey);
        Ok(Some(Erasure {
            id,
            target,
            owner,
            user,
            created_at,
            state,
            jobs,
            tally,
            is_versioned,
            kept,
            left,
            done_at,
            purged_at,
        }))
    }

    async fn running(&self) -> Result<Vec<ErasureId>, LedgerError> {
        let names = self.names(RUNNING).await?;
        Ok(names.iter().filter_map(|name| name.split('.').next()?.parse().ok()).collect())
    }

    async fn pending(&self, id: &ErasureId, now: Timestamp, limit: usize) -> Result<Vec<PendingJob>, LedgerError> {
        let pending = self.pending_jobs(id).await?;
        let due = pending.into_iter().filter(|(_, left)| left.retry_at <= now).take(limit);
        Ok(due.map(|(job_id, left)| PendingJob { job_id, tries: left.tries, left: left.places }).collect())
    }

    async fn next_due(&self, id: &ErasureId) -> Result<Option<Timestamp>, LedgerError> {
        let Some(order) = self.stored_order(id).await? else { return Ok(None) };
        let pending = self.pending_jobs(id).await?;
        Ok(pending.into_iter().map(|(_, left)| left.retry_at.max(order.created_at)).min())
    }

    async fn settle(
        &self,
        id: &ErasureId,
        job: &JobId,
        outcome: &ErasureOutcome,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let left_key = format!("{LEFT}{id}/{job}");
        let done_prefix = format!("{DONE}{id}/{job}.");
        let is_counted = !self.names(&done_prefix).await?.is_empty();
        match outcome {
            ErasureOutcome::Left { .. } if is_counted => Ok(()),
            ErasureOutcome::Left { left, retry_at } => {
                let before: Left = self.get_json(&left_key).await?.unwrap_or_default();
                let left = Left { tries: before.tries + 1, retry_at: *retry_at, places: left.clone() };
                self.put_json(&left_key, &left).await
            }
            ErasureOutcome::Erased { tally, is_versioned, kept, event } => {
                // First what it came to: after a crash the next try finds nothing left to count.
                if !is_counted {
                    let ErasureTally { deleted, missing, kept: kept_files } = tally;
                    let versions = if *is_versioned { "v" } else { "n" };
                    let key = format!("{done_prefix}{deleted}.{missing}.{kept_files}.{versions}");
                    if kept.is_empty() {
                        self.put(&key, "").await?;
                    } else {
                        self.put_json(&key, kept).await?;
                    }
                }
                // Told twice, if this is done again after a crash; the entry, which says whom, is there until then.
                if let Some(sealed) = event.clone() {
                    let event = ErasedEvent { job_id: *job, since: now, due_at: now, attempts: 0, sealed };
                    self.put_event(&event).await?;
                }
                let erased = format!("{ERASED}{}/{job}", fan_out(job));
                if self.get_json::<Erased>(&erased).await?.is_none() {
                    self.put_json(&erased, &Erased { erased_at: now }).await?;
                }
                self.remove(&[*job]).await?;
                self.delete(&left_key).await?;
                self.put(&format!("{GONE}{id}/{job}"), "").await
            }
        }
    }

    async fn finish(&self, id: &ErasureId, now: Timestamp) -> Result<ErasureState, LedgerError> {
        let unknown = || LedgerError::Unreadable { what: format!("erasure {id}"), detail: "there is none".to_owned() };
        let mut order = self.stored_order(id).await?.ok_or_else(unknown)?;
        if order.state == ErasureState::Running {
            self.sum_up(&mut order).await?;
            let is_done = self.pending_jobs(id).await?.is_empty();
            order.state = if is_done { ErasureState::Done } else { ErasureState::Incomplete };
            order.done_at = Some(now);
            if is_done {
                order.kept.iter_mut().for_each(|kept| kept.location = None);
            }
            self.put_json(&format!("{ORDERS}{id}"), &order).await?;
        }
        if order.purged_at.is_none() {
            self.put(&format!("{UNPURGED}{id}"), "").await?;
        }
        if order.state == ErasureState::Done {
            // With locations in them.
            self.delete_below(&format!("{DONE}{id}/")).await?;
            self.delete_below(&format!("{GONE}{id}/")).await?;
        }
        self.delete(&running_key(id, order.target.map(TargetKey))).await?;
        Ok(order.state)
    }

    async fn unpurged(&self) -> Result<Vec<ErasureId>, LedgerError> {
        Ok(self.names(UNPURGED).await?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    async fn mark_purged(&self, ids: &[ErasureId], now: Timestamp) -> Result<(), LedgerError> {
        for id in ids {
            if let Some(mut order) = self.stored_order(id).await?
                && order.state != ErasureState::Running
                && order.purged_at.is_none()
            {
                order.purged_at = Some(now);
                self.put_json(&format!("{ORDERS}{id}"), &order).await?;
            }
            self.delete(&format!("{UNPURGED}{id}")).await?;
        }
        Ok(())
    }

    async fn erased_at(&self, job: &JobId) -> Result<Option<Timestamp>, LedgerError> {
        let erased: Option<Erased> = self.get_json(&format!("{ERASED}{}/{job}", fan_out(job))).await?;
        Ok(erased.map(|erased| erased.erased_at))
    }

    /// What is known of a job that was erased goes with the order that erased it.
    async fn forget(&self, before: Timestamp, limit: usize) -> Result<bool, LedgerError> {
        let running: HashSet<_> = self.running().await?.into_iter().collect();
        let mut forgotten = 0;
        for id in self.names(ORDERS).await?.iter().filter_map(|name| name.parse().ok()) {
            let Some(order) = self.stored_order(&id).await? else { continue };
            if order.created_at >= before {
                // They are named in the order of their time.
                break;
            }
            // One that has neither ended nor runs was never answered.
            let is_old = order.done_at.map_or(!running.contains(&id), |done_at| done_at < before);
            if !is_old {
                continue;
            }
            if forgotten == limit {
                return Ok(true);
            }
            let jobs = self.jobs_of(&id).await?;
            let erased: Vec<_> = jobs.iter().map(|job| format!("{ERASED}{}/{job}", fan_out(job))).collect();
            self.delete_all(&erased).await?;
            for part in [DONE, GONE, LEFT, JOBS] {
                self.delete_below(&format!("{part}{id}/")).await?;
            }
            self.delete(&format!("{UNPURGED}{id}")).await?;
            self.delete(&format!("{ORDERS}{id}")).await?;
            forgotten += 1;
        }
        Ok(false)
    }
}

impl BucketLedger {
    async fn stored_order(&self, id: &ErasureId) -> Result<Option<Order>, LedgerError> {
        self.get_json(&format!("{ORDERS}{id}")).await
    }

    /// The order of this target that runs, if one does besides `id`.
    async fn running_of(&self, target: TargetKey, id: &ErasureId) -> Result<Option<ErasureId>, LedgerError> {
        let suffix = hex::encode(target.0);
        for name in self.names(RUNNING).await? {
            let Some((running, _)) = name.split_once('.').filter(|(_, of)| *of == suffix) else { continue };
            let Ok(running) = running.parse::<ErasureId>() else { continue };
            let order = self.stored_order(&running).await?;
            if running != *id && order.is_some_and(|order| order.state == ErasureState::Running) {
                return Ok(Some(running));
            }
        }
        Ok(None)
    }

    async fn jobs_of(&self, id: &ErasureId) -> Result<Vec<JobId>, LedgerError> {
        let prefix = format!("{JOBS}{id}/");
        let mut jobs = Vec::new();
        for name in self.names(&prefix).await? {
            jobs.extend(self.get_json::<Vec<JobId>>(&format!("{prefix}{name}")).await?.unwrap_or_default());
        }
        Ok(jobs)
    }

    /// The jobs of an order that are not erased, with what their last tries left.
    async fn pending_jobs(&self, id: &ErasureId) -> Result<Vec<(JobId, Left)>, LedgerError> {
        let gone: HashSet<_> = self.names(&format!("{GONE}{id}/")).await?.into_iter().collect();
        let tried: HashSet<_> = self.names(&format!("{LEFT}{id}/")).await?.into_iter().collect();
        let jobs = self.jobs_of(id).await?.into_iter().filter(|job| !gone.contains(&job.to_string()));
        let pending = stream::iter(jobs).map(|job| {
            let was_tried = tried.contains(&job.to_string());
            async move {
                let left = if was_tried { self.get_json(&format!("{LEFT}{id}/{job}")).await? } else { None };
                Ok::<_, LedgerError>((job, left.unwrap_or_default()))
            }
        });
        pending.buffered(REQUESTS_MAX).try_collect().await
    }

    /// How far an order is that runs.
    async fn sum_up(&self, order: &mut Order) -> Result<(), LedgerError> {
        let prefix = format!("{DONE}{}/", order.id);
        for name in self.names(&prefix).await? {
            let parts: Vec<_> = name.split('.').collect();
            let [_, deleted, missing, kept, versions] = *parts else { continue };
            let number = |text: &str| text.parse::<u64>().unwrap_or(0);
            order.tally.deleted += number(deleted);
            order.tally.missing += number(missing);
            order.tally.kept += number(kept);
            order.is_versioned |= versions == "v";
            if number(kept) > 0 {
                order
                    .kept
                    .extend(self.get_json::<Vec<KeptPlace>>(&format!("{prefix}{name}")).await?.unwrap_or_default());
            }
        }
        for name in self.names(&format!("{LEFT}{}/", order.id)).await? {
            let left: Option<Left> = self.get_json(&format!("{LEFT}{}/{name}", order.id)).await?;
            order.left.extend(left.map(|left| left.places).unwrap_or_default());
        }
        Ok(())
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), LedgerError> {
        let keys: Vec<_> = self.names(prefix).await?.into_iter().map(|name| format!("{prefix}{name}")).collect();
        self.delete_all(&keys).await
    }
}

fn running_key(id: &ErasureId, target: Option<TargetKey>) -> String {
    format!("{RUNNING}{id}.{}", target.map(|target| hex::encode(target.0)).unwrap_or_default())
}

/// 64 hex digits, or nothing.
mod digest {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use crate::job::OwnerKey;

    #[expect(clippy::ref_option, reason = "serde's calls are so")]
    pub(super) fn serialize<S: Serializer>(digest: &Option<OwnerKey>, serializer: S) -> Result<S::Ok, S::Error> {
        digest.map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OwnerKey>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).map_err(de::Error::custom)?;
        Ok(Some(digest))
    }
}

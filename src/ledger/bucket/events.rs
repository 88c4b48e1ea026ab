//! The events that jobs are erased: an object with what is told, and a name that says when it is due.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{BucketLedger, REQUESTS_MAX};
use crate::clock::Timestamp;
use crate::job::{JobId, SealedText};
use crate::ledger::{DueEvents, ErasedEvent, ErasedEvents, LedgerError, OwedEvents};

const EVENTS: &str = "erasures/events/";
/// Below it `<time>.<attempts>.<since>/<job>`, both times in milliseconds with 15 digits.
const DUE: &str = "erasures/events-due/";

/// What of an event doesn't change.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    since: Timestamp,
    sealed: SealedText,
}

/// When an event is due, after how many tries, and since when it is owed: a name alone.
#[derive(Clone, Copy, Debug)]
struct DueName {
    due_at: Timestamp,
    attempts: u32,
    since: Timestamp,
    job_id: JobId,
}

impl DueName {
    fn of(event: &ErasedEvent) -> Self {
        Self { due_at: event.due_at, attempts: event.attempts, since: event.since, job_id: event.job_id }
    }

    fn key(&self) -> String {
        let (due_at, since) = (self.due_at.as_millis(), self.since.as_millis());
        format!("{DUE}{due_at:015}.{}.{since:015}/{}", self.attempts, self.job_id)
    }

    fn parse(name: &str) -> Option<Self> {
        let (due, job) = name.split_once('/')?;
        let (due_at, rest) = due.split_once('.')?;
        let (attempts, since) = rest.split_once('.')?;
        let [due_at, since] = [due_at.parse().ok()?, since.parse().ok()?].map(Timestamp::from_millis);
        Some(Self { due_at, attempts: attempts.parse().ok()?, since, job_id: job.parse().ok()? })
    }

    fn event(self, Body { since, sealed }: Body) -> ErasedEvent {
        ErasedEvent { job_id: self.job_id, since, due_at: self.due_at, attempts: self.attempts, sealed }
    }
}

#[async_trait]
impl ErasedEvents for BucketLedger {
    async fn due_events(&self, now: Timestamp, limit: usize) -> Result<DueEvents, LedgerError> {
        let (mut due, mut after) = (DueEvents::default(), None);
        loop {
            let page = self.list(DUE, after.as_deref()).await?;
            let names = page.objects.iter().filter_map(|object| DueName::parse(object.key.strip_prefix(DUE)?));
            let names: Vec<_> = names.collect();
            due.next_due = names.iter().map(|name| name.due_at).find(|due_at| *due_at > now);
            let found = stream::iter(names.into_iter().take_while(|name| name.due_at <= now)).map(|name| async move {
                let body = self.get_json::<Body>(&body_key(&name.job_id)).await?;
                if body.is_none() {
                    // What is told is removed before the name.
                    self.delete(&name.key()).await?;
                }
                Ok::<_, LedgerError>(body.map(|body| name.event(body)))
            });
            let mut found = found.buffered(REQUESTS_MAX);
            while due.events.len() < limit
                && let Some(event) = found.try_next().await?
            {
                due.events.extend(event);
            }
            drop(found);
            after = page.next;
            if after.is_none() || due.next_due.is_some() || due.events.len() >= limit {
                return Ok(due);
            }
        }
    }

    /// By their names alone.
    async fn owed_events(&self) -> Result<OwedEvents, LedgerError> {
        let names = self.names(DUE).await?;
        let (mut jobs, mut oldest) = (HashSet::new(), None::<Timestamp>);
        for name in names.iter().filter_map(|name| DueName::parse(name)) {
            jobs.insert(name.job_id);
            oldest = Some(oldest.map_or(name.since, |oldest| oldest.min(name.since)));
        }
        Ok(OwedEvents { count: jobs.len() as u64, oldest })
    }

    /// Two names for a moment, of which one that stays after a crash has the event told of twice.
    async fn put_off_event(&self, event: &ErasedEvent, due_at: Timestamp, attempts: u32) -> Result<(), LedgerError> {
        let (before, job_id) = (DueName::of(event), event.job_id);
        let new = DueName { due_at, attempts, since: event.since, job_id };
        self.put(&new.key(), "").await?;
        if new.key() == before.key() { Ok(()) } else { self.delete(&before.key()).await }
    }

    /// First what is told: a name alone is nothing.
    async fn remove_event(&self, event: &ErasedEvent) -> Result<(), LedgerError> {
        self.delete(&body_key(&event.job_id)).await?;
        self.delete(&DueName::of(event).key()).await
    }

    async fn events(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<ErasedEvent>, LedgerError> {
        let page = self.list(EVENTS, after.map(body_key).as_deref()).await?;
        let jobs = page.objects.iter().filter_map(|object| object.key.strip_prefix(EVENTS)?.parse::<JobId>().ok());
        let found = stream::iter(jobs.take(limit).collect::<Vec<_>>()).map(|job_id| async move {
            let body = self.get_json::<Body>(&body_key(&job_id)).await?;
            let untried =
                |body: Body| DueName { due_at: body.since, attempts: 0, since: body.since, job_id }.event(body);
            Ok::<_, LedgerError>(body.map(untried))
        });
        Ok(found.buffered(REQUESTS_MAX).try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn put_event(&self, event: &ErasedEvent) -> Result<(), LedgerError> {
        let ErasedEvent { job_id, since, sealed, .. } = event.clone();
        self.put_json(&body_key(&job_id), &Body { since, sealed }).await?;
        // Last: what has a name can be told.
        self.put(&DueName::of(event).key(), "").await
    }
}

fn body_key(job: &JobId) -> String {
    format!("{EVENTS}{job}")
}

//! The events that jobs are erased.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{SqliteLedger, millis, timestamp};
use crate::clock::Timestamp;
use crate::job::{JobId, SealedText};
use crate::ledger::{DueEvents, ErasedEvent, ErasedEvents, ErasureRecipient, LedgerError, OwedEvents};

const EVENT: &str = "SELECT job, since, due_at, attempts, sealed FROM events";

#[async_trait]
impl ErasedEvents for SqliteLedger {
    async fn due_events(&self, now: Timestamp, limit: usize) -> Result<DueEvents, LedgerError> {
        let (now, limit) = (millis(now), rows(limit));
        self.thread
            .read(move |connection| {
                let due = format!("{EVENT} WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2");
                let mut due = connection.prepare_cached(&due)?;
                let events = due.query_map([now, limit], event)?.collect::<rusqlite::Result<_>>()?;
                let next = "SELECT min(due_at) FROM events WHERE due_at > ?1";
                let next = connection.prepare_cached(next)?.query_row([now], |row| row.get::<_, Option<i64>>(0))?;
                Ok(DueEvents { events, next_due: next.map(timestamp) })
            })
            .await
    }

    async fn owed_events(&self) -> Result<OwedEvents, LedgerError> {
        self.thread
            .read(|connection| {
                let count =
                    connection.prepare_cached("SELECT count(*) FROM events")?.query_row([], |row| row.get(0))?;
                let oldest = "SELECT min(since) FROM events";
                let oldest = connection.prepare_cached(oldest)?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
                Ok(OwedEvents { count, oldest: oldest.map(timestamp) })
            })
            .await
    }

    async fn put_off_event(&self, event: &ErasedEvent, due_at: Timestamp, attempts: u32) -> Result<(), LedgerError> {
        let job = event.job_id;
        self.thread
            .write(move |connection| {
                let update = "UPDATE events SET due_at = ?2, attempts = ?3 WHERE job = ?1";
                connection.prepare_cached(update)?.execute(params![job.as_bytes(), millis(due_at), attempts])?;
                Ok(())
            })
            .await
    }

    async fn remove_event(&self, event: &ErasedEvent) -> Result<(), LedgerError> {
        let job = event.job_id;
        self.thread
            .write(move |connection| {
                connection.prepare_cached("DELETE FROM events WHERE job = ?1")?.execute([job.as_bytes()])?;
                Ok(())
            })
            .await
    }

    async fn events(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<ErasedEvent>, LedgerError> {
        let (after, limit) = (after.map(|job| job.as_bytes().to_vec()).unwrap_or_default(), rows(limit));
        self.thread
            .read(move |connection| {
                let query = format!("{EVENT} WHERE job > ?1 ORDER BY job LIMIT ?2");
                let mut query = connection.prepare_cached(&query)?;
                let found = query.query_map(params![after, limit], event)?;
                let untried = |event: ErasedEvent| ErasedEvent { due_at: event.since, attempts: 0, ..event };
                found.map(|event| event.map(untried)).collect()
            })
            .await
    }

    async fn put_event(&self, event: &ErasedEvent) -> Result<(), LedgerError> {
        let event = event.clone();
        self.thread.write(move |connection| put(connection, &event)).await
    }
}

impl SqliteLedger {
    /// Who is to be told of jobs, those behind `after` in the order of their ids, for whoever wants to know what is sealed. None for
    /// what can't be read.
    ///
    /// # Errors
    /// The database's.
    pub async fn recipients(
        &self,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<(JobId, Option<ErasureRecipient>)>, LedgerError> {
        let (after, limit) = (after.map(|job| job.as_bytes().to_vec()).unwrap_or_default(), rows(limit));
        self.thread
            .read(move |connection| {
                let query = "SELECT job, recipient FROM recipients WHERE job > ?1 ORDER BY job LIMIT ?2";
                let mut query = connection.prepare_cached(query)?;
                let found = query.query_map(params![after, limit], |row| {
                    let recipient = serde_json::from_str(row.get_ref(1)?.as_str()?).ok();
                    Ok((JobId::from_bytes(row.get(0)?), recipient))
                })?;
                found.collect()
            })
            .await
    }
}

/// Writes an event, in place of what was known of its job's.
pub(super) fn put(connection: &Connection, event: &ErasedEvent) -> rusqlite::Result<()> {
    let ErasedEvent { job_id, since, due_at, attempts, sealed } = event;
    let put = "INSERT INTO events (job, since, due_at, attempts, sealed) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT DO UPDATE SET since = excluded.since, due_at = excluded.due_at, attempts = excluded.attempts, \
         sealed = excluded.sealed";
    let values = params![job_id.as_bytes(), millis(*since), millis(*due_at), attempts, sealed.0];
    connection.prepare_cached(put)?.execute(values)?;
    Ok(())
}

fn event(row: &Row<'_>) -> rusqlite::Result<ErasedEvent> {
    Ok(ErasedEvent {
        job_id: JobId::from_bytes(row.get(0)?),
        since: timestamp(row.get(1)?),
        due_at: timestamp(row.get(2)?),
        attempts: row.get(3)?,
        sealed: SealedText(row.get(4)?),
    })
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

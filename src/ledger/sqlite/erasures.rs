//! Orders to erase, in the same database as what they erase: an entry leaves it in the commit that says so.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{SqliteLedger, events, millis, remove, timestamp};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::ledger::{
    ErasedEvent, Erasure, ErasureId, ErasureOutcome, ErasureState, ErasureTally, Erasures, KeptPlace, LedgerError,
    LeftPlace, NewErasure, OrderedErasure, PendingJob, TargetKey,
};

const RUNNING: &str = "running";
const DONE: &str = "done";
const INCOMPLETE: &str = "incomplete";

#[async_trait]
impl Erasures for SqliteLedger {
    async fn order(&self, new: &NewErasure) -> Result<OrderedErasure, LedgerError> {
        let new = new.clone();
        self.thread.write(move |connection| order(connection, &new)).await
    }

    async fn erasure(&self, id: &ErasureId) -> Result<Option<Erasure>, LedgerError> {
        let id = *id;
        self.thread.read(move |connection| erasure(connection, &id)).await
    }

    async fn running(&self) -> Result<Vec<ErasureId>, LedgerError> {
        self.thread
            .read(|connection| ids(connection, "SELECT id FROM erasures WHERE state = 'running' ORDER BY id"))
            .await
    }

    async fn pending(&self, id: &ErasureId, now: Timestamp, limit: usize) -> Result<Vec<PendingJob>, LedgerError> {
        let (id, now, limit) = (*id, millis(now), i64::try_from(limit).unwrap_or(i64::MAX));
        self.thread
            .read(move |connection| {
                let query = "SELECT job, tries, places FROM pending WHERE erasure = ?1 AND due_at <= ?2 LIMIT ?3";
                let mut query = connection.prepare_cached(query)?;
                let found = query.query_map(params![id.as_bytes(), now, limit], |row| {
                    let (job_id, tries) = (JobId::from_bytes(row.get(0)?), row.get(1)?);
                    Ok(PendingJob { job_id, tries, left: places(row, 2)? })
                })?;
                found.collect()
            })
            .await
    }

    async fn next_due(&self, id: &ErasureId) -> Result<Option<Timestamp>, LedgerError> {
        let id = *id;
        let due = self.thread.read(move |connection| {
            let query = "SELECT min(due_at) FROM pending WHERE erasure = ?1";
            connection.prepare_cached(query)?.query_row([id.as_bytes()], |row| row.get::<_, Option<i64>>(0))
        });
        Ok(due.await?.map(timestamp))
    }

    async fn settle(
        &self,
        id: &ErasureId,
        job: &JobId,
        outcome: &ErasureOutcome,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (id, job, outcome) = (*id, *job, outcome.clone());
        self.thread.write(move |connection| settle(connection, &id, &job, &outcome, now)).await
    }

    async fn finish(&self, id: &ErasureId, now: Timestamp) -> Result<ErasureState, LedgerError> {
        let id = *id;
        self.thread.write(move |connection| finish(connection, &id, now)).await
    }

    async fn unpurged(&self) -> Result<Vec<ErasureId>, LedgerError> {
        self.thread
            .read(|connection| {
                ids(connection, "SELECT id FROM erasures WHERE state <> 'running' AND purged_at IS NULL ORDER BY id")
            })
            .await
    }

    async fn mark_purged(&self, ids: &[ErasureId], now: Timestamp) -> Result<(), LedgerError> {
        let ids = ids.to_vec();
        self.thread
            .write(move |connection| {
                let mark =
                    "UPDATE erasures SET purged_at = ?2 WHERE id = ?1 AND purged_at IS NULL AND state <> 'running'";
                let mut mark = connection.prepare_cached(mark)?;
                ids.iter().try_for_each(|id| mark.execute(params![id.as_bytes(), millis(now)]).map(drop))
            })
            .await
    }

    async fn erased_at(&self, job: &JobId) -> Result<Option<Timestamp>, LedgerError> {
        let job = *job;
        let found = self.thread.read(move |connection| {
            let query = "SELECT erased_at FROM erased WHERE job = ?1";
            connection.prepare_cached(query)?.query_row([job.as_bytes()], |row| row.get(0)).optional()
        });
        Ok(found.await?.map(timestamp))
    }

    async fn forget(&self, before: Timestamp, limit: usize) -> Result<bool, LedgerError> {
        let (before, limit) = (millis(before), i64::try_from(limit).unwrap_or(i64::MAX));
        self.thread
            .write(move |connection| {
                let jobs = "DELETE FROM erased WHERE job IN (SELECT job FROM erased WHERE erased_at < ?1 LIMIT ?2)";
                let jobs = connection.prepare_cached(jobs)?.execute([before, limit])?;
                let old = format!("SELECT id FROM erasures WHERE done_at < {before} LIMIT {limit}");
                let old = ids(connection, &old)?;
                for id in &old {
                    for table in ["pending", "kept"] {
                        let delete = format!("DELETE FROM {table} WHERE erasure = ?1");
                        connection.prepare_cached(&delete)?.execute([id.as_bytes()])?;
                    }
                    connection.prepare_cached("DELETE FROM erasures WHERE id = ?1")?.execute([id.as_bytes()])?;
                }
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                Ok(jobs == limit || old.len() == limit)
            })
            .await
    }
}

fn order(connection: &Connection, new: &NewErasure) -> rusqlite::Result<OrderedErasure> {
    if let Some(target) = new.target {
        let same = "SELECT id FROM erasures WHERE target = ?1 AND state = 'running'";
        let running = connection.prepare_cached(same)?.query_row([target.0], |row| row.get(0)).optional()?;
        if let Some(id) = running.map(ErasureId::from_bytes).filter(|id| *id != new.id) {
            return Ok(OrderedErasure::Running(id));
        }
    }
    let (target, jobs) = (new.target.map(|target| target.0), i64::try_from(new.jobs.len()).unwrap_or(i64::MAX));
    let insert = "INSERT INTO erasures (id, target, owner, user, created_at, state, jobs) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    let created_at = millis(new.created_at);
    // Said twice, it is one order.
    if connection.prepare_cached(insert)?.execute(params![
        new.id.as_bytes(),
        target,
        new.owner,
        new.user,
        created_at,
        RUNNING,
        jobs
    ])? == 1
    {
        let insert = "INSERT INTO pending (erasure, job, due_at, tries, places) VALUES (?1, ?2, ?3, 0, '[]')";
        let mut insert = connection.prepare_cached(insert)?;
        for job in &new.jobs {
            insert.execute(params![new.id.as_bytes(), job.as_bytes(), created_at])?;
        }
    }
    Ok(OrderedErasure::New)
}

fn erasure(connection: &Connection, id: &ErasureId) -> rusqlite::Result<Option<Erasure>> {
    let query = "SELECT target, owner, user, created_at, state, jobs, deleted, missing, kept, is_versioned, done_at, purged_at \
         FROM erasures WHERE id = ?1";
    let mut query = connection.prepare_cached(query)?;
    let found = query.query_row([id.as_bytes()], |row| {
        Ok(Erasure {
            id: *id,
            target: row.get::<_, Option<[u8; 32]>>(0)?.map(TargetKey),
            owner: row.get(1)?,
            user: row.get(2)?,
            created_at: timestamp(row.get(3)?),
            state: state(row, 4)?,
            jobs: row.get(5)?,
            tally: ErasureTally { deleted: row.get(6)?, missing: row.get(7)?, kept: row.get(8)? },
            is_versioned: row.get(9)?,
            kept: Vec::new(),
            left: Vec::new(),
            done_at: row.get::<_, Option<i64>>(10)?.map(timestamp),
            purged_at: row.get::<_, Option<i64>>(11)?.map(timestamp),
        })
    });
    let Some(mut erasure) = found.optional()? else { return Ok(None) };
    let mut kept = connection.prepare_cached("SELECT location, job FROM kept WHERE erasure = ?1 ORDER BY rowid")?;
    let kept = kept.query_map([id.as_bytes()], |row| {
        Ok(KeptPlace { location: row.get(0)?, job_id: JobId::from_bytes(row.get(1)?) })
    })?;
    erasure.kept = kept.collect::<rusqlite::Result<_>>()?;
    let mut left = connection.prepare_cached("SELECT places FROM pending WHERE erasure = ?1 ORDER BY job")?;
    let left = left.query_map([id.as_bytes()], |row| places(row, 0))?;
    erasure.left = left.collect::<rusqlite::Result<Vec<_>>>()?.concat();
    Ok(Some(erasure))
}

fn settle(
    connection: &Connection,
    id: &ErasureId,
    job: &JobId,
    outcome: &ErasureOutcome,
    now: Timestamp,
) -> rusqlite::Result<()> {
    match outcome {
        ErasureOutcome::Left { left, retry_at } => {
            let places = serde_json::to_string(left).expect("INVARIANT: places are strings");
            let update =
                "UPDATE pending SET due_at = ?3, tries = tries + 1, places = ?4 WHERE erasure = ?1 AND job = ?2";
            connection.prepare_cached(update)?.execute(params![
                id.as_bytes(),
                job.as_bytes(),
                millis(*retry_at),
                places
            ])?;
        }
        ErasureOutcome::Erased { tally, is_versioned, kept, event } => {
            let delete = "DELETE FROM pending WHERE erasure = ?1 AND job = ?2";
            if connection.prepare_cached(delete)?.execute(params![id.as_bytes(), job.as_bytes()])? == 0 {
                return Ok(());
            }
            remove(connection, job)?;
            if let Some(sealed) = event.clone() {
                let event = ErasedEvent { job_id: *job, since: now, due_at: now, attempts: 0, sealed };
                events::put(connection, &event)?;
            }
            let erased = "INSERT INTO erased VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            connection.prepare_cached(erased)?.execute(params![job.as_bytes(), millis(now)])?;
            let count = "UPDATE erasures SET deleted = deleted + ?2, missing = missing + ?3, kept = kept + ?4, \
                 is_versioned = is_versioned OR ?5 WHERE id = ?1";
            connection.prepare_cached(count)?.execute(params![
                id.as_bytes(),
                tally.deleted,
                tally.missing,
                tally.kept,
                is_versioned
            ])?;
            let mut insert = connection.prepare_cached("INSERT INTO kept VALUES (?1, ?2, ?3)")?;
            for KeptPlace { location, job_id } in kept {
                insert.execute(params![id.as_bytes(), location, job_id.as_bytes()])?;
            }
        }
    }
    Ok(())
}

fn finish(connection: &Connection, id: &ErasureId, now: Timestamp) -> rusqlite::Result<ErasureState> {
    let mut query = connection.prepare_cached("SELECT state FROM erasures WHERE id = ?1")?;
    let before = query.query_row([id.as_bytes()], |row| state(row, 0))?;
    if before != ErasureState::Running {
        return Ok(before);
    }
    let pending = "SELECT EXISTS (SELECT 1 FROM pending WHERE erasure = ?1)";
    let is_left: bool = connection.prepare_cached(pending)?.query_row([id.as_bytes()], |row| row.get(0))?;
    let (state, word) = if is_left { (ErasureState::Incomplete, INCOMPLETE) } else { (ErasureState::Done, DONE) };
    let update = "UPDATE erasures SET state = ?2, done_at = ?3 WHERE id = ?1";
    connection.prepare_cached(update)?.execute(params![id.as_bytes(), word, millis(now)])?;
    if state == ErasureState::Done {
        connection.prepare_cached("UPDATE kept SET location = NULL WHERE erasure = ?1")?.execute([id.as_bytes()])?;
    }
    Ok(state)
}

fn ids(connection: &Connection, query: &str) -> rusqlite::Result<Vec<ErasureId>> {
    let mut query = connection.prepare(query)?;
    let found = query.query_map([], |row| row.get(0).map(ErasureId::from_bytes))?;
    found.collect()
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<ErasureState> {
    Ok(match row.get_ref(column)?.as_str()? {
        RUNNING => ErasureState::Running,
        DONE => ErasureState::Done,
        _ => ErasureState::Incomplete,
    })
}

/// What is kept as JSON; nothing of what can't be read.
fn places(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<LeftPlace>> {
    Ok(serde_json::from_str(row.get_ref(column)?.as_str()?).unwrap_or_default())
}

//! The ledger of one machine: `SQLite`, in a file of its own in the data directory.
//!
//! It is another engine than the queue's, since it holds millions of entries: sled would take three times the disk, and copies
//! a database before it opens one that was left in use. Here opening takes no longer with more in it, and what is deleted is
//! overwritten there and then, so that a purge is short.

mod body;
mod erasures;
mod events;
mod file;
mod gc;
mod look;
mod thread;

use std::collections::VecDeque;
use std::path::Path;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, params};

pub use self::look::LedgerLook;

use self::body::StoreNumbers;
use self::file::LedgerFile;
use self::thread::DatabaseThread;
use super::{DueJob, GcRun, Ledger, LedgerCursor, LedgerEntry, LedgerError, LedgerPage, LedgerPageRequest};
use crate::clock::Timestamp;
use crate::database::SetAside;
use crate::job::{ContentHash, HashKey, JobId, Owner};

/// The database's file inside the data directory.
pub const LEDGER_DATABASE: &str = "ledger.db";

/// Hashes that are looked up in one go.
const HASHES_AT_ONCE: usize = 256;
/// Entries that are written in one go: others wait for the thread no longer than so many take.
const ENTRIES_AT_ONCE: usize = 256;

const ENTRY: &str = "SELECT e.job, o.user, o.access_key, o.sub, e.content_head, e.content_tail, e.ended_at, e.expires_at, \
     e.files, e.seq, e.owner, r.recipient FROM entries e JOIN owners o ON o.id = e.owner LEFT JOIN recipients r ON r.job = e.job";

/// The ledger in the data directory.
#[derive(Debug)]
pub struct SqliteLedger {
    thread: DatabaseThread,
    /// Comparisons of this process, which has the database to itself; the newest last.
    gc_runs: Mutex<VecDeque<GcRun>>,
}

/// The ledger, and what was wrong with it.
#[derive(Debug)]
pub struct OpenedLedger {
    /// Ready for use.
    pub ledger: SqliteLedger,
    /// A database that was damaged and is kept under another name.
    pub set_aside: Option<SetAside>,
}

impl SqliteLedger {
    /// Opens the ledger in the data directory `data`, or makes one. Blocks.
    ///
    /// # Errors
    /// Another process has it, a newer version wrote it, or the disk.
    pub fn open(data: &Path) -> Result<OpenedLedger, LedgerError> {
        let path = data.join(LEDGER_DATABASE);
        let (file, set_aside) = LedgerFile::open(&path)?;
        Ok(OpenedLedger { ledger: Self::of(file)?, set_aside })
    }

    /// One that is gone with its process, for tests.
    ///
    /// # Errors
    /// The system's.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Self::of(LedgerFile::in_memory()?)
    }

    fn of(file: LedgerFile) -> Result<Self, LedgerError> {
        let thread = DatabaseThread::start(file).map_err(|source| LedgerError::Io {
            what: "starting the thread of",
            path: LEDGER_DATABASE.into(),
            source,
        })?;
        Ok(Self { thread, gc_runs: Mutex::default() })
    }

    /// A page of what `from` finds behind a cursor, each entry with the cursor that ends at it. It is asked for one more than
    /// is wanted, to see whether there is one.
    async fn page(
        &self,
        page: &LedgerPageRequest,
        from: impl FnOnce(&Connection, EntryCursor, usize) -> rusqlite::Result<Vec<(EntryCursor, Found)>> + Send + 'static,
    ) -> Result<LedgerPage, LedgerError> {
        let after = page.after.as_ref().and_then(EntryCursor::parse).unwrap_or(EntryCursor::START);
        let limit = page.limit.max(1);
        let mut found = self.thread.read(move |connection| from(connection, after, limit.saturating_add(1))).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(cursor, _)| cursor.shown());
        let entries = found.into_iter().map(|(_, found)| found.readable()).collect::<Result<_, _>>()?;
        Ok(LedgerPage { entries, next })
    }
}

/// A place among entries, in the order of the index by owner; of all entries, `seq` alone counts.
#[derive(Clone, Copy)]
struct EntryCursor {
    owner: i64,
    content_head: i64,
    seq: i64,
}

impl EntryCursor {
    const START: Self = Self { owner: i64::MIN, content_head: i64::MIN, seq: i64::MIN };

    fn parse(cursor: &LedgerCursor) -> Option<Self> {
        let mut numbers = cursor.0.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { owner: next()?, content_head: next()?, seq: next()? })
    }

    fn shown(self) -> LedgerCursor {
        LedgerCursor(format!("{}.{}.{}", self.owner, self.content_head, self.seq))
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn record(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let entry = entry.clone();
        self.thread.write(move |connection| record(connection, &entry)).await
    }

    async fn record_all(&self, entries: &[LedgerEntry]) -> Result<(), LedgerError> {
        for entries in entries.chunks(ENTRIES_AT_ONCE) {
            let entries = entries.to_vec();
            self.thread.write(move |connection| entries.iter().try_for_each(|entry| record(connection, entry))).await?;
        }
        Ok(())
    }

    async fn entry(&self, job: &JobId) -> Result<Option<LedgerEntry>, LedgerError> {
        let job = *job;
        let found = self.thread.read(move |connection| find(connection, &job)).await?;
        found.map(Found::readable).transpose()
    }

    async fn of_hash(&self, hash: &HashKey) -> Result<Vec<LedgerEntry>, LedgerError> {
        let hash = hash.clone();
        let found = self.thread.read(move |connection| of_hash(connection, &hash));
        found.await?.into_iter().map(|(_, found)| found.readable()).collect()
    }

    async fn of_hashes(&self, hashes: &[HashKey]) -> Result<Vec<LedgerEntry>, LedgerError> {
        let mut entries = Vec::new();
        // Others wait for the thread no longer than so many take.
        for hashes in hashes.chunks(HASHES_AT_ONCE) {
            let hashes = hashes.to_vec();
            let found = self.thread.read(move |connection| {
                hashes.iter().map(|hash| of_hash(connection, hash)).collect::<rusqlite::Result<Vec<_>>>()
            });
            for (_, found) in found.await?.into_iter().flatten() {
                entries.push(found.readable()?);
            }
        }
        Ok(entries)
    }

    async fn owner_of(&self, part: &str) -> Result<Option<Owner>, LedgerError> {
        let part = part.to_owned();
        self.thread
            .read(move |connection| {
                let query = "SELECT user, sub FROM owners WHERE hash_part = ?1 LIMIT 1";
                let mut query = connection.prepare_cached(query)?;
                let owner = |row: &Row<'_>| Ok(Owner { user: row.get(0)?, access_key: None, sub: row.get(1)? });
                query.query_row([part], owner).optional()
            })
            .await
    }

    async fn of_subject(
        &self,
        user: Option<&str>,
        sub: &str,
        page: &LedgerPageRequest,
    ) -> Result<LedgerPage, LedgerError> {
        let owner = Owner { user: user.map(str::to_owned), access_key: None, sub: sub.to_owned() };
        self.page(page, move |connection, after, wanted| {
            let owners = "SELECT id FROM owners WHERE hash_part = ?1 AND user IS ?2 AND sub = ?3 AND id >= ?4 ORDER BY id";
            let mut owners = connection.prepare_cached(owners)?;
            let owners = owners.query_map(params![owner.hash_part(), owner.user, owner.sub, after.owner], |row| row.get(0))?;
            let mut found = Vec::new();
            for owner in owners {
                let owner = owner?;
                let start = if owner == after.owner { after } else { EntryCursor { owner, ..EntryCursor::START } };
                let left = i64::try_from(wanted - found.len()).unwrap_or(i64::MAX);
                let query = format!(
                    "{ENTRY} WHERE e.owner = ?1 AND (e.content_head, e.seq) > (?2, ?3) ORDER BY e.content_head, e.seq LIMIT ?4"
                );
                found.extend(select(connection, &query, params![owner, start.content_head, start.seq, left])?);
                if found.len() == wanted {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DueJob>, LedgerError> {
        let (now, limit) = (millis(now), i64::try_from(limit).unwrap_or(i64::MAX));
        self.thread
            .read(move |connection| {
                let query = "SELECT expires_at, job FROM entries WHERE is_due_marked AND expires_at <= ?1 \
                     ORDER BY expires_at LIMIT ?2";
                let mut query = connection.prepare_cached(query)?;
                let found = query.query_map([now, limit], |row| {
                    Ok(DueJob { expires_at: timestamp(row.get(0)?), job_id: JobId::from_bytes(row.get(1)?) })
                })?;
                found.collect()
            })
            .await
    }

    async fn unmark_due(&self, jobs: &[DueJob]) -> Result<(), LedgerError> {
        let jobs = jobs.to_vec();
        self.thread
            .write(move |connection| {
                let mut unmark = connection.prepare_cached("UPDATE entries SET is_due_marked = 0 WHERE job = ?1")?;
                jobs.iter().try_for_each(|due| unmark.execute([due.job_id.as_bytes()]).map(drop))
            })
            .await
    }

    async fn files_in(&self, access_key: &str) -> Result<u64, LedgerError> {
        let access_key = access_key.to_owned();
        self.thread
            .read(move |connection| {
                let query = "SELECT coalesce(sum(files), 0) FROM stores WHERE access_key = ?1";
                connection.prepare_cached(query)?.query_row([access_key], |row| row.get(0))
            })
            .await
    }

    async fn all(&self, page: &LedgerPageRequest) -> Result<LedgerPage, LedgerError> {
        self.page(page, |connection, after, wanted| {
            let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
            select(connection, &format!("{ENTRY} WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2"), params![after.seq, wanted])
        })
        .await
    }

    async fn remove(&self, jobs: &[JobId]) -> Result<(), LedgerError> {
        let jobs = jobs.to_vec();
        self.thread.write(move |connection| jobs.iter().try_for_each(|job| remove(connection, job))).await
    }

    async fn purge(&self) -> Result<(), LedgerError> {
        self.thread.purge().await
    }

    async fn close(&self) -> Result<(), LedgerError> {
        self.thread.close().await
    }
}

/// An entry as it was found; what it says of files may be damaged.
struct Found {
    job_id: JobId,
    entry: Option<LedgerEntry>,
}

impl Found {
    fn readable(self) -> Result<LedgerEntry, LedgerError> {
        self.entry.ok_or_else(|| LedgerError::Unreadable {
            what: format!("the ledger's entry of job {}", self.job_id),
            detail: "it is damaged, or a newer Pixerve wrote it".to_owned(),
        })
    }
}

fn record(connection: &Connection, entry: &LedgerEntry) -> rusqlite::Result<()> {
    count_files(connection, &entry.job_id, -1)?;
    let owner = owner_number(connection, &entry.owner)?;
    let files = body::encode(&entry.hash(), &entry.files, &mut Stores(connection))?;
    let (head, tail) = halves(&entry.content);
    let expires_at = entry.expires_at.map(millis);
    connection
        .prepare_cached(
            "INSERT INTO entries (job, owner, content_head, content_tail, ended_at, expires_at, is_due_marked, files) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6 IS NOT NULL, ?7) \
             ON CONFLICT (job) DO UPDATE SET owner = excluded.owner, content_head = excluded.content_head, \
             content_tail = excluded.content_tail, ended_at = excluded.ended_at, expires_at = excluded.expires_at, \
             is_due_marked = excluded.is_due_marked, files = excluded.files",
        )?
        .execute(params![entry.job_id.as_bytes(), owner, head, tail, millis(entry.ended_at), expires_at, files])?;
    for ((backend, access_key), files) in entry.files_by_store() {
        add_files(connection, backend, access_key, i64::try_from(files).unwrap_or(i64::MAX))?;
    }
    match &entry.recipient {
        Some(recipient) => {
            let recipient = serde_json::to_string(recipient).expect("INVARIANT: it is strings and numbers");
            let put = "INSERT INTO recipients VALUES (?1, ?2) ON CONFLICT DO UPDATE SET recipient = excluded.recipient";
            connection.prepare_cached(put)?.execute(params![entry.job_id.as_bytes(), recipient])?;
        }
        None => remove_recipient(connection, &entry.job_id)?,
    }
    Ok(())
}

fn remove_recipient(connection: &Connection, job: &JobId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM recipients WHERE job = ?1")?.execute([job.as_bytes()])?;
    Ok(())
}

/// Removes what is known of a job, and its owner if nothing else of theirs is known.
fn remove(connection: &Connection, job: &JobId) -> rusqlite::Result<()> {
    count_files(connection, job, -1)?;
    remove_recipient(connection, job)?;
    let mut delete = connection.prepare_cached("DELETE FROM entries WHERE job = ?1 RETURNING owner")?;
    let Some(owner) = delete.query_row([job.as_bytes()], |row| row.get::<_, i64>(0)).optional()? else { return Ok(()) };
    let orphans = "DELETE FROM owners WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM entries WHERE owner = ?1)";
    connection.prepare_cached(orphans)?.execute([owner])?;
    Ok(())
}

/// Counts the files of a job's entry once more, or once less, where they are.
fn count_files(connection: &Connection, job: &JobId, times: i64) -> rusqlite::Result<()> {
    let Some(Found { entry: Some(entry), .. }) = find(connection, job)? else { return Ok(()) };
    for ((backend, access_key), files) in entry.files_by_store() {
        add_files(connection, backend, access_key, times * i64::try_from(files).unwrap_or(i64::MAX))?;
    }
    Ok(())
}

fn add_files(connection: &Connection, backend: &str, access_key: Option<&str>, files: i64) -> rusqlite::Result<()> {
    let add = "UPDATE stores SET files = files + ?3 WHERE backend = ?1 AND access_key = ?2";
    connection.prepare_cached(add)?.execute(params![backend, access_key.unwrap_or_default(), files])?;
    Ok(())
}

fn of_hash(connection: &Connection, hash: &HashKey) -> rusqlite::Result<Vec<(EntryCursor, Found)>> {
    let content = hash.content();
    let (head, tail) = halves(&content);
    let query =
        format!("{ENTRY} WHERE o.hash_part = ?1 AND e.content_head = ?2 AND e.content_tail = ?3 ORDER BY e.job");
    select(connection, &query, params![hash.owner_part(), head, tail])
}

fn find(connection: &Connection, job: &JobId) -> rusqlite::Result<Option<Found>> {
    let found = select(connection, &format!("{ENTRY} WHERE e.job = ?1"), [job.as_bytes()])?;
    Ok(found.into_iter().next().map(|(_, found)| found))
}

fn select(
    connection: &Connection,
    query: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<(EntryCursor, Found)>> {
    let mut query = connection.prepare_cached(query)?;
    let found = query.query_map(params, |row| {
        let cursor = EntryCursor { owner: row.get(10)?, content_head: row.get(4)?, seq: row.get(9)? };
        Ok((cursor, found(connection, row)?))
    })?;
    found.collect()
}

fn found(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Found> {
    let job_id = JobId::from_bytes(row.get(0)?);
    let owner = Owner { user: row.get(1)?, access_key: row.get(2)?, sub: row.get(3)? };
    let mut content = [0; 32];
    content[..8].copy_from_slice(&row.get::<_, i64>(4)?.to_be_bytes());
    content[8..].copy_from_slice(&row.get::<_, [u8; 24]>(5)?);
    let content = ContentHash::from_bytes(content);
    let store = |number: u64| store_of(connection, number).ok().flatten();
    let files = body::decode(&HashKey::new(&content, &owner), row.get_ref(8)?.as_blob()?, &store);
    let (ended_at, expires_at) = (timestamp(row.get(6)?), row.get::<_, Option<i64>>(7)?.map(timestamp));
    // One that can't be read must keep no file from being found.
    let recipient = row.get_ref(11)?.as_str_or_null()?.and_then(|json| serde_json::from_str(json).ok());
    let entry = files.map(|files| LedgerEntry { job_id, owner, content, ended_at, expires_at, files, recipient });
    Ok(Found { job_id, entry })
}

fn owner_number(connection: &Connection, owner: &Owner) -> rusqlite::Result<i64> {
    let digest = owner.digest();
    let mut find = connection.prepare_cached("SELECT id FROM owners WHERE digest = ?1")?;
    if let Some(id) = find.query_row([digest], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let insert = "INSERT INTO owners (digest, hash_part, user, access_key, sub) VALUES (?1, ?2, ?3, ?4, ?5)";
    connection.prepare_cached(insert)?.insert(params![
        digest,
        owner.hash_part(),
        owner.user,
        owner.access_key,
        owner.sub
    ])
}

fn store_of(connection: &Connection, number: u64) -> rusqlite::Result<Option<(String, Option<String>)>> {
    let mut query = connection.prepare_cached("SELECT backend, access_key FROM stores WHERE id = ?1")?;
    let found = query.query_row([number], |row| Ok((row.get(0)?, row.get::<_, String>(1)?))).optional()?;
    Ok(found.map(|(backend, access_key)| (backend, Some(access_key).filter(|key| !key.is_empty()))))
}

/// Numbers of stores, given out as they are asked for.
struct Stores<'a>(&'a Connection);

impl StoreNumbers for Stores<'_> {
    type Error = rusqlite::Error;

    fn number(&mut self, backend: &str, access_key: Option<&str>) -> rusqlite::Result<u64> {
        let access_key = access_key.unwrap_or_default();
        let store = params![backend, access_key];
        let mut find = self.0.prepare_cached("SELECT id FROM stores WHERE backend = ?1 AND access_key = ?2")?;
        if let Some(id) = find.query_row(store, |row| row.get(0)).optional()? {
            return Ok(id);
        }
        let insert = "INSERT INTO stores (backend, access_key, files) VALUES (?1, ?2, 0) RETURNING id";
        self.0.prepare_cached(insert)?.query_row(store, |row| row.get(0))
    }
}

/// The first eight bytes, as a number, and the rest.
fn halves(content: &ContentHash) -> (i64, &[u8]) {
    let (head, tail) = content.as_bytes().split_first_chunk::<8>().expect("INVARIANT: it has 32 bytes");
    (i64::from_be_bytes(*head), tail)
}

fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
}

//! The ledger of many nodes: objects in their bucket. Which, and why they are called so: keys.md.

mod erasures;
mod events;
mod gc;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::{DueJob, Ledger, LedgerCursor, LedgerEntry, LedgerError, LedgerPage, LedgerPageRequest};
use crate::bucket::{Bucket, BucketError, ListPage};
use crate::clock::Timestamp;
use crate::job::{ContentHash, HashKey, JobId, Owner};
use crate::retry::Backoff;

const ENTRIES: &str = "ledger/entries/";
const JOBS: &str = "ledger/jobs/";
const DUE: &str = "ledger/due/";
const ERASED: &str = "ledger/erased/";

/// Anything larger is no object of the ledger's.
const BYTES_MAX: u64 = 4 << 20;
/// Hex digits of a SHA-256 in keys. All 64 would make names too long for stores that keep objects as files, whose names have
/// 255 bytes at most.
const PART_DIGITS: usize = 32;
/// The same of what stands for a store, of which an installation has few.
const STORE_DIGITS: usize = 10;
/// Requests at once.
const REQUESTS_MAX: usize = 16;
/// How often a request is tried that the bucket doesn't answer.
const TRIES: u32 = 3;
const BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_millis(200), backoff_factor: 2.0, backoff_max: Duration::from_secs(1) };

/// The ledger in the bucket. Clones are one.
#[derive(Clone, Debug)]
pub struct BucketLedger {
    bucket: Arc<Bucket>,
}

impl BucketLedger {
    /// Nothing is asked of the bucket yet.
    #[must_use]
    pub fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket }
    }

    async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), LedgerError> {
        let bytes = bytes.into();
        tried(|| self.bucket.put(key, bytes.clone())).await
    }

    async fn put_json(&self, key: &str, value: &(impl Serialize + Sync)) -> Result<(), LedgerError> {
        self.put(key, serde_json::to_vec(value).expect("INVARIANT: what is kept is strings and numbers")).await
    }

    /// None if there is no such object.
    async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, LedgerError> {
        let bytes = match tried(|| self.bucket.get(key, BYTES_MAX)).await {
            Ok(bytes) => bytes,
            Err(LedgerError::Bucket(error)) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let unreadable = |error: serde_json::Error| LedgerError::Unreadable {
            what: format!("the object `{key}` of the bucket"),
            detail: format!("line {}, column {}", error.line(), error.column()),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    async fn delete(&self, key: &str) -> Result<(), LedgerError> {
        tried(|| self.bucket.delete(key)).await
    }

    async fn delete_all(&self, keys: &[String]) -> Result<(), LedgerError> {
        tried(|| self.bucket.delete_all(keys)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, LedgerError> {
        tried(|| self.bucket.list(prefix, after)).await
    }

    /// What follows `prefix` in every key that begins with it.
    async fn names(&self, prefix: &str) -> Result<Vec<String>, LedgerError> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = self.list(prefix, after.as_deref()).await?;
            names.extend(page.objects.iter().filter_map(|object| object.key.strip_prefix(prefix).map(str::to_owned)));
            after = page.next;
            if after.is_none() {
                return Ok(names);
            }
        }
    }

    async fn entry_at(&self, key: &str) -> Result<Option<LedgerEntry>, LedgerError> {
        self.get_json(key).await
    }

    /// The entries that these keys have still.
    async fn entries_at(&self, keys: Vec<String>) -> Result<Vec<LedgerEntry>, LedgerError> {
        let read = stream::iter(keys).map(|key| async move { self.entry_at(&key).await }).buffered(REQUESTS_MAX);
        Ok(read.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// The names of a job, of which there may be two for a moment; each leads to its entry.
    async fn names_of(&self, job: &JobId) -> Result<Vec<JobName>, LedgerError> {
        let names = self.names(&job_prefix(job)).await?;
        Ok(names.iter().filter_map(|name| JobName::parse(*job, name)).collect())
    }

    async fn remove_one(&self, job: &JobId) -> Result<(), LedgerError> {
        let names = self.names_of(job).await?;
        for name in &names {
            let Some(entry) = self.entry_at(&name.entry_key()).await? else { continue };
            if let Some(expires_at) = entry.expires_at {
                self.delete(&due_key(&DueJob { expires_at, job_id: *job })).await?;
            }
            self.delete(&name.entry_key()).await?;
        }
        // Last: a job that isn't found by its name would keep its entry.
        let keys: Vec<_> = names.iter().map(JobName::key).collect();
        self.delete_all(&keys).await
    }
}

#[async_trait]
impl Ledger for BucketLedger {
    async fn record(&self, entry: &LedgerEntry) -> Result<(), LedgerError> {
        let name = JobName::of(entry);
        self.put_json(&name.entry_key(), entry).await?;
        self.put(&name.key(), Bytes::new()).await?;
        if let Some(expires_at) = entry.expires_at {
            self.put(&due_key(&DueJob { expires_at, job_id: entry.job_id }), Bytes::new()).await?;
        }
        let mut others: Vec<_> = self.names_of(&entry.job_id).await?.iter().map(JobName::key).collect();
        others.retain(|other| *other != name.key());
        self.delete_all(&others).await
    }

    async fn record_all(&self, entries: &[LedgerEntry]) -> Result<(), LedgerError> {
        let recorded = stream::iter(entries.to_vec()).map(|entry| async move { self.record(&entry).await });
        recorded.buffer_unordered(REQUESTS_MAX).try_collect::<()>().await
    }

    async fn entry(&self, job: &JobId) -> Result<Option<LedgerEntry>, LedgerError> {
        match self.names_of(job).await?.first() {
            Some(name) => self.entry_at(&name.entry_key()).await,
            None => Ok(None),
        }
    }

    async fn of_hash(&self, hash: &HashKey) -> Result<Vec<LedgerEntry>, LedgerError> {
        let prefix = format!("{ENTRIES}{}/{}/", part_of(hash.owner_part()), content_part(&hash.content()));
        let names = self.names(&prefix).await?;
        let mut entries = self.entries_at(names.into_iter().map(|name| format!("{prefix}{name}")).collect()).await?;
        entries.retain(|entry| entry.hash() == *hash);
        Ok(entries)
    }

    async fn of_hashes(&self, hashes: &[HashKey]) -> Result<Vec<LedgerEntry>, LedgerError> {
        let found = stream::iter(hashes.to_vec()).map(|hash| async move { self.of_hash(&hash).await });
        Ok(found.buffer_unordered(REQUESTS_MAX).try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    async fn owner_of(&self, part: &str) -> Result<Option<Owner>, LedgerError> {
        let listed = self.list(&format!("{ENTRIES}{}/", part_of(part)), None).await?;
        for object in listed.objects {
            if let Some(entry) = self.entry_at(&object.key).await?
                && entry.owner.hash_part() == part
            {
                return Ok(Some(Owner { access_key: None, ..entry.owner }));
            }
        }
        Ok(None)
    }

    async fn of_subject(
        &self,
        user: Option<&str>,
        sub: &str,
        page: &LedgerPageRequest,
    ) -> Result<LedgerPage, LedgerError> {
        let owner = Owner { user: user.map(str::to_owned), access_key: None, sub: sub.to_owned() };
        let prefix = format!("{ENTRIES}{}/", part_of(&owner.hash_part()));
        let listed = self.list(&prefix, page.after.as_ref().map(|cursor| &*cursor.0)).await?;
        let has_more = listed.next.is_some() || listed.objects.len() > page.limit;
        let keys: Vec<_> = listed.objects.into_iter().map(|object| object.key).take(page.limit.max(1)).collect();
        let next = keys.last().filter(|_| has_more).cloned().map(LedgerCursor);
        let mut entries = self.entries_at(keys).await?;
        entries.retain(|entry| entry.owner.has_names_of(&owner));
        Ok(LedgerPage { entries, next })
    }

    /// What is named to be due under a time that is not its entry's any more is not due.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DueJob>, LedgerError> {
        let (mut due, mut after) = (Vec::new(), None);
        loop {
            let page = self.list(DUE, after.as_deref()).await?;
            let named = page.objects.iter().filter_map(|object| parse_due(&object.key));
            let named: Vec<_> = named.take_while(|due| due.expires_at <= now).collect();
            let is_end = named.len() < page.objects.len() || page.next.is_none();
            let checked = stream::iter(named).map(|due| async move {
                let entry = self.entry(&due.job_id).await?;
                let is_due = entry.is_some_and(|entry| entry.expires_at == Some(due.expires_at));
                if !is_due {
                    self.delete(&due_key(&due)).await?;
                }
                Ok::<_, LedgerError>(is_due.then_some(due))
            });
            let checked: Vec<_> = checked.buffered(REQUESTS_MAX).try_collect().await?;
            due.extend(checked.into_iter().flatten());
            after = page.next;
            if is_end || due.len() >= limit {
                due.truncate(limit);
                return Ok(due);
            }
        }
    }

    async fn unmark_due(&self, jobs: &[DueJob]) -> Result<(), LedgerError> {
        let keys: Vec<_> = jobs.iter().map(due_key).collect();
        self.delete_all(&keys).await
    }

    async fn files_in(&self, access_key: &str) -> Result<u64, LedgerError> {
        let store = &*store_part(access_key);
        let parts = stream::iter(0..=u8::MAX).map(|part| async move {
            let names = self.names(&format!("{JOBS}{part:02x}/")).await?;
            let mut files = 0;
            let mut names = names.iter().filter_map(|name| name.split_once('/')).peekable();
            while let Some((job, name)) = names.next() {
                let mut of_job = files_of(name, store);
                while let Some((_, name)) = names.next_if(|(other, _)| *other == job) {
                    of_job = of_job.max(files_of(name, store));
                }
                files += of_job;
            }
            Ok::<_, LedgerError>(files)
        });
        parts.buffer_unordered(REQUESTS_MAX).try_fold(0, |sum, files| async move { Ok(sum + files) }).await
    }

    async fn all(&self, page: &LedgerPageRequest) -> Result<LedgerPage, LedgerError> {
        let listed = self.list(JOBS, page.after.as_ref().map(|cursor| &*cursor.0)).await?;
        let mut names: Vec<JobName> = Vec::new();
        let mut after = None;
        let mut has_more = listed.next.is_some();
        for object in listed.objects {
            if let Some(name) = JobName::parse_key(&object.key) {
                let is_same = names.last().is_some_and(|last| last.job_id == name.job_id);
                if !is_same && names.len() == page.limit.max(1) {
                    has_more = true;
                    break;
                }
                if !is_same {
                    names.push(name);
                }
            }
            after = Some(object.key);
        }
        // Behind every name of its last job, and before the next job's.
        let next = after.filter(|_| has_more).map(|key| LedgerCursor(behind_job(&key)));
        let entries = self.entries_at(names.iter().map(JobName::entry_key).collect()).await?;
        Ok(LedgerPage { entries, next })
    }

    async fn remove(&self, jobs: &[JobId]) -> Result<(), LedgerError> {
        let removed = stream::iter(jobs.to_vec()).map(|job| async move { self.remove_one(&job).await });
        removed.buffer_unordered(REQUESTS_MAX).try_collect::<()>().await
    }

    /// What is deleted from the bucket is gone, unless it has versions: that is said where the bucket is.
    async fn purge(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// The name of a job in the ledger, from which everything is told but what only its entry says.
#[derive(Debug)]
struct JobName {
    job_id: JobId,
    owner_part: String,
    content_part: String,
    /// What stands for each, with how many files it holds.
    stores: Vec<(String, u64)>,
}

impl JobName {
    fn of(entry: &LedgerEntry) -> Self {
        let stores = entry.files_by_store();
        let stores = stores.into_iter().filter_map(|((_, key), files)| Some((store_part(key?), files)));
        Self {
            job_id: entry.job_id,
            owner_part: part_of(&entry.owner.hash_part()),
            content_part: content_part(&entry.content),
            stores: stores.collect(),
        }
    }

    fn key(&self) -> String {
        let stores = self.stores.iter().map(|(store, files)| format!(".{store}-{files}"));
        format!("{}{}.{}{}", job_prefix(&self.job_id), self.owner_part, self.content_part, stores.collect::<String>())
    }

    fn entry_key(&self) -> String {
        format!("{ENTRIES}{}/{}/{}", self.owner_part, self.content_part, self.job_id)
    }

    fn parse_key(key: &str) -> Option<Self> {
        let (job, name) = key.strip_prefix(JOBS)?.split_once('/')?.1.split_once('/')?;
        Self::parse(job.parse().ok()?, name)
    }

    fn parse(job_id: JobId, name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let (owner_part, content_part) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let stores = parts.filter_map(|part| {
            let (store, files) = part.split_once('-')?;
            Some((store.to_owned(), files.parse().ok()?))
        });
        Some(Self { job_id, owner_part, content_part, stores: stores.collect() })
    }
}

/// How many files of the job of this name a store holds, by what stands for that.
fn files_of(name: &str, store: &str) -> u64 {
    let of_store = |part: &str| part.strip_prefix(store)?.strip_prefix('-')?.parse::<u64>().ok();
    name.split('.').skip(2).filter_map(of_store).sum()
}

/// What every name of a job begins with.
fn job_prefix(job: &JobId) -> String {
    format!("{JOBS}{}/{job}/", fan_out(job))
}

/// A key that comes behind every name of the job that `key` names.
fn behind_job(key: &str) -> String {
    // `~` is behind whatever names have.
    key.rsplit_once('/').map_or_else(|| key.to_owned(), |(job, _)| format!("{job}/~"))
}

/// The last two digits: the first are the time's.
fn fan_out(job: &JobId) -> String {
    format!("{:02x}", job.as_bytes()[15])
}

/// What stands for an owner in keys, by what stands for it in `hash`.
fn part_of(owner_part: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(owner_part));
    digest.truncate(PART_DIGITS);
    digest
}

/// What stands for a store in keys, by its access key.
fn store_part(access_key: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(access_key));
    digest.truncate(STORE_DIGITS);
    digest
}

/// What stands for an original in keys.
fn content_part(content: &ContentHash) -> String {
    let mut digest = content.to_string();
    digest.truncate(PART_DIGITS);
    digest
}

fn due_key(due: &DueJob) -> String {
    format!("{DUE}{:015}/{}", due.expires_at.as_millis(), due.job_id)
}

fn parse_due(key: &str) -> Option<DueJob> {
    let (time, job) = key.strip_prefix(DUE)?.split_once('/')?;
    Some(DueJob { expires_at: Timestamp::from_millis(time.parse().ok()?), job_id: job.parse().ok()? })
}

/// Asks again for what a bucket doesn't answer. All that is asked can be asked twice.
async fn tried<T, F: Future<Output = Result<T, BucketError>>>(ask: impl Fn() -> F) -> Result<T, LedgerError> {
    let mut tries = 1;
    loop {
        match ask().await {
            Err(error) if error.may_pass() && tries < TRIES => sleep(BACKOFF.wait_after(tries)).await,
            answered => return answered.map_err(LedgerError::Bucket),
        }
        tries += 1;
    }
}

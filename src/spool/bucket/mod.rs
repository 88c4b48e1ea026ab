//! The spool of many nodes: one object an upload, in the bucket that they share.
//!
//! ```text
//! spool/<2 hex>/<job id>    accepted: what is said of it, its manifest, its original (see `format`)
//! kept/<2 hex>/<job id>     of a job that failed or was cancelled, where the comparison doesn't look; the same object
//! ```
//!
//! One PUT accepts an upload. What arrives, and what is worked on, is in the node's scratch directory meanwhile; journals are
//! with [`JournalLines`]. An original stays until its job has ended, its callback is settled, and a while has passed: a
//! queue that fails over may forget the last seconds, and finds it there then.

mod fetching;
mod format;
mod journal_lines;
mod scratch;

pub use journal_lines::{JournalLines, JournalLinesError, MemoryJournalLines};

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::timeout;

use self::fetching::{Fetched, FetchedOriginals};
use self::format::{HEAD_BYTES, Parsed};
use self::journal_lines::PendingLines;
use self::scratch::Scratch;
use super::error::Cause;
use super::upload::{Accept, StagedUpload};
use super::{
    EndedUpload, IncomingUpload, Journal, JournalEntries, MadeFile, Removal, Spool, SpoolCursor, SpoolEntry,
    SpoolError, SpoolPage, SpoolSettings, SpoolUsage, SpooledUpload, blocking, made, manifest_of, read_manifest,
};
use crate::bucket::{Bucket, BucketError, DELETE_MAX, ListPage};
use crate::durable::IoContext;
use crate::error_chain::ErrorChain;
use crate::job::{JobId, JobRecord, Original, State};

/// Below which accepted uploads are, and originals that are kept for a person.
const SPOOL: &str = "spool/";
const KEPT: &str = "kept/";

/// Where the original of a job may be. It moves from the second to the first, so one that isn't in either is looked for in the first
/// again.
const PLACES: [&str; 3] = [KEPT, SPOOL, KEPT];

/// Originals of ended jobs that are moved at once.
const CONCURRENT_MOVES: usize = 16;

/// For removing what may have arrived although its PUT failed.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Originals in the bucket, and what this node has of them.
#[derive(Debug)]
pub struct BucketSpool {
    bucket: Arc<Bucket>,
    scratch: Scratch,
    lines: Arc<dyn JournalLines>,
    keep_after_end: Duration,
    keeps_failed: bool,
    fetched: FetchedOriginals,
    /// The journals that attempts of this node have open.
    journals: Mutex<HashMap<JobId, PendingLines>>,
    usage: Mutex<CountedUsage>,
}

/// What lists have shown.
#[derive(Debug, Default)]
struct CountedUsage {
    /// By the last list that was read to its end.
    last: SpoolUsage,
    /// By the pages of the one that is being read.
    current: SpoolUsage,
}

impl BucketSpool {
    /// Opens the spool. `scratch` is a directory of this machine that other nodes on it may share; what dead ones left there
    /// is removed. Nothing is asked of the bucket yet. Blocks.
    ///
    /// # Errors
    /// The file system's own.
    pub fn open(
        bucket: Arc<Bucket>,
        settings: &SpoolSettings,
        scratch: &Path,
        lines: Arc<dyn JournalLines>,
    ) -> Result<Self, SpoolError> {
        let scratch = Scratch::open(scratch).map_err(Cause::Scratch)?;
        Ok(Self {
            bucket,
            scratch,
            lines,
            keep_after_end: settings.keep_after_end,
            keeps_failed: !settings.failed_originals_kept.is_zero(),
            fetched: FetchedOriginals::default(),
            journals: Mutex::default(),
            usage: Mutex::default(),
        })
    }

    /// Moves an original to where nobody looks for work, or removes it if none are kept. Twice is harmless.
    async fn keep(&self, id: JobId) -> Result<(), SpoolError> {
        if !self.keeps_failed {
            return self.remove(id).await;
        }
        let key = key(SPOOL, id);
        match self.bucket.copy(&key, &self::key(KEPT, id)).await {
            // It has been moved, or removed, before.
            Err(BucketError::Missing { .. }) => return Ok(()),
            copied => copied.map_err(Cause::Bucket)?,
        }
        Ok(self.bucket.delete(&key).await.map_err(Cause::Bucket)?)
    }

    /// Whether an original of an ended job needs to stay no longer. Until then a queue that forgets the end finds it.
    fn may_leave(&self, upload: &EndedUpload) -> bool {
        match upload.state {
            State::Cancelled => true,
            _ => !upload.owes_callback && upload.ago >= self.keep_after_end,
        }
    }

    /// The original of a job that may be kept, or among the accepted uploads; none if it is gone.
    async fn fetch_kept(&self, id: JobId, original: &Original) -> Result<Option<Fetched>, SpoolError> {
        for place in PLACES {
            let to = self.scratch.for_fetching();
            match fetching::fetch(id, original, &self.bucket, &key(place, id), to).await {
                Ok(fetched) => return Ok(Some(fetched)),
                // It had left that place, or has just been moved.
                Err(error) if error.had_ended() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn page(&self, prefix: &str, from: Option<SpoolCursor>) -> Result<(SpoolPage, u64), SpoolError> {
        let after = from.map(|SpoolCursor(key)| key);
        let ListPage { objects, next } = self.bucket.list(prefix, after.as_deref()).await.map_err(Cause::Bucket)?;
        let mut page = SpoolPage { next: next.map(SpoolCursor), ..SpoolPage::default() };
        let mut bytes = 0;
        for object in objects {
            match id_of(prefix, &object.key) {
                Some(id) => {
                    bytes += object.info.bytes;
                    page.uploads.push(SpooledUpload { id, age: Some(object.info.age) });
                }
                None => page.strange.push(object.key),
            }
        }
        Ok((page, bytes))
    }

    async fn read_entry(&self, prefix: &str, id: JobId) -> Result<Option<SpoolEntry>, SpoolError> {
        let key = key(prefix, id);
        let mut wanted = HEAD_BYTES;
        loop {
            let (head, total) = match self.bucket.get_range(&key, 0..wanted).await {
                Err(BucketError::Missing { .. }) => return Ok(None),
                got => got.map_err(Cause::Bucket)?,
            };
            let damaged = |why: String| Ok(Some(SpoolEntry::Damaged { place: key.clone(), why }));
            return match format::parse(&head) {
                Parsed::Needs(bytes) if bytes as u64 > total => damaged(format!("it has {total} bytes, and is cut")),
                Parsed::Needs(bytes) => {
                    wanted = bytes as u64;
                    continue;
                }
                Parsed::Bad(why) => damaged(why),
                Parsed::Whole(found) => match check(&found, id, total) {
                    Ok(record) => Ok(Some(SpoolEntry::Whole(Box::new(record)))),
                    Err(why) => damaged(why),
                },
            };
        }
    }
}

/// The record in a head, if the object is what that says.
fn check(head: &format::Head<'_>, id: JobId, total: u64) -> Result<JobRecord, String> {
    let record = read_manifest(head.manifest).map_err(|error| format!("its manifest is bad: {error}"))?;
    let original = total.saturating_sub(head.bytes as u64);
    if record.id != id {
        Err(format!("its manifest is that of job {}", record.id))
    } else if original != head.original_bytes || original != record.original.bytes {
        Err(format!("its original has {original} bytes, not {}", record.original.bytes))
    } else {
        Ok(record)
    }
}

/// Ids begin with the time: by their end, keys are spread evenly over what a bucket is divided into.
fn key(prefix: &str, id: JobId) -> String {
    let id = id.to_string();
    format!("{prefix}{}/{id}", &id[id.len() - 2..])
}

fn id_of(prefix: &str, found: &str) -> Option<JobId> {
    let id = found.rsplit('/').next()?.parse().ok()?;
    (key(prefix, id) == found).then_some(id)
}

#[async_trait]
impl Spool for BucketSpool {
    async fn receive(&self, id: JobId) -> Result<IncomingUpload, SpoolError> {
        let (incoming, object) = (self.scratch.incoming(id), Object { bucket: Arc::clone(&self.bucket) });
        let begun = blocking(move || IncomingUpload::begin(incoming, Arc::new(object))).await;
        begun.map_err(SpoolError::of_scratch)
    }

    async fn fetch(&self, record: &JobRecord) -> Result<PathBuf, SpoolError> {
        self.fetched.get(record, &self.bucket, &self.scratch).await
    }

    async fn holds(&self, id: JobId) -> Result<bool, SpoolError> {
        Ok(self.bucket.head(&key(SPOOL, id)).await.map_err(Cause::Bucket)?.is_some())
    }

    async fn is_there(&self) -> Result<bool, SpoolError> {
        let own = self.scratch.path().to_owned();
        blocking(move || own.try_exists().context("look for", &own)).await.map_err(SpoolError::of_scratch)
    }

    async fn uploads(&self, from: Option<SpoolCursor>) -> Result<SpoolPage, SpoolError> {
        let is_first = from.is_none();
        let (page, bytes) = self.page(SPOOL, from).await?;
        self.usage.lock().add(is_first, &page, bytes);
        Ok(page)
    }

    async fn manifest(&self, id: JobId) -> Result<Option<SpoolEntry>, SpoolError> {
        self.read_entry(SPOOL, id).await
    }

    async fn journal(&self, id: JobId) -> Result<Journal, SpoolError> {
        let pending = PendingLines::new(id, Arc::clone(&self.lines));
        let earlier = self.journals.lock().insert(id, pending.clone());
        if let Some(earlier) = earlier {
            earlier.close().await;
        }
        Ok(Journal::new(self.journal_entries(id).await?, Arc::new(pending)))
    }

    async fn journal_entries(&self, id: JobId) -> Result<JournalEntries, SpoolError> {
        journal_lines::read(&*self.lines, id).await
    }

    async fn write_made(&self, id: JobId, name: &str, bytes: Bytes) -> Result<(), SpoolError> {
        let (dir, name) = (self.scratch.made(id), name.to_owned());
        blocking(move || made::write(&dir, &name, &bytes)).await.map_err(SpoolError::of_scratch)
    }

    fn made(&self, id: JobId, name: &str) -> PathBuf {
        self.scratch.made(id).join(name)
    }

    async fn whole_made(&self, id: JobId, files: Vec<MadeFile>) -> Result<Vec<MadeFile>, SpoolError> {
        let dir = self.scratch.made(id);
        blocking(move || made::whole(&dir, files)).await.map_err(SpoolError::of_scratch)
    }

    async fn remove_made(&self, id: JobId, name: &str) -> Result<(), SpoolError> {
        let path = self.made(id, name);
        blocking(move || made::remove_one(&path)).await.map_err(SpoolError::of_scratch)
    }

    /// The next attempt may be another node's, which makes again from the original what it needs.
    async fn attempt_ended(&self, id: JobId) {
        self.fetched.release(id);
        let journal = self.journals.lock().remove(&id);
        if let Some(journal) = journal {
            journal.close().await;
        }
        let dir = self.scratch.made(id);
        if let Err(error) = blocking(move || made::remove(&dir)).await {
            tracing::warn!(job_id = %id, error = %ErrorChain(&error), "variants on scratch can't be removed");
        }
    }

    /// A cancelled job must not come back, whatever the queue forgets; any other's end may be forgotten, and its caller not
    /// be told then.
    async fn job_ended(&self, id: JobId, state: State) -> Result<(), SpoolError> {
        match state {
            State::Cancelled => self.keep(id).await,
            _ => Ok(()),
        }
    }

    async fn remove_ended(&self, ended: &[EndedUpload]) -> Removal {
        let mut removal = Removal::default();
        let leaving = ended.iter().copied().filter(|upload| self.may_leave(upload));
        let (completed, others): (Vec<_>, Vec<_>) = leaving.partition(|upload| upload.state == State::Completed);
        for completed in completed.chunks(DELETE_MAX) {
            let keys: Vec<_> = completed.iter().map(|upload| key(SPOOL, upload.id)).collect();
            let deleted = self.bucket.delete_all(&keys).await.map_err(|error| Cause::Bucket(error).into());
            removal.add(completed.iter().map(|upload| upload.id), deleted);
        }
        let keep = async |upload: EndedUpload| (upload.id, self.keep(upload.id).await);
        let mut kept = stream::iter(others).map(keep).buffer_unordered(CONCURRENT_MOVES);
        while let Some((id, outcome)) = kept.next().await {
            removal.add([id], outcome);
        }
        removal
    }

    async fn remove(&self, id: JobId) -> Result<(), SpoolError> {
        Ok(self.bucket.delete(&key(SPOOL, id)).await.map_err(Cause::Bucket)?)
    }

    async fn kept(&self, from: Option<SpoolCursor>) -> Result<SpoolPage, SpoolError> {
        Ok(self.page(KEPT, from).await?.0)
    }

    fn keeps_on_disk(&self) -> bool {
        false
    }

    async fn original_of(&self, id: JobId) -> Result<Option<SpoolEntry>, SpoolError> {
        for place in PLACES {
            if let Some(entry) = self.read_entry(place, id).await? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    async fn open_kept(&self, id: JobId, original: &Original) -> Result<Option<File>, SpoolError> {
        let Some(fetched) = self.fetch_kept(id, original).await? else { return Ok(None) };
        let path = fetched.path.clone();
        let opened = blocking(move || File::open(&path).context("open", &path)).await;
        opened.map(Some).map_err(SpoolError::of_scratch)
    }

    /// The manifest is in the same object as the original, which so is fetched and put again.
    async fn accept_again(&self, from: JobId, record: &JobRecord) -> Result<bool, SpoolError> {
        let manifest = manifest_of(record, self.scratch.path()).map_err(Cause::Scratch)?;
        let Some(fetched) = self.fetch_kept(from, &record.original).await? else { return Ok(false) };
        put(&self.bucket, &manifest, record, &fetched.path).await?;
        Ok(true)
    }

    async fn remove_kept(&self, ids: &[JobId]) -> Result<(), SpoolError> {
        let keys: Vec<_> = ids.iter().map(|id| key(KEPT, *id)).collect();
        Ok(self.bucket.delete_all(&keys).await.map_err(Cause::Bucket)?)
    }

    async fn remove_all(&self, ids: &[JobId]) -> Result<(), SpoolError> {
        let keys: Vec<_> = ids.iter().flat_map(|id| [SPOOL, KEPT].map(|place| key(place, *id))).collect();
        Ok(self.bucket.delete_all(&keys).await.map_err(Cause::Bucket)?)
    }

    /// As of the last comparison by this node: nothing until it has made one.
    async fn usage(&self) -> Result<SpoolUsage, SpoolError> {
        Ok(self.usage.lock().last)
    }
}

impl CountedUsage {
    fn add(&mut self, is_first: bool, page: &SpoolPage, bytes: u64) {
        let before = if is_first { SpoolUsage::default() } else { self.current };
        let entries = before.entries + page.uploads.len() as u64;
        self.current = SpoolUsage { entries, bytes: before.bytes + bytes };
        if page.next.is_none() {
            self.last = self.current;
        }
    }
}

/// Where an upload goes when it is accepted.
#[derive(Debug)]
struct Object {
    bucket: Arc<Bucket>,
}

#[async_trait]
impl Accept for Object {
    async fn accept(&self, upload: StagedUpload, manifest: Vec<u8>, record: &JobRecord) -> Result<(), SpoolError> {
        put(&self.bucket, &manifest, record, upload.file.path()).await
    }
}

/// Puts the one object of an accepted upload, whose original is in this file.
async fn put(bucket: &Bucket, manifest: &[u8], record: &JobRecord, path: &Path) -> Result<(), SpoolError> {
    let (key, original) = (key(SPOOL, record.id), &record.original);
    let head = format::head(manifest, original.bytes);
    let put = bucket.put_with_file(&key, head, path, original.bytes, original.sha256).await;
    let Err(error) = put else { return Ok(()) };
    // It may have arrived all the same. If that can't be undone now, it is queued by the comparison.
    if error.may_pass() {
        let _ = timeout(CLEANUP_TIMEOUT, bucket.delete(&key)).await;
    }
    Err(Cause::Bucket(error).into())
}

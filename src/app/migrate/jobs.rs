//! Jobs with their originals and journals, and uploads that are no jobs yet.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::home::Home;
use super::{AT_ONCE, MigrateError, Migrated, Progress, tried};
use crate::app::home_mark::Destination;
use crate::failpoint::{MigrationStep, reached};
use crate::job::{ContentHash, ContentHasher, JobId, JobRecord};
use crate::queue::{KnownJob, TransferEntry, TransferPage};
use crate::spool::{Durability, Spool, SpoolEntry, SpoolPage};

/// Bytes of an original that are read at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Uploads that a queue is asked about at once.
const KNOWN_AT_ONCE: usize = 500;

/// Every job that `from` has, by place. One that is in `to` is there with its original.
pub(super) async fn move_jobs(
    from: &Home,
    to: &Home,
    destination: Destination,
    of: u64,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let (mut cursor, mut progress) = (None, Progress::new());
    loop {
        let TransferPage { entries, unreadable, next } = from.queue.export(cursor).await?;
        moved.unreadable += unreadable as u64;
        move_page(from, to, destination, entries, moved).await?;
        progress.tell(|| info!(jobs = moved.jobs(), of, originals = moved.originals, "jobs moved so far"));
        cursor = next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn move_page(
    from: &Home,
    to: &Home,
    destination: Destination,
    mut entries: Vec<TransferEntry>,
    moved: &mut Migrated,
) -> Result<(), MigrateError> {
    let ids: Vec<_> = entries.iter().filter_map(job_of).map(|job| job.record.id).collect();
    let there: HashSet<JobId> = {
        let known = to.queue.known(&ids).await?;
        ids.iter().zip(known).filter(|(_, known)| *known != KnownJob::Unknown).map(|(id, _)| *id).collect()
    };
    let live: Vec<_> =
        entries.iter().filter_map(job_of).filter(|job| !job.state.is_terminal()).map(|job| job.record.id).collect();
    let copies = live.iter().copied().filter(|id| !there.contains(id)).map(async |id| {
        let copied = tried(async || copy_upload(&*from.spool, &*to.spool, id).await).await?;
        Ok::<_, MigrateError>((id, copied))
    });
    let outcomes: Vec<_> = stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut missing = HashSet::new();
    for (id, copied) in outcomes {
        match copied {
            Copied::Whole { bytes } => moved.original(bytes),
            // It was there when it was looked for.
            Copied::Missing if destination == Destination::Nodes => {
                return Err(MigrateError::OriginalsMissing { count: 1, ids: id.to_string() });
            }
            Copied::Missing => _ = missing.insert(id),
        }
    }
    entries.retain(|entry| job_of(entry).is_none_or(|job| !missing.contains(&job.record.id)));
    for entry in &entries {
        moved.entry(entry);
    }
    let expected: Vec<_> =
        entries.iter().filter_map(job_of).map(|job| (job.record.id, job.state.is_terminal())).collect();
    tried(async || Ok(to.queue.import(entries.clone()).await?)).await?;
    reached(MigrationStep::PageImported);
    for id in live.iter().filter(|id| !missing.contains(id)) {
        tried(async || copy_journal(&*from.spool, &*to.spool, *id).await).await?;
    }
    reached(MigrationStep::JournalsCopied);
    let ids: Vec<_> = expected.iter().map(|(id, _)| *id).collect();
    for ((id, has_ended), known) in expected.iter().zip(to.queue.known(&ids).await?) {
        let is_there = match known {
            KnownJob::Unknown => false,
            KnownJob::Live => !has_ended,
            KnownJob::Ended(_) => *has_ended,
        };
        if !is_there {
            return Err(MigrateError::NotThere { job: *id });
        }
    }
    Ok(())
}

fn job_of(entry: &TransferEntry) -> Option<&crate::queue::Job> {
    match entry {
        TransferEntry::Job(job) => Some(job.job()),
        TransferEntry::UsedToken { .. } => None,
    }
}

/// What copying an upload came to.
enum Copied {
    /// It is there, and its bytes are those that were accepted.
    Whole {
        bytes: u64,
    },
    Missing,
}

/// Original and manifest of an accepted upload. Durable and read again when this returns.
async fn copy_upload(from: &dyn Spool, to: &dyn Spool, id: JobId) -> Result<Copied, MigrateError> {
    let record = match from.manifest(id).await? {
        None => return Ok(Copied::Missing),
        Some(SpoolEntry::Whole(record)) => record,
        Some(SpoolEntry::Damaged { place, why }) => {
            return Err(MigrateError::Original { job: id, why: format!("{place}: {why}") });
        }
    };
    let whole = Copied::Whole { bytes: record.original.bytes };
    // An earlier run may have had it there already.
    if to.holds(id).await? && check(to, &record).await.is_ok() {
        return Ok(whole);
    }
    let copied = copy_original(from, to, &record).await;
    from.attempt_ended(id).await;
    copied?;
    reached(MigrationStep::OriginalCopied);
    check(to, &record).await?;
    Ok(whole)
}

async fn copy_original(from: &dyn Spool, to: &dyn Spool, record: &JobRecord) -> Result<(), MigrateError> {
    let mut original = tokio::fs::File::from_std(from.open_original(record).await?);
    let mut incoming = to.receive(record.id).await?;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = (&mut original).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await;
        read.map_err(|error| MigrateError::Original { job: record.id, why: error.to_string() })?;
        if chunk.is_empty() {
            break;
        }
        incoming.write(Bytes::from(chunk)).await?;
    }
    let received = incoming.finish().await?;
    hold_to(record, received.bytes, received.sha256)?;
    Ok(received.accept(record).await?)
}

/// Reads an original again, where it is.
async fn check(spool: &dyn Spool, record: &JobRecord) -> Result<(), MigrateError> {
    let opened = spool.open_original(record).await;
    let hashed = match opened {
        Ok(mut file) => {
            spawn_blocking(move || {
                let mut hasher = Hashing { hasher: ContentHasher::default(), bytes: 0 };
                std::io::copy(&mut file, &mut hasher).map(|_| (hasher.bytes, hasher.hasher.finish()))
            })
            .await
        }
        Err(error) => {
            spool.attempt_ended(record.id).await;
            return Err(error.into());
        }
    };
    spool.attempt_ended(record.id).await;
    let (bytes, sha256) = hashed?.map_err(|error| MigrateError::Original { job: record.id, why: error.to_string() })?;
    hold_to(record, bytes, sha256)
}

struct Hashing {
    hasher: ContentHasher,
    bytes: u64,
}

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn hold_to(record: &JobRecord, bytes: u64, sha256: ContentHash) -> Result<(), MigrateError> {
    let accepted = &record.original;
    if (bytes, sha256) == (accepted.bytes, accepted.sha256) {
        return Ok(());
    }
    let why = format!(
        "it has {bytes} bytes with the SHA-256 {sha256}, and {} with {} were accepted",
        accepted.bytes, accepted.sha256
    );
    Err(MigrateError::Original { job: record.id, why })
}

/// What a live job has noted, so that nothing that is stored is stored again. Adds what is missing behind what is there.
async fn copy_journal(from: &dyn Spool, to: &dyn Spool, id: JobId) -> Result<(), MigrateError> {
    let noted = from.journal_entries(id).await?;
    let there = to.journal_entries(id).await?;
    if noted == there {
        return Ok(());
    }
    let journal = to.journal(id).await?;
    for line in noted.stored.iter().skip(there.stored.len()) {
        journal.append_stored(line.clone()).await?;
    }
    for file in noted.made.iter().skip(there.made.len()) {
        journal.append_made(file.clone()).await?;
    }
    if let Some(placeholder) = noted.placeholder.clone().filter(|_| noted.placeholder != there.placeholder) {
        journal.append_placeholder(placeholder, Durability::Soon).await?;
    }
    if let (Some(at), None) = (noted.all_made_at, there.all_made_at) {
        journal.append_all_made(at).await?;
    }
    to.attempt_ended(id).await;
    if to.journal_entries(id).await? == noted { Ok(()) } else { Err(MigrateError::Journal { job: id }) }
}

/// Uploads that were accepted, and that no queue knows: the next start queues them, wherever that is.
pub(super) async fn move_waiting_uploads(from: &Home, to: &Home, moved: &mut Migrated) -> Result<(), MigrateError> {
    let mut cursor = None;
    loop {
        let SpoolPage { uploads, strange, next } = from.spool.uploads(cursor).await?;
        for place in strange {
            warn!(place, "no upload, though it lies among them; it stays where it is");
        }
        let ids: Vec<_> = uploads.into_iter().map(|upload| upload.id).collect();
        for ids in ids.chunks(KNOWN_AT_ONCE) {
            let (here, there) = (from.queue.known(ids).await?, to.queue.known(ids).await?);
            for ((id, here), there) in ids.iter().zip(here).zip(there) {
                if (here, there) == (KnownJob::Unknown, KnownJob::Unknown) {
                    move_waiting_upload(from, to, *id, moved).await?;
                }
            }
        }
        cursor = next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn move_waiting_upload(from: &Home, to: &Home, id: JobId, moved: &mut Migrated) -> Result<(), MigrateError> {
    match tried(async || copy_upload(&*from.spool, &*to.spool, id).await).await {
        Ok(Copied::Whole { bytes }) => {
            moved.original(bytes);
            moved.waiting_uploads += 1;
            Ok(())
        }
        Ok(Copied::Missing) => Ok(()),
        // No server could use it either.
        Err(MigrateError::Original { job, why }) => {
            warn!(job_id = %job, why, "damaged upload; it stays where it is");
            moved.damaged += 1;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

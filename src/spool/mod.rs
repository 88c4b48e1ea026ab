//! Originals and manifests from the moment an upload is accepted until its job has ended.
//!
//! The spool, not the queue, is the truth about what was accepted: what it has and the queue doesn't know is queued again.
//! On one machine it is a directory ([`DirectorySpool`]); many nodes share a bucket ([`BucketSpool`]), and have on their own
//! disk only what they work on. Both pass the suite in `tests/it/spool`.

#[cfg(feature = "s3")]
mod bucket;
mod directory;
mod error;
mod journal;
mod made;
mod settings;
mod stored_files;
mod upload;

#[cfg(feature = "s3")]
pub use bucket::{BucketSpool, JournalLines, JournalLinesError, MemoryJournalLines};
pub use directory::DirectorySpool;
pub use error::SpoolError;
pub use journal::{Durability, Journal, JournalEntries, MadeFile, StoredLine};
pub use settings::SpoolSettings;
pub use stored_files::StoredFiles;
pub use upload::{IncomingUpload, Received};

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::durable::{FileError, IoContext};
use crate::job::{JobId, JobRecord, Original, State, StoredFile, UnreadableRecord};

/// One accepted upload, as it is found.
#[derive(Debug)]
pub enum SpoolEntry {
    /// As it was accepted.
    Whole(Box<JobRecord>),
    /// It can't be read: left where it is, for a person to look at.
    Damaged {
        /// Its directory or key.
        place: String,
        /// What is wrong.
        why: String,
    },
}

/// An upload that the spool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpooledUpload {
    /// Its job.
    pub id: JobId,
    /// How long it has been there by the clock of whoever keeps it; none if that is this machine, whose clock its manifest
    /// was made by.
    pub age: Option<Duration>,
}

/// A part of a list of uploads.
#[derive(Clone, Debug, Default)]
pub struct SpoolPage {
    /// In the order in which the spool has them.
    pub uploads: Vec<SpooledUpload>,
    /// The names of what is no upload, though it lies among them.
    pub strange: Vec<String>,
    /// Where the next page begins, if there is one.
    pub next: Option<SpoolCursor>,
}

/// A place in a list of uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolCursor(String);

/// An upload whose job has ended, as the queue knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedUpload {
    /// The job.
    pub id: JobId,
    /// How it ended.
    pub state: State,
    /// How long ago.
    pub ago: Duration,
    /// Whether its callback is still to be delivered.
    pub owes_callback: bool,
}

/// Which uploads have left the spool, and what went wrong with others.
#[derive(Debug, Default)]
pub struct Removal {
    /// Those that have left.
    pub removed: Vec<JobId>,
    /// Why others have not, although they might.
    pub failures: Vec<SpoolError>,
}

impl Removal {
    /// Adds what removing `ids` came to.
    fn add(&mut self, ids: impl IntoIterator<Item = JobId>, outcome: Result<(), SpoolError>) {
        match outcome {
            Ok(()) => self.removed.extend(ids),
            Err(error) => self.failures.push(error),
        }
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Jobs.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Where originals and manifests are, with what their jobs have made and noted.
#[async_trait]
pub trait Spool: Debug + Send + Sync + 'static {
    /// Begins to receive an upload. Dropping what this returns before it is accepted leaves nothing behind.
    async fn receive(&self, id: JobId) -> Result<IncomingUpload, SpoolError>;

    /// A file of this machine with the uploaded bytes of an accepted job. It is there until the attempt has ended.
    async fn fetch(&self, record: &JobRecord) -> Result<PathBuf, SpoolError>;

    /// The uploaded bytes of an accepted job, to be read from their start.
    async fn open_original(&self, record: &JobRecord) -> Result<File, SpoolError> {
        let path = self.fetch(record).await?;
        blocking(move || File::open(&path).context("open", &path)).await
    }

    /// Whether there is anything of this job.
    async fn holds(&self, id: JobId) -> Result<bool, SpoolError>;

    /// Whether what this machine has of the spool is there: without it (a disk that is not mounted), what is missing of one
    /// job says nothing about that job.
    async fn is_there(&self) -> Result<bool, SpoolError>;

    /// A part of the accepted uploads. A list that is read to its end has each that was there all the while.
    async fn uploads(&self, from: Option<SpoolCursor>) -> Result<SpoolPage, SpoolError>;

    /// What was accepted of this job; none if there is nothing.
    async fn manifest(&self, id: JobId) -> Result<Option<SpoolEntry>, SpoolError>;

    /// What this job has noted so far, ready to take more.
    async fn journal(&self, id: JobId) -> Result<Journal, SpoolError>;

    /// What this job has noted so far; nothing if it has not, or has left the spool.
    async fn journal_entries(&self, id: JobId) -> Result<JournalEntries, SpoolError>;

    /// What its journal says is stored of a job, by whichever attempt.
    async fn stored_files(&self, record: &JobRecord) -> Result<Vec<StoredFile>, SpoolError> {
        Ok(StoredFiles::new(record, &self.journal_entries(record.id).await?.stored).files())
    }

    /// Keeps a variant on this machine, until it is in every store. Not durably: it can be made again, and its size and
    /// SHA-256 in the journal say whether it is whole.
    async fn write_made(&self, id: JobId, name: &str, bytes: Bytes) -> Result<(), SpoolError>;

    /// Where a variant of a job is kept.
    fn made(&self, id: JobId, name: &str) -> PathBuf;

    /// Those of `files` that are kept with the size they had.
    async fn whole_made(&self, id: JobId, files: Vec<MadeFile>) -> Result<Vec<MadeFile>, SpoolError>;

    /// Removes a variant that turned out not to be what it was.
    async fn remove_made(&self, id: JobId, name: &str) -> Result<(), SpoolError>;

    /// An attempt of this job on this machine is over, whatever it came to: lets go of what only it needed.
    async fn attempt_ended(&self, id: JobId);

    /// A job has ended, durably. Its original leaves the accepted uploads, unless it stays for a queue that may forget the end:
    /// then [`Spool::remove_ended`] finds it. That of a cancelled job never stays where it would be queued again. Where the
    /// settings say so, those of failed and cancelled jobs are kept elsewhere: [`Spool::kept`].
    async fn job_ended(&self, id: JobId, state: State) -> Result<(), SpoolError>;

    /// Of uploads whose jobs have ended, those that have to stay no longer leave. Others are left, and to be named again.
    async fn remove_ended(&self, ended: &[EndedUpload]) -> Removal;

    /// Removes an upload that became no job. Twice is harmless.
    async fn remove(&self, id: JobId) -> Result<(), SpoolError>;

    /// A part of the originals of failed and cancelled jobs that are kept beside the accepted uploads, so that those can be run
    /// again; the oldest upload first where the spool is on this machine. One that is read to its end has each that was there all
    /// the while.
    async fn kept(&self, from: Option<SpoolCursor>) -> Result<SpoolPage, SpoolError>;

    /// Whether what is kept takes space on this machine's disk.
    fn keeps_on_disk(&self) -> bool;

    /// What was accepted of this job, whether its original is kept or among the accepted uploads; none if it is gone.
    async fn original_of(&self, id: JobId) -> Result<Option<SpoolEntry>, SpoolError>;

    /// The uploaded bytes of this job, whether they are kept or among the accepted uploads, to be read from their start; none if they
    /// are gone. `original` is what was accepted.
    async fn open_kept(&self, id: JobId, original: &Original) -> Result<Option<File>, SpoolError>;

    /// Accepts the bytes of another job, whose original is kept or among the accepted uploads, once more: for the job of this
    /// record. When this returns true, they and the manifest are as safe as those of an upload; it is false if the original
    /// is gone.
    async fn accept_again(&self, from: JobId, record: &JobRecord) -> Result<bool, SpoolError>;

    /// Removes those of them.
    async fn remove_kept(&self, ids: &[JobId]) -> Result<(), SpoolError>;

    /// Removes all that there is of these jobs, whether it is kept or among the accepted uploads. After an error some may be gone.
    async fn remove_all(&self, ids: &[JobId]) -> Result<(), SpoolError>;

    /// How much there is, roughly.
    async fn usage(&self) -> Result<SpoolUsage, SpoolError>;
}

/// The manifest of a job, as it is written.
fn manifest_of(record: &JobRecord, place: &Path) -> Result<Vec<u8>, FileError> {
    serde_json::to_vec(record).map_err(|error| FileError::new("write the manifest beside", place, error.into()))
}

/// What a manifest says, or what is wrong with it.
fn read_manifest(json: &[u8]) -> Result<JobRecord, UnreadableRecord> {
    serde_json::from_slice(json).map_err(|error| UnreadableRecord::of(json, "", &error))
}

/// Runs `work` on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, SpoolError> {
    match spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(FileError::new("use", Path::new("the spool"), io::Error::other(error)).into()),
        },
    }
}

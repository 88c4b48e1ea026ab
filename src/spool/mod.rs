//! Originals and manifests from the moment an upload is accepted until its job has settled.
//!
//! ```text
//! <data>/spool/incoming/<job id>/original        while it arrives
//! <data>/spool/jobs/<job id>/original            accepted: one rename made it visible
//!                            manifest.json       the JobRecord
//!                            stored.jsonl        the journal: what this job has made, and written where
//!                            made/<name>         variants that are not in every store yet
//! ```
//!
//! The spool, not the database, is the truth about what was accepted. Everything in `jobs/` was fsynced before it got
//! there; everything in `incoming/` is worthless after a restart.

mod journal;
mod made;
mod stored_files;
mod upload;

pub use journal::{Journal, JournalEntries, MadeFile, StoredLine};
pub use stored_files::StoredFiles;
pub use upload::{IncomingUpload, Received};

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::durable::{self, FileError, IoContext};
use crate::failpoint::{Step, reached};
use crate::job::{JobId, JobRecord, StoredFile, UnreadableRecord};

const ORIGINAL: &str = "original";
const MANIFEST: &str = "manifest.json";
const JOURNAL: &str = "stored.jsonl";
const MADE: &str = "made";

/// Why the spool couldn't do something: what was attempted, on which file or directory, and what came of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SpoolError(#[from] FileError);

impl SpoolError {
    /// Whether the disk, or the user's share of it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.0.cause().kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the process, or the machine, has as many files open as it may.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        let errno = self.0.cause().raw_os_error().map(rustix::io::Errno::from_raw_os_error);
        matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
    }

    /// Whether it is the machine's or the operator's doing, whatever was asked for: see [`durable::is_shortage`].
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        durable::is_shortage(self.0.cause())
    }

    /// Whether what was looked for is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.0.cause().kind() == io::ErrorKind::NotFound
    }
}

/// One accepted upload, as found at start.
#[derive(Debug)]
pub enum SpoolEntry {
    /// As it was accepted.
    Whole(Box<JobRecord>),
    /// Its manifest can't be read: left where it is, for a person to look at.
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// The spool's directories.
#[derive(Clone, Debug)]
pub struct Spool {
    incoming: PathBuf,
    jobs: PathBuf,
}

impl Spool {
    /// Opens `<data>/spool`, making what is missing and removing uploads that never arrived whole. Blocks.
    ///
    /// # Errors
    /// The file system's own.
    pub fn open(data_dir: &Path) -> Result<Self, SpoolError> {
        let root = data_dir.join("spool");
        let spool = Self { incoming: root.join("incoming"), jobs: root.join("jobs") };
        if spool.incoming.exists() {
            fs::remove_dir_all(&spool.incoming).context("remove", &spool.incoming)?;
        }
        for dir in [&spool.incoming, &spool.jobs] {
            durable::create_directories(dir)?;
        }
        // Also what was there before: whoever made it may have died before its own fsync.
        for dir in [data_dir, &root, &spool.jobs] {
            durable::sync_directory(dir)?;
        }
        Ok(spool)
    }

    /// Begins to receive an upload. Dropping what this returns before it is accepted leaves nothing behind.
    pub async fn receive(&self, id: JobId) -> Result<IncomingUpload, SpoolError> {
        let (incoming, entry) = (self.incoming.join(id.to_string()), self.job_dir(id));
        blocking(move || IncomingUpload::begin(incoming, entry)).await
    }

    /// The file that holds the uploaded bytes of an accepted job.
    #[must_use]
    pub fn original(&self, id: JobId) -> PathBuf {
        self.job_dir(id).join(ORIGINAL)
    }

    /// The uploaded bytes of an accepted job, to be read from their start.
    pub async fn open_original(&self, id: JobId) -> Result<File, SpoolError> {
        let path = self.original(id);
        blocking(move || File::open(&path).context("open", &path)).await
    }

    /// The directory of all jobs, for whoever counts what is in it.
    #[must_use]
    pub fn jobs_dir(&self) -> &Path {
        &self.jobs
    }

    /// Whether the directory of all jobs is there: without it (a disk that is not mounted), what is missing of one job
    /// says nothing about that job.
    pub async fn is_there(&self) -> Result<bool, SpoolError> {
        let jobs = self.jobs.clone();
        blocking(move || jobs.try_exists().context("look for", &jobs)).await
    }

    /// Puts a variant into the spool, until it is in every store. Not durably: it can be made again, and its size and
    /// SHA-256 in the journal say whether it is whole.
    pub async fn write_made(&self, id: JobId, name: &str, bytes: Bytes) -> Result<(), SpoolError> {
        let (dir, name) = (self.job_dir(id).join(MADE), name.to_owned());
        blocking(move || made::write(&dir, &name, &bytes)).await
    }

    /// Where a variant of a job is in the spool.
    #[must_use]
    pub fn made(&self, id: JobId, name: &str) -> PathBuf {
        self.job_dir(id).join(MADE).join(name)
    }

    /// Those of `files` that are in the spool with the size they had.
    pub async fn whole_made(&self, id: JobId, files: Vec<MadeFile>) -> Result<Vec<MadeFile>, SpoolError> {
        let dir = self.job_dir(id).join(MADE);
        blocking(move || made::whole(&dir, files)).await
    }

    /// Removes a variant that turned out not to be what it was.
    pub async fn remove_made(&self, id: JobId, name: &str) -> Result<(), SpoolError> {
        let path = self.made(id, name);
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", &path),
            _ => Ok(()),
        })
        .await
    }

    /// Whether it holds anything of this job.
    pub async fn holds(&self, id: JobId) -> Result<bool, SpoolError> {
        let dir = self.job_dir(id);
        blocking(move || dir.try_exists().context("look for", &dir)).await
    }

    /// What this job has written so far, ready to take more.
    pub async fn journal(&self, id: JobId) -> Result<Journal, SpoolError> {
        let path = self.job_dir(id).join(JOURNAL);
        blocking(move || Journal::open(path)).await
    }

    /// What its journal says is stored of a job, by whichever attempt: nothing if none was made, or the job has left the
    /// spool.
    pub async fn stored_files(&self, record: &JobRecord) -> Result<Vec<StoredFile>, SpoolError> {
        let path = self.job_dir(record.id).join(JOURNAL);
        let entries = blocking(move || JournalEntries::read(&path)).await?;
        Ok(StoredFiles::new(record, &entries.stored).files())
    }

    /// Removes the entry of a job whose terminal record is durable. Harmless if it is gone already.
    pub async fn remove(&self, id: JobId) -> Result<(), SpoolError> {
        let entry = self.job_dir(id);
        let trash = self.incoming.join(id.to_string());
        blocking(move || remove_entry(&entry, &trash)).await
    }

    /// Every accepted upload, oldest first.
    pub async fn entries(&self) -> Result<Vec<SpoolEntry>, SpoolError> {
        let jobs = self.jobs.clone();
        blocking(move || read_entries(&jobs)).await
    }

    fn job_dir(&self, id: JobId) -> PathBuf {
        self.jobs.join(id.to_string())
    }
}

/// Takes an entry out of sight in one step before deleting it, so that a crash in between can't leave a directory
/// without its manifest.
fn remove_entry(entry: &Path, trash: &Path) -> Result<(), FileError> {
    match fs::rename(entry, trash) {
        Ok(()) => {
            reached(Step::SpoolTrashed);
            made::remove(&trash.join(MADE))?;
            durable::remove_directory_of(trash, &[ORIGINAL, MANIFEST, JOURNAL])
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("remove", entry),
    }
}

fn read_entries(jobs: &Path) -> Result<Vec<SpoolEntry>, FileError> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(jobs).context("list", jobs)? {
        dirs.push(entry.context("list", jobs)?.path());
    }
    // Ids are UUIDs of version 7: by name is by time.
    dirs.sort();
    Ok(dirs.into_iter().map(read_entry).collect())
}

fn read_entry(path: PathBuf) -> SpoolEntry {
    let record = fs::read(path.join(MANIFEST))
        .map_err(|error| format!("its {MANIFEST} can't be read: {error}"))
        .and_then(|bytes| {
            serde_json::from_slice::<JobRecord>(&bytes)
                .map_err(|error| format!("its {MANIFEST} is bad: {}", UnreadableRecord::of(&bytes, "", &error)))
        })
        .and_then(|record| match fs::metadata(path.join(ORIGINAL)) {
            Ok(meta) if meta.len() == record.original.bytes => Ok(record),
            Ok(meta) => Err(format!("its original has {} bytes, not {}", meta.len(), record.original.bytes)),
            Err(error) => Err(format!("its original can't be read: {error}")),
        });
    match record {
        Ok(record) => SpoolEntry::Whole(Box::new(record)),
        Err(why) => SpoolEntry::Damaged { path, why },
    }
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

#[cfg(test)]
mod tests;

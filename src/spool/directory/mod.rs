//! The spool on one machine: a directory.
//!
//! ```text
//! <data>/spool/incoming/<job id>/original        while it arrives
//! <data>/spool/jobs/<job id>/original            accepted: one rename made it visible
//!                            manifest.json       the JobRecord
//!                            stored.jsonl        the journal: what this job has made, and written where
//!                            made/<name>         variants that are not in every store yet
//! <data>/spool/kept/<job id>/original, manifest.json    of a job that failed or was cancelled, where the comparison doesn't look
//! ```
//!
//! Everything in `jobs/` was fsynced before it got there; everything in `incoming/` is worthless after a restart. An entry
//! leaves as soon as its job has ended durably: the queue on the same disk forgets no end. Original and manifest are never written
//! to again, so two entries may share an original.

mod journal_file;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use walkdir::WalkDir;

use self::journal_file::JournalFile;
use super::upload::{Accept, ORIGINAL, StagedUpload};
use super::{
    EndedUpload, IncomingUpload, Journal, JournalEntries, MadeFile, Removal, Spool, SpoolCursor, SpoolEntry,
    SpoolError, SpoolPage, SpoolUsage, SpooledUpload, blocking, made, manifest_of, read_manifest,
};
use crate::durable::{self, BY_UMASK, FileError, IoContext, StagedDirectory, SyncedEntry};
use crate::failpoint::{Step, reached};
use crate::job::{JobId, JobRecord, Original, State};

const MANIFEST: &str = "manifest.json";
const JOURNAL: &str = "stored.jsonl";
const MADE: &str = "made";

/// The spool's directories.
#[derive(Clone, Debug)]
pub struct DirectorySpool {
    incoming: PathBuf,
    jobs: PathBuf,
    kept: PathBuf,
    keeps_failed: bool,
}

impl DirectorySpool {
    /// Opens `<data>/spool`, making what is missing and removing uploads that never arrived whole. Blocks.
    ///
    /// # Errors
    /// The file system's own.
    pub fn open(data_dir: &Path) -> Result<Self, SpoolError> {
        let root = data_dir.join("spool");
        let [incoming, jobs, kept] = ["incoming", "jobs", "kept"].map(|name| root.join(name));
        let spool = Self { incoming, jobs, kept, keeps_failed: true };
        if spool.incoming.exists() {
            fs::remove_dir_all(&spool.incoming).context("remove", &spool.incoming)?;
        }
        for dir in [&spool.incoming, &spool.jobs, &spool.kept] {
            durable::create_directories(dir)?;
        }
        // Also what was there before: whoever made it may have died before its own fsync.
        for dir in [data_dir, &root, &spool.jobs] {
            durable::sync_directory(dir)?;
        }
        Ok(spool)
    }

    /// The same; the originals of failed and cancelled jobs are kept, as they are otherwise, or not.
    #[must_use]
    pub fn keeping_failed(self, keeps_failed: bool) -> Self {
        Self { keeps_failed, ..self }
    }

    fn job_dir(&self, id: JobId) -> PathBuf {
        self.jobs.join(id.to_string())
    }

    fn kept_dir(&self, id: JobId) -> PathBuf {
        self.kept.join(id.to_string())
    }

    /// Where the original of a job may be. It moves from the second to the first, so one that isn't in either is looked for in the
    /// first again.
    fn places_of(&self, id: JobId) -> [PathBuf; 3] {
        [self.kept_dir(id), self.job_dir(id), self.kept_dir(id)]
    }
}

#[async_trait]
impl Spool for DirectorySpool {
    async fn receive(&self, id: JobId) -> Result<IncomingUpload, SpoolError> {
        let (incoming, entry) = (self.incoming.join(id.to_string()), Entry { path: self.job_dir(id) });
        blocking(move || {
            let upload = IncomingUpload::begin(incoming, Arc::new(entry))?;
            reached(Step::UploadBegun);
            Ok(upload)
        })
        .await
    }

    async fn fetch(&self, record: &JobRecord) -> Result<PathBuf, SpoolError> {
        Ok(self.job_dir(record.id).join(ORIGINAL))
    }

    async fn holds(&self, id: JobId) -> Result<bool, SpoolError> {
        let dir = self.job_dir(id);
        blocking(move || dir.try_exists().context("look for", &dir)).await
    }

    async fn is_there(&self) -> Result<bool, SpoolError> {
        let jobs = self.jobs.clone();
        blocking(move || jobs.try_exists().context("look for", &jobs)).await
    }

    /// All of them, oldest first: names are little beside what they name.
    async fn uploads(&self, _: Option<SpoolCursor>) -> Result<SpoolPage, SpoolError> {
        let jobs = self.jobs.clone();
        blocking(move || list(&jobs)).await
    }

    async fn manifest(&self, id: JobId) -> Result<Option<SpoolEntry>, SpoolError> {
        let dir = self.job_dir(id);
        blocking(move || read_entry(&dir)).await
    }

    async fn journal(&self, id: JobId) -> Result<Journal, SpoolError> {
        let path = self.job_dir(id).join(JOURNAL);
        blocking(move || {
            let (file, earlier) = JournalFile::open(path)?;
            Ok(Journal::new(earlier, Arc::new(file)))
        })
        .await
    }

    async fn journal_entries(&self, id: JobId) -> Result<JournalEntries, SpoolError> {
        let path = self.job_dir(id).join(JOURNAL);
        blocking(move || journal_file::read(&path)).await
    }

    async fn write_made(&self, id: JobId, name: &str, bytes: Bytes) -> Result<(), SpoolError> {
        let (dir, name) = (self.job_dir(id).join(MADE), name.to_owned());
        blocking(move || made::write(&dir, &name, &bytes)).await
    }

    fn made(&self, id: JobId, name: &str) -> PathBuf {
        self.job_dir(id).join(MADE).join(name)
    }

    async fn whole_made(&self, id: JobId, files: Vec<MadeFile>) -> Result<Vec<MadeFile>, SpoolError> {
        let dir = self.job_dir(id).join(MADE);
        blocking(move || made::whole(&dir, files)).await
    }

    async fn remove_made(&self, id: JobId, name: &str) -> Result<(), SpoolError> {
        let path = self.made(id, name);
        blocking(move || made::remove_one(&path)).await
    }

    /// The next attempt, which is on this machine too, goes on with what is there.
    async fn attempt_ended(&self, _: JobId) {}

    async fn job_ended(&self, id: JobId, state: State) -> Result<(), SpoolError> {
        if state == State::Completed || !self.keeps_failed {
            return self.remove(id).await;
        }
        let (entry, kept) = (self.job_dir(id), self.kept_dir(id));
        blocking(move || keep_entry(&entry, &kept)).await
    }

    async fn remove_ended(&self, ended: &[EndedUpload]) -> Removal {
        let mut removal = Removal::default();
        for upload in ended {
            removal.add([upload.id], self.job_ended(upload.id, upload.state).await);
        }
        removal
    }

    async fn remove(&self, id: JobId) -> Result<(), SpoolError> {
        let (entry, trash) = (self.job_dir(id), self.incoming.join(id.to_string()));
        blocking(move || remove_entry(&entry, &trash)).await
    }

    /// All of it, oldest first.
    async fn kept(&self, _: Option<SpoolCursor>) -> Result<SpoolPage, SpoolError> {
        let kept = self.kept.clone();
        blocking(move || list(&kept)).await
    }

    fn keeps_on_disk(&self) -> bool {
        true
    }

    async fn original_of(&self, id: JobId) -> Result<Option<SpoolEntry>, SpoolError> {
        let places = self.places_of(id);
        blocking(move || {
            for place in places {
                match read_entry(&place)? {
                    // It has been moved while it was read.
                    Some(SpoolEntry::Damaged { .. }) if !place.try_exists().context("look for", &place)? => {}
                    Some(entry) => return Ok(Some(entry)),
                    None => {}
                }
            }
            Ok(None)
        })
        .await
    }

    async fn open_kept(&self, id: JobId, _: &Original) -> Result<Option<File>, SpoolError> {
        let originals = self.places_of(id).map(|place| place.join(ORIGINAL));
        blocking(move || {
            for original in originals {
                match File::open(&original) {
                    Ok(file) => return Ok(Some(file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).context("open", &original),
                }
            }
            Ok(None)
        })
        .await
    }

    async fn accept_again(&self, from: JobId, record: &JobRecord) -> Result<bool, SpoolError> {
        let (incoming, entry) = (self.incoming.join(record.id.to_string()), self.job_dir(record.id));
        let (originals, manifest) =
            (self.places_of(from).map(|place| place.join(ORIGINAL)), manifest_of(record, &entry)?);
        blocking(move || {
            let mut staged = StagedDirectory::create(incoming)?;
            for original in originals {
                match staged.adopt_file(ORIGINAL, &original) {
                    Ok(original) => return publish(staged, original, &manifest, &entry).map(|()| true),
                    Err(error) if error.cause().kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(false)
        })
        .await
    }

    async fn remove_kept(&self, ids: &[JobId]) -> Result<(), SpoolError> {
        for id in ids {
            let (entry, trash) = (self.kept_dir(*id), self.incoming.join(id.to_string()));
            blocking(move || remove_entry(&entry, &trash)).await?;
        }
        Ok(())
    }

    async fn remove_all(&self, ids: &[JobId]) -> Result<(), SpoolError> {
        let places = |id: &JobId| ([self.job_dir(*id), self.kept_dir(*id)], self.incoming.join(id.to_string()));
        let all: Vec<_> = ids.iter().map(places).collect();
        blocking(move || {
            all.iter().try_for_each(|(places, trash)| places.iter().try_for_each(|place| remove_entry(place, trash)))
        })
        .await
    }

    /// What can't be looked at counts as nothing.
    async fn usage(&self) -> Result<SpoolUsage, SpoolError> {
        let jobs = self.jobs.clone();
        blocking(move || {
            let entries = WalkDir::new(&jobs).min_depth(1).max_depth(1).into_iter().filter_map(Result::ok).count();
            let files = WalkDir::new(&jobs).into_iter().filter_map(|entry| entry.ok()?.metadata().ok());
            let bytes = files.filter(fs::Metadata::is_file).map(|file| file.len()).sum();
            Ok(SpoolUsage { entries: entries as u64, bytes })
        })
        .await
    }
}

/// Where an upload goes when it is accepted.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
}

#[async_trait]
impl Accept for Entry {
    async fn accept(&self, upload: StagedUpload, manifest: Vec<u8>, _: &JobRecord) -> Result<(), SpoolError> {
        let entry = self.path.clone();
        blocking(move || publish_upload(upload, &manifest, &entry)).await
    }
}

fn publish_upload(mut upload: StagedUpload, manifest: &[u8], entry: &Path) -> Result<(), FileError> {
    let staged = upload.take_directory();
    reached(Step::UploadBeforeOriginalFsync);
    let original = upload.file.sync()?;
    reached(Step::UploadAfterOriginalFsync);
    publish(staged, original, manifest, entry)
}

/// The original is on disk; the manifest is fsynced, the directory that holds both is renamed, and the one that holds it fsynced.
fn publish(mut staged: StagedDirectory, original: SyncedEntry, manifest: &[u8], entry: &Path) -> Result<(), FileError> {
    let mut file = staged.create_file(MANIFEST, BY_UMASK)?;
    file.write_all(manifest)?;
    let manifest = file.sync()?;
    reached(Step::UploadAfterManifestFsync);
    let synced = staged.sync(&[original, manifest])?;
    reached(Step::UploadBeforeRename);
    synced.publish(entry, || reached(Step::UploadAfterRename))
}

/// Moves an entry to where the comparison doesn't look, in one step, and removes what only attempts needed. One that comes back after
/// a loss of power is found by the comparison.
fn keep_entry(entry: &Path, kept: &Path) -> Result<(), FileError> {
    match fs::rename(entry, kept) {
        Ok(()) => reached(Step::SpoolKept),
        // It has been moved, or removed, before.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).context("keep", entry),
    }
    made::remove(&kept.join(MADE))?;
    made::remove_one(&kept.join(JOURNAL))
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

fn list(jobs: &Path) -> Result<SpoolPage, FileError> {
    let mut page = SpoolPage::default();
    for entry in fs::read_dir(jobs).context("list", jobs)? {
        let path = entry.context("list", jobs)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.parse::<JobId>() {
            Ok(id) if id.to_string() == name => page.uploads.push(SpooledUpload { id, age: None }),
            _ => page.strange.push(path.display().to_string()),
        }
    }
    // Ids are UUIDs of version 7: by id is by time.
    page.uploads.sort_by_key(|upload| upload.id);
    Ok(page)
}

fn read_entry(dir: &Path) -> Result<Option<SpoolEntry>, FileError> {
    if !dir.try_exists().context("look for", dir)? {
        return Ok(None);
    }
    let record = fs::read(dir.join(MANIFEST))
        .map_err(|error| format!("its {MANIFEST} can't be read: {error}"))
        .and_then(|bytes| read_manifest(&bytes).map_err(|error| format!("its {MANIFEST} is bad: {error}")))
        .and_then(|record| match fs::metadata(dir.join(ORIGINAL)) {
            Ok(meta) if meta.len() == record.original.bytes => Ok(record),
            Ok(meta) => Err(format!("its original has {} bytes, not {}", meta.len(), record.original.bytes)),
            Err(error) => Err(format!("its original can't be read: {error}")),
        });
    Ok(Some(match record {
        Ok(record) => SpoolEntry::Whole(Box::new(record)),
        Err(why) => SpoolEntry::Damaged { place: dir.display().to_string(), why },
    }))
}

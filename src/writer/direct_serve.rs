//! The directory that Pixerve serves itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use futures_util::{Stream, StreamExt, stream};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::body::BodyReader;
use super::failure::off_the_runtime;
use super::{
    Deletion, Failure, FileList, FoundFile, FoundFiles, Object, ObjectBytes, ProbeOutcome, WriteError, WriterBackend,
};
use crate::durable::{
    self, Existing, FileError, OWNER_ONLY, PUBLIC, PUBLIC_DIRECTORY, ParentDirectory, StagedFile, TEMPORARY_SUFFIX,
};
use crate::failpoint::{Step, reached};
use crate::job::{Stored, SubDir};

/// Bytes of a file name that every usual file system takes.
const NAME_BYTES_MAX: usize = 255;

/// Older half-written files are what a crash left. Younger ones may be another server's, which serves the same directory:
/// none is written for so long.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// Bytes of a file that are read at once.
const COPY_BYTES: usize = 1024 * 1024;

/// How long a disk may take for a piece of a file.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Files of a list that are told of at once, and how many such parts wait for whoever reads it.
const LISTED_AT_ONCE: usize = 512;
const LISTS_WAITING: usize = 2;

/// What the location of a served file starts with.
pub(super) const LOCATION_BASE: &str = "/files/";

/// Tries at a file whose half-written bytes, or whose directory, somebody removes meanwhile.
const WRITE_TRIES: usize = 3;

/// Stores files beneath one directory, which the operator chose.
///
/// Every component is opened by its parent's descriptor and never through a symbolic link. That keeps a write inside
/// even while someone swaps directories for links, and needs no `openat2`, which some sandboxes lack.
#[derive(Clone)]
pub struct DirectServe {
    root: Arc<Root>,
    /// How the names of this server's half-written files begin. Other servers may serve the same directory.
    temporary_prefix: Arc<str>,
}

/// The served directory. It is opened for each write: an operator may restore one that was lost, or mount it again.
struct Root {
    path: PathBuf,
    /// The file system that it was on at the start.
    device: u64,
}

impl Root {
    fn open(&self) -> io::Result<Dir> {
        // Not by cap-std, whose own descriptors can't be fsynced. The root itself may be a link: it is the operator's.
        let file = File::open(&self.path)?;
        if file.metadata()?.dev() != self.device {
            // What lies beneath a mount that is gone is not what is served.
            let detail = "the file system that was mounted on the serve directory at the start is not there";
            return Err(io::Error::new(io::ErrorKind::NotFound, detail));
        }
        Ok(Dir::from_std_file(file))
    }
}

impl DirectServe {
    /// Opens the directory `root`, making it if it is missing, and removes what a crash left half-written: by `server` (a
    /// UUID, or the like), or long ago by another. Blocks.
    ///
    /// # Errors
    /// If it can't be made, opened or listed.
    pub fn open(root: &Path, server: &str) -> Result<Self, WriteError> {
        let what = || format!("open the serve directory {}", root.display());
        Self::open_swept(root, &format!(".{server}-")).map_err(|error| Failure::of_own_directory(&error).on(what()))
    }

    fn open_swept(root: &Path, temporary_prefix: &str) -> io::Result<Self> {
        durable::create_directories(root).map_err(FileError::into_cause)?;
        let device = std::fs::metadata(root)?.dev();
        let opened = Root { path: root.to_owned(), device };
        let swept = sweep(&opened.open()?, SubDir::SEGMENTS_MAX, temporary_prefix)?;
        if swept > 0 {
            tracing::info!(files = swept, root = %root.display(), "removed temporary files of an earlier run");
        }
        Ok(Self { root: Arc::new(opened), temporary_prefix: temporary_prefix.into() })
    }

    fn put_blocking(&self, object: &Object) -> Result<(), Failure> {
        if !is_plain_name(&object.name) {
            return Err(Failure::permanent("the name is not one of [A-Za-z0-9._-] that starts without a dot"));
        }
        let mut tries = 1;
        loop {
            let mut body = BodyReader::open(object).map_err(|error| Failure::of_source(&error))?;
            let written = self.sub_dir(&object.sub_dir).and_then(|dir| self.write(&dir, object, &mut body));
            match written {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < WRITE_TRIES => tries += 1,
                written => return written.map_err(|error| Failure::of_own_directory(&error)),
            }
        }
    }

    /// The directory `sub_dir` below the root, made durably where it is missing.
    fn sub_dir(&self, sub_dir: &SubDir) -> io::Result<Dir> {
        let mut dir = self.root.open()?;
        for segment in sub_dir.segments() {
            let made = match dir.create_dir(segment) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                made => made.is_ok(),
            };
            // Also when it was there before: whoever made it may have died before its own fsync.
            sync_dir(&dir)?;
            dir = open_dir(&dir, segment)?;
            if made {
                // Whatever the umask: what is served may be read by other programs too, such as a proxy.
                rustix::fs::fchmod(&dir, Mode::from_raw_mode(PUBLIC_DIRECTORY))?;
            }
        }
        Ok(dir)
    }

    /// Writes `object` into `dir`, durably.
    fn write(&self, dir: &Dir, object: &Object, body: &mut BodyReader) -> io::Result<()> {
        let mut staged = self.staged(dir)?;
        loop {
            // What can't be read is no trouble of this directory.
            let chunk = body.chunk(COPY_BYTES).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if chunk.is_empty() {
                break;
            }
            staged.write_all(&chunk)?;
        }
        staged.set_mode(PUBLIC).map_err(FileError::into_cause)?;
        reached(Step::WriteBeforeFsync);
        let synced = staged.sync().map_err(FileError::into_cause)?;
        reached(Step::WriteBeforeRename);
        let published = synced.publish(object.name.as_ref(), Existing::Replace, || reached(Step::WriteAfterRename));
        published.map_err(FileError::into_cause)
    }

    /// Removes the file `name` below `sub_dir`, durably; a link of that name itself. Whether it was there.
    fn delete_blocking(&self, sub_dir: &SubDir, name: &str) -> io::Result<bool> {
        let Some(dir) = self.existing(sub_dir)? else { return Ok(false) };
        let was_there = match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            Err(error) => return Err(error.into()),
        };
        // Also when it wasn't there: whoever removed it may have died before its own fsync.
        sync_dir(&dir)?;
        Ok(was_there)
    }

    /// The file `name` below `sub_dir`, and its size; none if there is none.
    fn open_blocking(&self, sub_dir: &SubDir, name: &str) -> io::Result<Option<(File, u64)>> {
        let Some(dir) = self.existing(sub_dir)? else { return Ok(None) };
        // What is no file may hang whoever opens it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Errno::ISDIR.into());
        }
        Ok(Some((file, metadata.len())))
    }

    /// What is known of the file `name` below `sub_dir`; none if there is none.
    fn look_blocking(&self, sub_dir: &SubDir, name: &str) -> io::Result<Option<FoundFile>> {
        let Some(dir) = self.existing(sub_dir)? else { return Ok(None) };
        match dir.symlink_metadata(name) {
            Ok(found) if found.is_file() => {
                let location = format!("{LOCATION_BASE}{}", sub_dir.join(name));
                Ok(Some(FoundFile { location, bytes: found.len(), age: age_of(&found)? }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory `sub_dir` below the root, if it is there.
    fn existing(&self, sub_dir: &SubDir) -> io::Result<Option<Dir>> {
        // The root must be there: files of one that is not mounted are not gone.
        let mut dir = self.root.open()?;
        for segment in sub_dir.segments() {
            dir = match open_dir(&dir, segment) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
        }
        Ok(Some(dir))
    }

    fn staged<'d>(&self, dir: &'d Dir) -> io::Result<StagedFile<&'d Dir>> {
        StagedFile::create(dir, self.temporary_name(), OWNER_ONLY).map_err(FileError::into_cause)
    }

    /// Starts with a dot, so that no one is ever served one, and is nobody else's.
    fn temporary_name(&self) -> String {
        format!("{}{}{TEMPORARY_SUFFIX}", self.temporary_prefix, Uuid::now_v7().simple())
    }

    fn probe_blocking(&self) -> Result<(), Failure> {
        let probed = self.root.open().and_then(|root| self.staged(&root).map(drop));
        probed.map_err(|error| Failure::of_own_directory(&error))
    }
}

#[async_trait]
impl WriterBackend for DirectServe {
    fn name(&self) -> &'static str {
        "directHost"
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        let path = object.sub_dir.join(&object.name);
        let (this, object) = (self.clone(), object.clone());
        off_the_runtime(move || this.put_blocking(&object))
            .await
            .map_err(|failure| failure.on(format!("write `{path}` into the serve directory")))?;
        Ok(Stored { backend: self.name().to_owned(), location: format!("{LOCATION_BASE}{path}") })
    }

    /// Not interrupted: a thread writes, and the file would appear although nobody waits for it. It takes no longer than
    /// a disk does.
    async fn put_until(&self, object: &Object, _: &CancellationToken) -> Result<Stored, WriteError> {
        self.put(object).await
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        let what = || format!("delete `{location}` from the serve directory");
        let (sub_dir, name) = served_at(location).ok_or_else(|| Failure::elsewhere(location).on(what()))?;
        let (this, name) = (self.clone(), name.to_owned());
        let deleted = move || this.delete_blocking(&sub_dir, &name).map_err(|error| Failure::of_own_directory(&error));
        let was_there = off_the_runtime(deleted).await.map_err(|failure| failure.on(what()))?;
        Ok(Deletion { was_there, keeps_versions: false })
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let what = format!("get `{location}` from the serve directory");
        let (sub_dir, name) = served_at(location).ok_or_else(|| Failure::elsewhere(location).on(&*what))?;
        let (this, name) = (self.clone(), name.to_owned());
        let opened = off_the_runtime(move || {
            let opened = this.open_blocking(&sub_dir, &name).map_err(|error| Failure::of_own_directory(&error))?;
            opened.ok_or_else(Failure::missing)
        });
        let (file, bytes) = opened.await.map_err(|failure| failure.on(&*what))?;
        ObjectBytes::of(what, bytes, bytes_max, READ_TIMEOUT, pieces(file).boxed())
    }

    /// A thread walks through it, no further ahead than is read.
    async fn list(&self) -> Result<FileList, WriteError> {
        const WHAT: &str = "list the serve directory";
        let root = self.root.clone();
        let opened = off_the_runtime(move || root.open().map_err(|error| Failure::of_own_directory(&error)));
        let root = opened.await.map_err(|failure| failure.on(WHAT))?;
        let (parts, mut listed) = mpsc::channel(LISTS_WAITING);
        tokio::task::spawn_blocking(move || {
            let mut walk = Walk { parts, part: FoundFiles::default() };
            let walked = walk.through(&root, "", SubDir::SEGMENTS_MAX);
            walk.end(walked.map_err(|error| Failure::of_own_directory(&error).on(WHAT)));
        });
        Ok(stream::poll_fn(move |context| listed.poll_recv(context)).boxed())
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        let what = || format!("look for `{location}` in the serve directory");
        let (sub_dir, name) = served_at(location).ok_or_else(|| Failure::elsewhere(location).on(what()))?;
        let (this, name) = (self.clone(), name.to_owned());
        let looked = move || this.look_blocking(&sub_dir, &name).map_err(|error| Failure::of_own_directory(&error));
        off_the_runtime(looked).await.map_err(|failure| failure.on(what()))
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        let this = self.clone();
        off_the_runtime(move || this.probe_blocking())
            .await
            .map_err(|failure| failure.on("write a probe into the serve directory"))?;
        Ok(ProbeOutcome::Deleted)
    }
}

impl ParentDirectory for &Dir {
    fn path_of(&self, name: &OsStr) -> PathBuf {
        // Where the directory is, is for the caller to say.
        name.into()
    }
}

/// Tells of what lies in directories, part by part.
struct Walk {
    parts: mpsc::Sender<Result<FoundFiles, WriteError>>,
    part: FoundFiles,
}

impl Walk {
    /// Goes through `dir`, which is at `path`, and `depth` levels below. Answers whether somebody still listens.
    fn through(&mut self, dir: &Dir, path: &str, depth: usize) -> io::Result<bool> {
        for entry in dir.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.part.foreign += 1;
                continue;
            };
            let kind = entry.file_type()?;
            if kind.is_dir() && depth > 0 && SubDir::is_segment(name) {
                match open_dir(dir, name) {
                    // It has just gone, or something else is there now.
                    Err(error) if is_gone(&error) => {}
                    below => {
                        if !self.through(&below?, &format!("{path}{name}/"), depth - 1)? {
                            return Ok(false);
                        }
                    }
                }
            } else if kind.is_file() && is_plain_name(name) {
                match entry.metadata() {
                    Err(error) if is_gone(&error) => {}
                    found => {
                        let found = found?;
                        let (location, age) = (format!("{LOCATION_BASE}{path}{name}"), age_of(&found)?);
                        self.part.files.push(FoundFile { location, bytes: found.len(), age });
                    }
                }
            } else {
                self.part.foreign += 1;
            }
            if self.part.files.len() >= LISTED_AT_ONCE && !self.tell() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tell(&mut self) -> bool {
        self.parts.blocking_send(Ok(std::mem::take(&mut self.part))).is_ok()
    }

    fn end(mut self, walked: Result<bool, WriteError>) {
        match walked {
            Ok(true) => drop(self.tell()),
            Ok(false) => {}
            // Nobody may be there to hear it.
            Err(error) => drop(self.parts.blocking_send(Err(error))),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error().map(Errno::from_raw_os_error) == Some(Errno::LOOP)
}

/// How long ago it was written. What is of a time to come is of now.
fn age_of(found: &cap_std::fs::Metadata) -> io::Result<Duration> {
    Ok(found.modified()?.into_std().elapsed().unwrap_or_default())
}

/// The bytes of `file`, as they are asked for.
fn pieces(file: File) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
    stream::try_unfold(file, |mut file| {
        off_the_runtime(move || {
            let mut piece = Vec::with_capacity(COPY_BYTES);
            let read = (&mut file).take(COPY_BYTES as u64).read_to_end(&mut piece);
            read.map_err(|error| Failure::of_own_directory(&error))?;
            Ok((!piece.is_empty()).then(|| (piece.into(), file)))
        })
    })
}

/// The directories and the name of what is served at `location`; none if nothing of ours can be there.
pub(super) fn served_at(location: &str) -> Option<(SubDir, &str)> {
    let path = location.strip_prefix(LOCATION_BASE)?;
    let (sub_dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let sub_dir = SubDir::parse(sub_dir).filter(|parsed| parsed.join(name) == path)?;
    is_plain_name(name).then_some((sub_dir, name))
}

/// Opens the directory `name` in `parent`, unless it is a symbolic link.
fn open_dir(parent: &Dir, name: &str) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

fn sync_dir(dir: &Dir) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir)?)
}

/// Removes files that a crash left half-written from `dir` and `depth` levels of directories below. Whatever else is there is not ours.
fn sweep(dir: &Dir, depth: usize, own_prefix: &str) -> io::Result<u64> {
    let mut swept = 0;
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) {
            swept += u64::from(remove_leftover(dir, name, own_prefix)?);
        } else if depth > 0 && SubDir::is_segment(name) && entry.file_type()?.is_dir() {
            swept += sweep(&open_dir(dir, name)?, depth - 1, own_prefix)?;
        }
    }
    Ok(swept)
}

/// Whether the half-written file `name` was one of a crash; it is gone then. Another server's may go by itself meanwhile.
fn remove_leftover(dir: &Dir, name: &str, own_prefix: &str) -> io::Result<bool> {
    let removed = dir.symlink_metadata(name).and_then(|found| {
        let is_old = || found.modified().is_ok_and(|at| at.into_std().elapsed().is_ok_and(|age| age >= LEFTOVER_AGE));
        if name.starts_with(own_prefix) || is_old() { dir.remove_file(name).map(|()| true) } else { Ok(false) }
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed,
    }
}

/// Whether a file of this name is served: one of ours.
pub(super) fn is_plain_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

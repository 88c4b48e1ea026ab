//! The directories that Pixerve serves itself: what is there for anyone, and what is private.

use std::collections::BTreeMap;
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
    self, Existing, FileError, OWNER_ONLY, OWNER_ONLY_DIRECTORY, PUBLIC, PUBLIC_DIRECTORY, ParentDirectory, StagedFile,
    TEMPORARY_SUFFIX,
};
use crate::failpoint::{Step, reached};
use crate::job::{ServedArea, ServedPath, Stored, SubDir, is_plain_name};

/// Older half-written files are what a crash left. Younger ones may be another server's, which serves the same directory:
/// none is written for so long.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// Bytes of a file that are read at once.
const COPY_BYTES: usize = 1024 * 1024;

/// Files of a list that are told of at once, and how many such parts wait for whoever reads it.
const LISTED_AT_ONCE: usize = 512;
const LISTS_WAITING: usize = 2;

/// How long a disk may take for a piece of a file.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Tries at a file whose half-written bytes, or whose directory, somebody removes meanwhile.
const WRITE_TRIES: usize = 3;

/// Stores files beneath directories that the operator chose: one for what is served to anyone, one for what is private.
///
/// Every component is opened by its parent's descriptor and never through a symbolic link. That keeps a write inside
/// even while someone swaps directories for links, and needs no `openat2`, which some sandboxes lack.
#[derive(Clone)]
pub struct DirectServe {
    root: Arc<Root>,
    /// None where this server keeps no private files.
    private: Option<Arc<Root>>,
    /// How the names of this server's half-written files begin. Other servers may serve the same directory.
    temporary_prefix: Arc<str>,
}

/// A directory. It is opened for each write: an operator may restore one that was lost, or mount it again.
struct Root {
    path: PathBuf,
    /// What it is in messages.
    name: &'static str,
    /// Permissions of files in it, and of directories.
    modes: Modes,
    /// The file system that it was on at the start.
    device: u64,
}

#[derive(Clone, Copy)]
struct Modes {
    file: u32,
    directory: u32,
}

/// Whatever the umask: what is served may be read by other programs too, such as a proxy.
const SERVED: Modes = Modes { file: PUBLIC, directory: PUBLIC_DIRECTORY };
/// What is private by nobody else.
const PRIVATE: Modes = Modes { file: OWNER_ONLY, directory: OWNER_ONLY_DIRECTORY };

impl Root {
    /// The directory `path`, made if it is missing, without what a crash left half-written in it and `depth` levels of directories
    /// below.
    fn open_swept(path: &Path, name: &'static str, modes: Modes, depth: usize, prefix: &str) -> io::Result<Self> {
        if !path.is_dir() {
            durable::create_directories(path).map_err(FileError::into_cause)?;
            rustix::fs::chmod(path, Mode::from_raw_mode(modes.directory))?;
        }
        let device = std::fs::metadata(path)?.dev();
        let opened = Self { path: path.to_owned(), name, modes, device };
        let swept = sweep(&opened.open()?, depth, prefix)?;
        if swept > 0 {
            tracing::info!(files = swept, root = %path.display(), "removed temporary files of an earlier run");
        }
        Ok(opened)
    }

    fn open(&self) -> io::Result<Dir> {
        // Not by cap-std, whose own descriptors can't be fsynced. The root itself may be a link: it is the operator's.
        let file = File::open(&self.path)?;
        if file.metadata()?.dev() != self.device {
            // What lies beneath a mount that is gone is not what is served.
            let detail = format!("the file system that was mounted on {} at the start is not there", self.name);
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
        let temporary_prefix = format!(".{server}-");
        let root = open_root(root, "the serve directory", SERVED, SubDir::SEGMENTS_MAX, &temporary_prefix)?;
        Ok(Self { root: Arc::new(root), private: None, temporary_prefix: temporary_prefix.into() })
    }

    /// The same, with private files beneath the directory `root`, which is opened like the other. Blocks.
    ///
    /// # Errors
    /// If it can't be made, opened or listed.
    pub fn with_private(self, root: &Path) -> Result<Self, WriteError> {
        // Above a job's own directories there is the owner's.
        let depth = SubDir::SEGMENTS_MAX + 1;
        let private = open_root(root, "the private directory", PRIVATE, depth, &self.temporary_prefix)?;
        Ok(Self { private: Some(Arc::new(private)), ..self })
    }

    /// The root that a file of this area is beneath.
    fn root_of(&self, area: ServedArea) -> io::Result<&Root> {
        match (area, &self.private) {
            (ServedArea::Public, _) => Ok(&self.root),
            (ServedArea::Private(_), Some(private)) => Ok(private),
            (ServedArea::Private(_), None) => {
                let detail = "this server has no directory for private files: PIXERVE_PRIVATE_DIR names one";
                Err(io::Error::new(io::ErrorKind::NotFound, detail))
            }
        }
    }

    fn put_blocking(&self, object: &Object) -> Result<(), Failure> {
        if !is_plain_name(&object.name) {
            return Err(Failure::permanent("the name is not one of [A-Za-z0-9._-] that starts without a dot"));
        }
        let mut tries = 1;
        loop {
            let mut body = BodyReader::open(object).map_err(|error| Failure::of_source(&error))?;
            let written = self.directory(object).and_then(|(dir, modes)| self.write(&dir, object, &mut body, modes));
            match written {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < WRITE_TRIES => tries += 1,
                written => return written.map_err(|error| Failure::of_own_directory(&error)),
            }
        }
    }

    /// The directory of `object`, made durably where it is missing.
    fn directory(&self, object: &Object) -> io::Result<(Dir, Modes)> {
        let (path, root) = (object.served_path(), self.root_of(object.area)?);
        let mut dir = root.open()?;
        for segment in path.directories() {
            let made = match dir.create_dir(&segment) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                made => made.is_ok(),
            };
            // Also when it was there before: whoever made it may have died before its own fsync.
            sync_dir(&dir)?;
            dir = open_dir(&dir, &segment)?;
            if made {
                rustix::fs::fchmod(&dir, Mode::from_raw_mode(root.modes.directory))?;
            }
        }
        Ok((dir, root.modes))
    }

    /// Writes `object` into `dir`, durably.
    fn write(&self, dir: &Dir, object: &Object, body: &mut BodyReader, modes: Modes) -> io::Result<()> {
        let mut staged = self.staged(dir)?;
        loop {
            // What can't be read is no trouble of this directory.
            let chunk = body.chunk(COPY_BYTES).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if chunk.is_empty() {
                break;
            }
            staged.write_all(&chunk)?;
        }
        staged.set_mode(modes.file).map_err(FileError::into_cause)?;
        reached(Step::WriteBeforeFsync);
        let synced = staged.sync().map_err(FileError::into_cause)?;
        reached(Step::WriteBeforeRename);
        let published = synced.publish(object.name.as_ref(), Existing::Replace, || reached(Step::WriteAfterRename));
        published.map_err(FileError::into_cause)
    }

    /// Removes the file at `path`, durably; a link of that name itself. Whether it was there.
    fn delete_blocking(&self, path: &ServedPath) -> io::Result<bool> {
        let Some(dir) = self.existing(path)? else { return Ok(false) };
        let was_there = unlink(&dir, &path.name)?;
        // Also when it wasn't there: whoever removed it may have died before its own fsync.
        sync_dir(&dir)?;
        Ok(was_there)
    }

    /// The same of files of one directory, which is synced once for all of them.
    fn delete_siblings(&self, paths: &[ServedPath]) -> io::Result<Vec<io::Result<bool>>> {
        let Some(first) = paths.first() else { return Ok(Vec::new()) };
        let Some(dir) = self.existing(first)? else { return Ok(paths.iter().map(|_| Ok(false)).collect()) };
        let unlinked = paths.iter().map(|path| unlink(&dir, &path.name)).collect();
        sync_dir(&dir)?;
        Ok(unlinked)
    }

    /// The same of files anywhere: whether each was there.
    fn delete_all_blocking(&self, locations: &[String]) -> Vec<Result<bool, Failure>> {
        let mut outcomes: Vec<_> = locations.iter().map(|location| Err(Failure::elsewhere(location))).collect();
        let mut directories: BTreeMap<&str, (Vec<usize>, Vec<ServedPath>)> = BTreeMap::new();
        for (number, location) in locations.iter().enumerate() {
            if let Some(path) = ServedPath::parse(location) {
                let (numbers, paths) = directories.entry(directory_of(location)).or_default();
                numbers.push(number);
                paths.push(path);
            }
        }
        for (numbers, paths) in directories.into_values() {
            match self.delete_siblings(&paths) {
                Ok(deleted) => {
                    for (number, was_there) in numbers.into_iter().zip(deleted) {
                        outcomes[number] = was_there.map_err(|error| Failure::of_own_directory(&error));
                    }
                }
                Err(error) => {
                    for number in numbers {
                        outcomes[number] = Err(Failure::of_own_directory(&error));
                    }
                }
            }
        }
        outcomes
    }

    /// The file at `path`, and its size; none if there is none.
    fn open_blocking(&self, path: &ServedPath) -> io::Result<Option<(File, u64)>> {
        let Some(dir) = self.existing(path)? else { return Ok(None) };
        // What is no file may hang whoever opens it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&dir, &*path.name, flags, Mode::empty()) {
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

    /// Each root, what locations beneath it begin with, and how deep it is.
    fn areas(&self) -> io::Result<Vec<(Dir, &'static str, usize)>> {
        let mut areas = vec![(self.root.open()?, ServedArea::PUBLIC, SubDir::SEGMENTS_MAX)];
        if let Some(private) = &self.private {
            areas.push((private.open()?, ServedArea::PRIVATE, SubDir::SEGMENTS_MAX + 1));
        }
        Ok(areas)
    }

    /// What is known of the file at `path`; none if there is none.
    fn look_blocking(&self, path: &ServedPath) -> io::Result<Option<FoundFile>> {
        let Some(dir) = self.existing(path)? else { return Ok(None) };
        match dir.symlink_metadata(&path.name) {
            Ok(found) if found.is_file() => {
                Ok(Some(FoundFile { location: path.to_string(), bytes: found.len(), age: age_of(&found)? }))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory that the file at `path` is in, if it is there.
    fn existing(&self, path: &ServedPath) -> io::Result<Option<Dir>> {
        // The root must be there: files of one that is not mounted are not gone.
        let mut dir = self.root_of(path.area)?.open()?;
        for segment in path.directories() {
            dir = match open_dir(&dir, &segment) {
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

    /// What the root of this area is in messages.
    fn name_of(&self, area: ServedArea) -> &'static str {
        self.root_of(area).map_or("the private directory", |root| root.name)
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
        let path = object.served_path();
        let (this, object) = (self.clone(), object.clone());
        off_the_runtime(move || this.put_blocking(&object))
            .await
            .map_err(|failure| failure.on(format!("write `{}` into {}", path.below_root(), self.name_of(path.area))))?;
        Ok(Stored::at(self.name(), path.to_string()))
    }

    /// Not interrupted: a thread writes, and the file would appear although nobody waits for it. It takes no longer than
    /// a disk does.
    async fn put_until(&self, object: &Object, _: &CancellationToken) -> Result<Stored, WriteError> {
        self.put(object).await
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        let what = || format!("delete `{location}` from the directories that are served");
        let path = ServedPath::parse(location).ok_or_else(|| Failure::elsewhere(location).on(what()))?;
        let this = self.clone();
        let deleted = move || this.delete_blocking(&path).map_err(|error| Failure::of_own_directory(&error));
        let was_there = off_the_runtime(deleted).await.map_err(|failure| failure.on(what()))?;
        Ok(Deletion { was_there, keeps_versions: false })
    }

    /// Every directory is synced once.
    async fn delete_all(&self, locations: &[String]) -> Vec<Result<Deletion, WriteError>> {
        let (this, all) = (self.clone(), locations.to_vec());
        let deleted = off_the_runtime(move || Ok(this.delete_all_blocking(&all))).await;
        let deleted = deleted.unwrap_or_else(|failure| locations.iter().map(|_| Err(failure.clone())).collect());
        let outcomes = locations.iter().zip(deleted).map(|(location, was_there)| match was_there {
            Ok(was_there) => Ok(Deletion { was_there, keeps_versions: false }),
            Err(failure) => Err(failure.on(format!("delete `{location}` from the directories that are served"))),
        });
        outcomes.collect()
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let what = format!("get `{location}` from the directories that are served");
        let path = ServedPath::parse(location).ok_or_else(|| Failure::elsewhere(location).on(&*what))?;
        let this = self.clone();
        let opened = off_the_runtime(move || {
            let opened = this.open_blocking(&path).map_err(|error| Failure::of_own_directory(&error))?;
            opened.ok_or_else(Failure::missing)
        });
        let (file, bytes) = opened.await.map_err(|failure| failure.on(&*what))?;
        ObjectBytes::of(what, bytes, bytes_max, READ_TIMEOUT, pieces(file).boxed())
    }

    /// A thread walks through them, no further ahead than is read.
    async fn list(&self) -> Result<FileList, WriteError> {
        const WHAT: &str = "list the directories that are served";
        let this = self.clone();
        let opened = off_the_runtime(move || this.areas().map_err(|error| Failure::of_own_directory(&error)));
        let areas = opened.await.map_err(|failure| failure.on(WHAT))?;
        let (parts, mut listed) = mpsc::channel(LISTS_WAITING);
        tokio::task::spawn_blocking(move || {
            let mut walk = Walk { parts, part: FoundFiles::default() };
            let walked = walk.through_all(&areas);
            walk.end(walked.map_err(|error| Failure::of_own_directory(&error).on(WHAT)));
        });
        Ok(stream::poll_fn(move |context| listed.poll_recv(context)).boxed())
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        let what = || format!("look for `{location}` in the directories that are served");
        let path = ServedPath::parse(location).ok_or_else(|| Failure::elsewhere(location).on(what()))?;
        let this = self.clone();
        let looked = move || this.look_blocking(&path).map_err(|error| Failure::of_own_directory(&error));
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
    /// Goes through all of these.
    fn through_all(&mut self, areas: &[(Dir, &str, usize)]) -> io::Result<bool> {
        for (root, base, depth) in areas {
            if !self.through(root, base, *depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

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
            } else if let Some(path) = ServedPath::parse(&format!("{path}{name}")).filter(|_| kind.is_file()) {
                match entry.metadata() {
                    Err(error) if is_gone(&error) => {}
                    found => {
                        let found = found?;
                        let (location, age) = (path.to_string(), age_of(&found)?);
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

fn open_root(
    path: &Path,
    name: &'static str,
    modes: Modes,
    depth: usize,
    temporary_prefix: &str,
) -> Result<Root, WriteError> {
    let opened = Root::open_swept(path, name, modes, depth, temporary_prefix);
    opened.map_err(|error| Failure::of_own_directory(&error).on(format!("open {name} {}", path.display())))
}

/// Opens the directory `name` in `parent`, unless it is a symbolic link.
fn open_dir(parent: &Dir, name: &str) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

/// Removes the file of this name from `dir`; a link of that name itself. Whether it was there.
fn unlink(dir: &Dir, name: &str) -> io::Result<bool> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// All of a location but the name.
fn directory_of(location: &str) -> &str {
    location.rsplit_once('/').map_or("", |(directory, _)| directory)
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

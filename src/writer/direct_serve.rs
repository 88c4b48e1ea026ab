//! The directory that Pixerve serves itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::body::BodyReader;
use super::failure::off_the_runtime;
use super::{Failure, Object, WriteError, WriterBackend};
use crate::durable::{self, BY_UMASK, Existing, FileError, ParentDirectory, StagedFile};
use crate::failpoint::{Step, reached};
use crate::job::{Stored, SubDir};

/// What the names of half-written files end with; they start with a dot, so no one is ever served one.
const TEMPORARY_SUFFIX: &str = ".pixerve-tmp";

/// Levels of directories a [`SubDir`] can make.
const DEPTH_MAX: usize = 4;

/// Bytes of a file name that every usual file system takes.
const NAME_BYTES_MAX: usize = 255;

/// Stores files beneath one directory, which the operator chose.
///
/// Every component is opened by its parent's descriptor and never through a symbolic link. That keeps a write inside
/// even while someone swaps directories for links, and needs no `openat2`, which some sandboxes lack.
#[derive(Clone)]
pub struct DirectServe {
    root: Arc<Dir>,
}

impl DirectServe {
    /// Opens the directory `root`, making it if it is missing, and removes what a crash left half-written. Blocks.
    ///
    /// # Errors
    /// If it can't be made, opened or listed.
    pub fn open(root: &Path) -> Result<Self, WriteError> {
        let what = || format!("open the serve directory {}", root.display());
        Self::open_swept(root).map_err(|error| Failure::of_io(&error).on(what()))
    }

    fn open_swept(root: &Path) -> io::Result<Self> {
        durable::create_directories(root).map_err(FileError::into_cause)?;
        // Not by cap-std, whose own descriptors can't be fsynced. The root itself may be a link: it is the operator's.
        let dir = Dir::from_std_file(File::open(root)?);
        let swept = sweep(&dir, DEPTH_MAX)?;
        if swept > 0 {
            tracing::info!(files = swept, root = %root.display(), "removed temporary files of an earlier run");
        }
        Ok(Self { root: Arc::new(dir) })
    }

    fn put_blocking(&self, object: &Object) -> Result<(), Failure> {
        if !is_plain_name(&object.name) {
            return Err(Failure::permanent("the name is not one of [A-Za-z0-9._-] that starts without a dot"));
        }
        let dir = self.sub_dir(&object.sub_dir).map_err(|error| Failure::of_io(&error))?;
        write(&dir, object).map_err(|error| Failure::of_io(&error))
    }

    /// The directory `sub_dir` below the root, made durably where it is missing.
    fn sub_dir(&self, sub_dir: &SubDir) -> io::Result<Dir> {
        let mut dir = self.root.try_clone()?;
        for segment in sub_dir.segments() {
            match dir.create_dir(segment) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Also when it was there before: whoever made it may have died before its own fsync.
                _ => sync_dir(&dir)?,
            }
            dir = open_dir(&dir, segment)?;
        }
        Ok(dir)
    }

    fn probe_blocking(&self) -> Result<(), Failure> {
        staged(&self.root).map(drop).map_err(|error| Failure::of_io(&error))
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
        Ok(Stored { backend: self.name().to_owned(), location: format!("/files/{path}") })
    }

    /// Not interrupted: a thread writes, and the file would appear although nobody waits for it. It takes no longer than
    /// a disk does.
    async fn put_until(&self, object: &Object, _: &CancellationToken) -> Result<Stored, WriteError> {
        self.put(object).await
    }

    async fn probe(&self) -> Result<(), WriteError> {
        let this = self.clone();
        off_the_runtime(move || this.probe_blocking())
            .await
            .map_err(|failure| failure.on("write a probe into the serve directory"))
    }
}

/// Starts with a dot, so that no one is ever served one, and is nobody else's.
fn temporary_name() -> String {
    format!(".{}{TEMPORARY_SUFFIX}", Uuid::now_v7().simple())
}

/// Writes `object` into `dir`, durably.
fn write(dir: &Dir, object: &Object) -> io::Result<()> {
    let mut body = BodyReader::open(object)?;
    let mut staged = staged(dir)?;
    io::copy(&mut body, &mut staged)?;
    reached(Step::WriteBeforeFsync);
    let synced = staged.sync().map_err(FileError::into_cause)?;
    reached(Step::WriteBeforeRename);
    let published = synced.publish(object.name.as_ref(), Existing::Replace, || reached(Step::WriteAfterRename));
    published.map_err(FileError::into_cause)
}

fn staged(dir: &Dir) -> io::Result<StagedFile<&Dir>> {
    StagedFile::create(dir, temporary_name(), BY_UMASK).map_err(FileError::into_cause)
}

impl ParentDirectory for &Dir {
    fn path_of(&self, name: &OsStr) -> PathBuf {
        // Where the directory is, is for the caller to say.
        name.into()
    }
}

/// Opens the directory `name` in `parent`, unless it is a symbolic link.
fn open_dir(parent: &Dir, name: &str) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?.into())
}

fn sync_dir(dir: &Dir) -> io::Result<()> {
    Ok(rustix::fs::fsync(dir)?)
}

/// Removes half-written files from `dir` and `depth` levels of directories below. Whatever else is there is not ours.
fn sweep(dir: &Dir, depth: usize) -> io::Result<u64> {
    let mut swept = 0;
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) {
            dir.remove_file(name)?;
            swept += 1;
        } else if depth > 0 && SubDir::is_segment(name) && entry.file_type()?.is_dir() {
            swept += sweep(&open_dir(dir, name)?, depth - 1)?;
        }
    }
    Ok(swept)
}

fn is_plain_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

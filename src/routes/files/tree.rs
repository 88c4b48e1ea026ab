//! Finding a file beneath the serve directory, or the private one, and nothing outside of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::job::ServedPath;

/// Reads a request's path. Segments are decoded one by one, once: an encoded slash is a character of its segment, where it isn't
/// allowed, and what is still encoded afterwards holds a `%`, which isn't.
pub(super) fn parse(path: &str) -> Option<ServedPath> {
    let segments = path.split('/').map(|segment| {
        let decoded = percent_decode_str(segment).decode_utf8().ok()?;
        (!decoded.contains('/')).then_some(decoded)
    });
    ServedPath::parse(&segments.collect::<Option<Vec<_>>>()?.join("/"))
}

/// An opened file and what identifies its content.
#[derive(Debug)]
pub(super) struct OpenedFile {
    pub(super) file: File,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    /// Last written, in seconds since the Unix epoch.
    pub(super) modified_secs: i64,
    /// The rest of that, in nanoseconds.
    pub(super) modified_nanos: i64,
}

/// Why there is no opened file.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// There is none, or it is none that is served: a directory, a symlink, a device.
    #[error("no such file")]
    NotFound,
    /// No file descriptor or memory is left for it.
    #[error("too many open files")]
    Busy,
    /// The disk or its permissions.
    #[error("opening a stored file")]
    Io(#[source] io::Error),
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            // A symlink is LOOP as a file and NOTDIR as a directory; NXIO and NODEV are of sockets and devices.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => {
                Self::NotFound
            }
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Self::Busy,
            errno => Self::Io(errno.into()),
        }
    }
}

/// The serve directory, or the private one.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The directory `root`, if it can be opened. The operator may have it be a symlink.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let tree = Self { root: root.to_owned() };
        tree.open_root().map(|_| tree).map_err(io::Error::from)
    }

    /// Opened for each request: an operator may restore one that was lost, or mount it again.
    fn open_root(&self) -> Result<OwnedFd, Errno> {
        rustix::fs::open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens a stored file. Blocks on the disk.
    ///
    /// Directories are opened one by one, each relative to the last and none through a symlink. A segment can't be
    /// `..` or hold a slash, so no step leaves the tree, whatever is renamed meanwhile.
    pub(super) fn find(&self, path: &ServedPath) -> Result<OpenedFile, OpenError> {
        let through = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir = self.open_root().map_err(|errno| match OpenError::from(errno) {
            // What is missing is not the file.
            OpenError::NotFound => OpenError::Io(errno.into()),
            error => error,
        })?;
        for segment in path.directories() {
            dir = rustix::fs::openat(&dir, &*segment, through, Mode::empty())?;
        }
        // NONBLOCK: opening a pipe that someone put there must not wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, path.name.as_str(), flags, Mode::empty())?;
        let file = File::from(file);
        let metadata = file.metadata().map_err(OpenError::Io)?;
        if !metadata.is_file() {
            return Err(OpenError::NotFound);
        }
        Ok(OpenedFile {
            file,
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified_secs: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
        })
    }
}

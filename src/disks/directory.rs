//! One directory: which one it was at the start, and what a look at it finds. All of it blocks.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::RootKind;
use crate::durable::{self, FileError};

/// Why a directory can't be used: what was attempted, whose it is, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("the {} directory {} can't be written: {cause}{advice}", kind.name(), path.display())]
pub struct DirectoryError {
    kind: RootKind,
    path: PathBuf,
    cause: io::Error,
    advice: String,
}

impl DirectoryError {
    pub(super) fn new(kind: RootKind, path: &Path, cause: io::Error) -> Self {
        let advice = advice(kind, path, &cause);
        Self { kind, path: path.to_owned(), cause, advice }
    }

    /// What the system says.
    #[must_use]
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self.advice.strip_prefix("; ") {
            Some(advice) => advice.to_owned(),
            None => format!("look at {}, or choose another by {}", self.path.display(), self.kind.setting()),
        }
    }

    /// Whether the disk, or this process's user's share of it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether it says something about the process and nothing about the directory: too many open files, no memory.
    pub(super) fn is_our_shortage(&self) -> bool {
        let errno = self.cause.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
    }

    /// What is wrong, for who knows which directory it is.
    pub(super) fn trouble(&self) -> String {
        format!("{}{}", self.cause, self.advice)
    }
}

/// What to do about it, where that is known.
fn advice(kind: RootKind, path: &Path, cause: &io::Error) -> String {
    let setting = kind.setting();
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            let whose = fs::metadata(path).map_or_else(
                |_| "a directory above it is closed to it".to_owned(),
                |found| format!("it belongs to user {} with mode {:04o}", found.uid(), found.mode() & 0o7777),
            );
            let us = rustix::process::geteuid().as_raw();
            format!(
                "; this process runs as user {us}, and {whose}: give it to that user, or choose another by {setting}"
            )
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("; mount its file system writable, or choose another directory by {setting}")
        }
        io::ErrorKind::NotFound => format!("; it is gone: restore or mount it, or choose another by {setting}"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space".to_owned(),
        _ => String::new(),
    }
}

/// Device and inode.
type Identity = (u64, u64);

/// A directory, and which one it was at the start.
#[derive(Debug)]
pub(super) struct ProbedDirectory {
    kind: RootKind,
    path: PathBuf,
    identity: Identity,
}

impl ProbedDirectory {
    /// Looks which one is at `path` now.
    pub(super) fn open(kind: RootKind, path: PathBuf) -> Result<Self, DirectoryError> {
        let identity = identity(&path).map_err(|cause| DirectoryError::new(kind, &path, cause))?;
        Ok(Self { kind, path, identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn kind(&self) -> RootKind {
        self.kind
    }

    /// Writes a small file there, fsyncs and removes it.
    pub(super) fn probe(&self) -> Result<(), DirectoryError> {
        let probed =
            self.check_identity().and_then(|()| durable::probe_directory(&self.path).map_err(FileError::into_cause));
        probed.map_err(|cause| DirectoryError::new(self.kind, &self.path, cause))
    }

    /// Bytes that are free for this process; none if the system doesn't say.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// What was written to the directory that was here is not in another one. A new serve or private directory on the same file
    /// system is what an operator made in the place of a lost one; what lies beneath a mount that is gone is not.
    fn check_identity(&self) -> io::Result<()> {
        let (device, inode) = identity(&self.path)?;
        let is_same = match self.kind {
            RootKind::Data => (device, inode) == self.identity,
            RootKind::Serve | RootKind::Private => device == self.identity.0,
        };
        if is_same {
            return Ok(());
        }
        Err(io::Error::other(
            "another directory or file system is there than at the start: mount the old one again, or restart",
        ))
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::metadata(path)?;
    if found.is_dir() { Ok((found.dev(), found.ino())) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

//! Errors of the file system, with what was attempted on what.

use std::io;
use std::path::{Path, PathBuf};

/// A call to the file system that failed: what was attempted, and on what.
#[derive(Debug, thiserror::Error)]
#[error("{attempted} {}: {cause}", path.display())]
pub(crate) struct FileError {
    attempted: &'static str,
    path: PathBuf,
    /// Not a `source`: the message has it.
    cause: io::Error,
}

impl FileError {
    pub(crate) fn new(attempted: &'static str, path: &Path, cause: io::Error) -> Self {
        Self { attempted, path: path.to_owned(), cause }
    }

    /// What the file system answered.
    pub(crate) fn cause(&self) -> &io::Error {
        &self.cause
    }

    /// What the file system answered, for callers that say themselves what was attempted.
    pub(crate) fn into_cause(self) -> io::Error {
        self.cause
    }
}

/// Of the same kind, with the whole message. The number of the system's error is lost: ask [`FileError::cause`] for it.
impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        Self::new(error.cause.kind(), error)
    }
}

/// Names what was attempted, and on which file, where a call to the file system fails.
pub(crate) trait IoContext<T> {
    fn context(self, attempted: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn context(self, attempted: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|cause| FileError::new(attempted, path, cause.into()))
    }
}

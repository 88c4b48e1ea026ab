//! Why the spool couldn't do something.

use std::io;

use crate::bucket::BucketError;
use crate::durable::{self, FileError};
use crate::job::JobId;

/// Why the spool couldn't do something: what was attempted, on which file or key, and what came of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SpoolError(#[from] Cause);

#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// A file or directory of the spool, or of an upload that is arriving.
    #[error(transparent)]
    File(FileError),
    /// One of the node's scratch directory: what was there can be had again.
    #[error(transparent)]
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only the bucket has one"))]
    Scratch(FileError),
    #[error(transparent)]
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "there is none"))]
    Bucket(BucketError),
    /// What the bucket holds of a job is not what was accepted.
    #[error("fetch the original of job {job}: {why}")]
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only the bucket is held to it at once"))]
    Damaged { job: JobId, why: String },
    #[error("{attempted} the journal of job {job}: {detail}")]
    #[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "only the bucket's is elsewhere"))]
    Journal { attempted: &'static str, job: JobId, detail: String },
}

impl From<FileError> for SpoolError {
    fn from(error: FileError) -> Self {
        Self(Cause::File(error))
    }
}

impl SpoolError {
    /// Whether the disk, or the user's share of it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let is_full =
            |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        self.of_a_file().is_some_and(is_full)
    }

    /// Whether the process, or the machine, has as many files open as it may.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        let errno = self.of_a_file().and_then(io::Error::raw_os_error).map(rustix::io::Errno::from_raw_os_error);
        matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
    }

    /// Whether it is the machine's or the operator's doing, whatever was asked for (see [`durable::is_shortage`]), or what
    /// all nodes share is away or refuses them.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match &self.0 {
            Cause::Bucket(BucketError::Unavailable { .. } | BucketError::Refused { .. }) | Cause::Journal { .. } => {
                true
            }
            _ => self.of_a_file().is_some_and(durable::is_shortage),
        }
    }

    /// Whether what was looked for is not there, and was lost.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(&self.0, Cause::File(error) if error.cause().kind() == io::ErrorKind::NotFound)
    }

    /// Whether what is missing is of this machine, which must have it: a directory that was removed, or is not mounted.
    #[must_use]
    pub fn is_of_machine(&self) -> bool {
        matches!(&self.0, Cause::File(error) | Cause::Scratch(error) if error.cause().kind() == io::ErrorKind::NotFound)
    }

    /// Whether the job had ended, though the queue doesn't say so any more: an original leaves the bucket only after its
    /// job's end. The job is to be forgotten, and not to be failed.
    #[must_use]
    pub fn had_ended(&self) -> bool {
        matches!(&self.0, Cause::Bucket(error) if error.is_missing())
    }

    /// Whether what is kept of one job is not what was accepted: of others that says nothing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(&self.0, Cause::Damaged { .. })
    }

    /// Whether it is about what all nodes share, and not about a disk.
    #[must_use]
    pub fn is_of_bucket(&self) -> bool {
        match &self.0 {
            Cause::Bucket(BucketError::File { .. }) | Cause::File(_) | Cause::Scratch(_) => false,
            Cause::Bucket(_) | Cause::Damaged { .. } | Cause::Journal { .. } => true,
        }
    }

    /// The same, of what can be had again: nothing that is missing there is lost.
    #[cfg(feature = "s3")]
    pub(super) fn of_scratch(self) -> Self {
        match self.0 {
            Cause::File(error) => Self(Cause::Scratch(error)),
            cause => Self(cause),
        }
    }

    /// What the file system answered, if it was that.
    fn of_a_file(&self) -> Option<&io::Error> {
        match &self.0 {
            Cause::File(error) | Cause::Scratch(error) => Some(error.cause()),
            Cause::Bucket(BucketError::File { cause, .. }) => Some(cause),
            _ => None,
        }
    }
}

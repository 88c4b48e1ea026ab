//! Why an attempt failed, and what the job's record says about it.

use std::time::Duration;

use tokio::task::JoinError;

use crate::durable::is_shortage;
use crate::error_chain::ErrorChain;
use crate::job::{ErrorCode, JobError};
use crate::pipeline::PipelineError;
use crate::sandbox::SandboxError;
use crate::spool::SpoolError;
use crate::writer::{WriteError, WriteErrorKind};

/// Why an attempt failed.
#[derive(Debug)]
pub(in crate::worker) enum AttemptError {
    /// The original or the journal can't be read.
    Spool(SpoolError),
    /// The variants can't be made of this original.
    Pixels(PipelineError),
    /// Making the variants took too long.
    TimedOut,
    /// The child failed, whatever the original is like.
    Sandbox(SandboxError),
    /// A task of the attempt panicked, or left work undone.
    Panicked(String),
    /// A store doesn't take a file.
    Store(WriteError),
    /// The disk of the spool took nothing for too long, or is not there.
    DiskUnusable,
    /// The original in the spool is no longer what was uploaded.
    OriginalDamaged,
    /// A variant in the spool is no longer what it was; it has been removed.
    VariantLost,
    /// Variants that were made are gone, and the attempt has no place to make them again.
    Unmade,
    /// Making the variants takes more memory than was reserved.
    Outgrown {
        /// Bytes.
        memory: u64,
    },
}

impl AttemptError {
    /// Of two results, the one that decides: what ends the attempt and not the job, before what failed for good; else the
    /// first error.
    pub(in crate::worker) fn worse_of(first: Result<(), Self>, second: Result<(), Self>) -> Result<(), Self> {
        match (first, second) {
            (Err(first), Err(second)) if second.urgency() > first.urgency() => Err(second),
            (first, second) => first.and(second),
        }
    }

    fn urgency(&self) -> u8 {
        match self {
            Self::VariantLost | Self::OriginalDamaged | Self::DiskUnusable | Self::Unmade | Self::Outgrown { .. } => 2,
            // Its word is still to come.
            Self::Store(error) if error.kind == WriteErrorKind::Cancelled => 1,
            _ => 0,
        }
    }

    /// Whether it is the server's own want of something (descriptors, memory, disk) and not the job's fault.
    pub(super) fn is_shortage(&self) -> bool {
        match self {
            Self::Spool(error) => error.is_shortage(),
            Self::Sandbox(SandboxError::Io { source, .. }) => is_shortage(source),
            Self::DiskUnusable => true,
            _ => false,
        }
    }

    /// What a finished render task came to.
    pub(super) fn of_rendering<T>(outcome: Result<Result<T, SandboxError>, JoinError>) -> Result<T, Self> {
        match outcome {
            Ok(Ok(made)) => Ok(made),
            // The attempt itself doesn't ask when it was stopped.
            Ok(Err(SandboxError::Pixels(PipelineError::Cancelled))) => Err(Self::TimedOut),
            Ok(Err(SandboxError::Pixels(error))) => Err(Self::Pixels(error)),
            Ok(Err(error)) => Err(Self::Sandbox(error)),
            Err(panic) => Err(Self::Panicked(panic.to_string())),
        }
    }

    /// Whether the job's child died.
    pub(super) fn is_crash(&self) -> bool {
        matches!(self, Self::Sandbox(SandboxError::Died { .. } | SandboxError::Protocol(_)))
    }

    /// Whether another attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Spool(error) => !error.is_missing(),
            Self::Pixels(error) => error.can_pass_on_retry(),
            // Of stores the tries are over.
            Self::TimedOut | Self::Store(_) => false,
            // The same job would be given the same memory again.
            Self::Sandbox(error) => !matches!(error, SandboxError::OutOfMemory { .. }),
            Self::Panicked(_)
            | Self::DiskUnusable
            | Self::OriginalDamaged
            | Self::VariantLost
            | Self::Unmade
            | Self::Outgrown { .. } => true,
        }
    }

    /// What records and callbacks say. They are read by strangers: no path on the server's disk.
    pub(super) fn for_record(&self, job_timeout: Duration) -> JobError {
        match self {
            Self::Spool(error) if error.is_missing() => {
                JobError::new(ErrorCode::OriginalMissing, "the uploaded image is no longer on the server's disk")
            }
            Self::Spool(error) if error.is_of_bucket() => {
                JobError::new(ErrorCode::Spool, "the server's bucket could not be read or written, or is damaged")
            }
            Self::Spool(_) | Self::DiskUnusable => {
                JobError::new(ErrorCode::Spool, "the server's disk could not be read or written")
            }
            Self::Pixels(error) => JobError::new(error.code(), error.to_string()),
            Self::TimedOut => JobError::new(
                ErrorCode::Timeout,
                format!("making the variants took longer than {} s", job_timeout.as_secs()),
            ),
            Self::Sandbox(error @ SandboxError::OutOfMemory { .. }) => {
                JobError::new(ErrorCode::OutOfMemory, error.to_string())
            }
            Self::Sandbox(error @ SandboxError::Io { .. }) => {
                JobError::new(ErrorCode::Internal, ErrorChain(error).to_string())
            }
            Self::Sandbox(error) => JobError::new(ErrorCode::Crashed, error.to_string()),
            Self::Panicked(detail) => JobError::new(ErrorCode::Internal, detail.clone()),
            Self::Store(error) if error.is_transient() => JobError::new(ErrorCode::StoreUnreachable, error.to_string()),
            Self::Store(error) => JobError::new(ErrorCode::StoreRefused, error.to_string()),
            Self::OriginalDamaged => JobError::new(
                ErrorCode::Spool,
                "the uploaded image was damaged on the server's disk before it was stored",
            ),
            Self::Outgrown { memory } => {
                JobError::new(ErrorCode::OutOfMemory, format!("its variants take {memory} bytes of memory to make"))
            }
            Self::VariantLost | Self::Unmade => {
                JobError::new(ErrorCode::Spool, "a variant was damaged on the server's disk before it was stored")
            }
        }
    }
}

//! Why a call to the queue fails.

use std::error::Error;
use std::io;

use crate::job::UnreadableRecord;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue holds as many live jobs as it may.
    #[error("the queue is full: {depth} jobs are waiting or being worked on")]
    Full {
        /// How many those are.
        depth: usize,
    },
    /// The owner's tenant has as many live jobs as it may.
    #[error("this owner has {depth} jobs waiting or being worked on, as many as are allowed")]
    OwnerFull {
        /// How many those are.
        depth: usize,
    },
    /// The record is larger than the queue takes.
    #[error("the job's record has {bytes} bytes; the queue takes {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A cursor that this queue didn't make.
    #[error("the cursor is not one that an earlier page gave")]
    BadCursor,
    /// Another process has the data directory.
    #[error("another process is using {path}")]
    AlreadyRunning {
        /// The directory.
        path: String,
    },
    /// The database was written by a newer Pixerve.
    #[error("the queue's database has schema {found}; this version knows up to {known}: use the newer Pixerve")]
    SchemaTooNew {
        /// The database's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The disk is full. The queue recovers by itself once there is space.
    #[error("no space left for the queue's database")]
    StorageFull,
    /// Anything else.
    #[error("the queue can't be used now: {what}")]
    Unavailable {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl QueueError {
    /// Whether the queue as a whole can't be used, and not just one of its jobs.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::StorageFull | Self::AlreadyRunning { .. } | Self::SchemaTooNew { .. } => true,
            Self::Unavailable { source, .. } => source.as_ref().is_none_or(|source| !source.is::<UnreadableRecord>()),
            _ => false,
        }
    }

    pub(in crate::queue) fn closed() -> Self {
        Self::Unavailable { what: "it is shut down".to_owned(), source: None }
    }

    pub(in crate::queue) fn thread_not_started(source: io::Error) -> Self {
        Self::Unavailable { what: "starting its threads failed".to_owned(), source: Some(Box::new(source)) }
    }
}

//! Why the ledger can't be used.

use std::io;
use std::path::PathBuf;

#[cfg(feature = "s3")]
use crate::bucket::BucketError;

/// Why the ledger can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process (or another part of this one) has it open.
    #[error("another process is using the ledger {}", path.display())]
    AlreadyRunning {
        /// The database's file.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("the ledger {} has format version {found}; this Pixerve reads versions up to {known}: use the newer Pixerve", path.display())]
    TooNew {
        /// The database's file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What is read.
        known: u32,
    },
    /// The file system refused.
    #[error("{what} {} failed", path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The disk is full. It goes on by itself once there is space.
    #[error("no space left for the ledger")]
    StorageFull,
    /// The database failed.
    #[error("{what} the ledger failed")]
    Database {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: rusqlite::Error,
    },
    /// What the database was to do along with other things, which failed.
    #[error("writing to the ledger failed: {detail}")]
    Batch {
        /// Why.
        detail: String,
    },
    /// The bucket can't be read or written.
    #[cfg(feature = "s3")]
    #[error("the ledger's bucket failed")]
    Bucket(#[source] BucketError),
    /// An entry or an order can't be read: it is damaged, or a newer version wrote it.
    #[error("{what} can't be read: {detail}")]
    Unreadable {
        /// Which.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// It was closed before.
    #[error("the ledger is closed: the server is stopping")]
    Closed,
}

impl LedgerError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::StorageFull)
    }

    /// `what` of the ledger failed with `source`.
    pub(super) fn database(what: &'static str, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::StorageFull,
            _ => Self::Database { what, source },
        }
    }
}

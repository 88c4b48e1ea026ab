//! Why a database can't be used.

use std::io;
use std::path::PathBuf;

/// Why a database can't be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process (or another part of this one) has it open.
    #[error("another process is using the database {}", path.display())]
    AlreadyRunning {
        /// The database's directory.
        path: PathBuf,
    },
    /// The disk is full. Open it again once there is space.
    #[error("no space left for the database {}", path.display())]
    StorageFull {
        /// The database's directory.
        path: PathBuf,
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
    /// The database itself failed.
    #[error("{what} {} failed", path.display())]
    Engine {
        /// What was attempted.
        what: &'static str,
        /// The database's directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: sled::Error,
    },
}

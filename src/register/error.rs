//! Why the register can't be used.

use std::path::PathBuf;

use super::SealError;
use crate::database::DatabaseError;

/// Why users or stores can't be read or changed. The messages never contain a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name can't be a user's.
    #[error("a user's name must be [A-Za-z0-9._-]{{1,64}}")]
    BadName,
    /// The name is a user's already.
    #[error("a user named `{name}` is registered already")]
    NameTaken {
        /// The name, which is a valid one.
        name: String,
    },
    /// A store is to belong to a user who isn't registered.
    #[error("no such user is registered")]
    UnknownUser,
    /// A record can't be sealed.
    #[error("sealing a record of the register failed")]
    Seal(#[from] SealError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a new access key")]
    Random(#[source] getrandom::Error),
    /// The database can't be opened, or what was written can't be made durable.
    #[error("the register's database failed")]
    Database(#[source] DatabaseError),
    /// The database can't be read or written.
    #[error("reading or writing the register failed")]
    Engine(#[source] sled::Error),
    /// There are records, and not one was sealed with any key of the key file.
    #[error(
        "none of the {records} records of the register in `{}` was sealed with a key of the sealing key file: restore that file \
         from its backup, or move the database away and register everything again",
        .database.display()
    )]
    WrongKeys {
        /// How many there are.
        records: usize,
        /// Where they are.
        database: PathBuf,
    },
    /// It was closed before.
    #[error("the register is closed: the server is stopping")]
    Closed,
}

impl RegisterError {
    /// Whether the disk is full: it opens itself again once there is space.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Database(DatabaseError::StorageFull { .. }) => true,
            Self::Engine(sled::Error::Io(error)) => error.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

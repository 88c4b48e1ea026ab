//! Why the register can't be used.

use super::{InstallationError, PeersError, SealError};
use crate::bucket::BucketError;
use crate::database::DatabaseError;
use crate::job::PresetName;

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
    /// The bucket can't be read or written.
    #[error("the register's bucket failed")]
    Bucket(#[source] BucketError),
    /// There are records, and not one was sealed with any key of the key file.
    #[error(
        "none of the {records} records of the register in {place} was sealed with a key of the sealing key file: restore that \
         file from its backup, or move the records away and register everything again"
    )]
    WrongKeys {
        /// How many there are.
        records: usize,
        /// Where they are.
        place: String,
    },
    /// This node's sealing keys or its bucket are not those of the others.
    #[error(transparent)]
    Installation(#[from] InstallationError),
    /// What nodes that share the register tell each other can't be told, or not in time.
    #[error("the register can't be changed together with the other nodes")]
    Peers(#[source] PeersError),
    /// It may have been changed, and nobody was told what to.
    #[error("changing the register took longer than its lock is good for")]
    TookTooLong,
    /// It is removed, and a node may not know.
    #[error("`{access_key}` is removed from the register, and not every node has confirmed that")]
    NotConfirmed {
        /// What was removed.
        access_key: String,
        /// Who hasn't.
        source: PeersError,
    },
    /// It has a new secret, and a node may not know.
    #[error("`{access_key}` has a new secret, and not every node has confirmed that")]
    RotationNotConfirmed {
        /// Whose it is.
        access_key: String,
        /// Who hasn't.
        source: PeersError,
    },
    /// It is bound to other presets, and a node may not know.
    #[error("`{access_key}` is bound to other presets, and not every node has confirmed that")]
    BindingNotConfirmed {
        /// Whose they are.
        access_key: String,
        /// Who hasn't.
        source: PeersError,
    },
    /// A file defines the preset.
    #[error("the preset `{name}` is defined by a file of PIXERVE_PRESETS_DIR")]
    PresetFromFile {
        /// Which.
        name: PresetName,
    },
    /// The preset is not what whoever changes it thinks that it is.
    #[error("the preset is not the one that the condition names")]
    PresetChanged,
    /// There are enough.
    #[error("there are {max} presets, which is as many as there may be")]
    TooManyPresets {
        /// How many there may be.
        max: usize,
    },
    /// There is none of this name.
    #[error("there is no preset of this name")]
    UnknownPreset,
    /// What is registered under it can't be unsealed, so it isn't known whether it may be used.
    #[error("the registration of `{access_key}` can't be unsealed: it is damaged, or a sealing key is missing")]
    Unreadable {
        /// Its access key.
        access_key: String,
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

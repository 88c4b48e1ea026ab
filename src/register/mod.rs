//! Registered users and stores, and what keeps their secrets: everything here is sealed before it reaches the disk.

mod credential;
mod error;
mod headers;
mod open;
mod record;
mod seal;
mod sealing_keys;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use crate::auth::{UserKey, UserKeys};
use crate::clock::SharedClock;
use crate::database::Database;
use crate::failpoint::{Step, reached};
use crate::job::BackendKind;

pub use credential::{CredentialKind, NewStorage, NewUser, StorageCredential, Summary, User, UserRef};
pub use error::RegisterError;
pub use open::Opened;
pub use seal::{SealError, Sealer, UnsealError};
pub use sealing_keys::SealingKeysError;

use record::Record;

/// The registered users and stores. Reading is from memory and never waits for the disk; registering and deregistering
/// is durable once it has answered.
pub struct Register {
    inner: Arc<Inner>,
}

struct Inner {
    /// The database's directory.
    path: PathBuf,
    /// Held by whoever changes anything, so that changes come one after the other.
    disk: Mutex<Disk>,
    known: RwLock<Known>,
    sealer: Arc<Sealer>,
    clock: SharedClock,
}

enum Disk {
    Open(Records),
    /// It failed, most often for want of space: whoever changes something next opens it anew.
    Failed,
    Closed,
}

struct Records {
    /// Access key to sealed [`Record`]. Declared first, since it must be dropped before the database is closed.
    records: sled::Tree,
    database: Database,
}

#[derive(Default)]
struct Known {
    users: HashMap<String, Arc<User>>,
    storage: HashMap<String, Arc<StorageCredential>>,
}

impl Register {
    /// Registers a client with a name and a signing secret of its own. The secret can't be asked for again.
    ///
    /// # Errors
    /// [`RegisterError::BadName`], [`RegisterError::NameTaken`] by a user who has not been deregistered, or the disk.
    pub async fn register_user(&self, name: &str) -> Result<NewUser, RegisterError> {
        let name = name.to_owned();
        self.blocking(move |inner| inner.register_user(name)).await
    }

    /// Registers a store, and gives the access key that tokens call it by.
    ///
    /// # Errors
    /// [`RegisterError::UnknownUser`] if it is to belong to nobody known, or the disk.
    pub async fn register_storage(&self, storage: NewStorage) -> Result<String, RegisterError> {
        self.blocking(move |inner| inner.register_storage(storage)).await
    }

    /// Forgets a user or a store: whether there was one. A user's tokens are refused from then on; stores that belong
    /// to the user serve nobody any more, and stay until they are deregistered themselves.
    ///
    /// # Errors
    /// The disk. Then nothing has changed, as far as anyone can see.
    pub async fn deregister(&self, access_key: &str) -> Result<bool, RegisterError> {
        let access_key = access_key.to_owned();
        self.blocking(move |inner| inner.deregister(&access_key)).await
    }

    /// The user whose tokens carry this `kid`.
    pub fn user(&self, kid: &str) -> Option<Arc<User>> {
        self.inner.known().users.get(kid).cloned()
    }

    /// The store that `access_key` stands for, whoever may use it.
    pub fn storage(&self, access_key: &str) -> Option<Arc<StorageCredential>> {
        self.inner.known().storage.get(access_key).cloned()
    }

    /// Whether a job of this user (none: signed by a key of `jwt.json`) may name `access_key` as its store of this
    /// kind. A store that belongs to a user serves that user alone, one that belongs to nobody serves all. To whoever
    /// may not use it, an access key looks like one that doesn't exist.
    pub fn may_use(&self, access_key: &str, kind: BackendKind, owner_user: Option<&str>) -> bool {
        let known = self.inner.known();
        known.storage.get(access_key).is_some_and(|storage| {
            storage.kind == kind
                && storage.user.as_ref().is_none_or(|owner| {
                    // By access key: whoever registers a name that was free again doesn't inherit its stores.
                    owner_user == Some(owner.name.as_str()) && known.users.contains_key(&owner.access_key)
                })
        })
    }

    /// Everything that is registered, without a secret, the oldest first.
    pub fn list(&self) -> Vec<Summary> {
        let known = self.inner.known();
        let mut all: Vec<_> =
            known.users.values().map(|u| u.summary()).chain(known.storage.values().map(|s| s.summary())).collect();
        all.sort_by(|a, b| (a.created_at, &a.access_key).cmp(&(b.created_at, &b.access_key)));
        all
    }

    /// Closes the database, which makes the next start quick. What is in memory can still be read.
    ///
    /// # Errors
    /// The disk.
    pub async fn close(&self) -> Result<(), RegisterError> {
        self.blocking(|inner| {
            let disk = std::mem::replace(&mut *inner.disk(), Disk::Closed);
            let Disk::Open(Records { records, database }) = disk else { return Ok(()) };
            drop(records);
            database.close().map_err(RegisterError::Database)
        })
        .await
    }

    /// Runs what waits for the disk where waiting is harmless.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, RegisterError> + Send + 'static,
    ) -> Result<T, RegisterError> {
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(RegisterError::Closed),
        }
    }
}

/// By hand, since sled shows the content of its trees.
impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.inner.known();
        write!(f, "Register({} users, {} stores [redacted])", known.users.len(), known.storage.len())
    }
}

impl UserKeys for Register {
    fn user_key(&self, kid: &str) -> Option<UserKey> {
        self.user(kid).map(|user| UserKey { name: user.name.clone(), secret: user.secret.clone() })
    }
}

impl Inner {
    fn register_user(&self, name: String) -> Result<NewUser, RegisterError> {
        if !credential::is_name(&name) {
            return Err(RegisterError::BadName);
        }
        let mut disk = self.disk();
        if self.known().users.values().any(|user| user.name == name) {
            return Err(RegisterError::NameTaken { name });
        }
        let access_key = credential::user_access_key()?;
        let secret = credential::user_secret()?;
        let created_at = self.clock.now();
        let record = Record::User { created_at, name: name.clone(), secret: secret.clone() };
        self.write(&mut disk, &access_key, &record)?;
        self.insert(access_key.clone(), record);
        Ok(NewUser { access_key, secret })
    }

    fn register_storage(&self, new: NewStorage) -> Result<String, RegisterError> {
        let mut disk = self.disk();
        let user = new.user.map(|user| self.resolve(&user)).transpose()?;
        let access_key = credential::storage_access_key()?;
        let record = Record::Storage {
            created_at: self.clock.now(),
            backend: new.kind,
            user,
            settings: new.settings,
            summary: new.summary,
        };
        self.write(&mut disk, &access_key, &record)?;
        self.insert(access_key.clone(), record);
        Ok(access_key)
    }

    /// The user of this name or access key.
    fn resolve(&self, name_or_key: &str) -> Result<UserRef, RegisterError> {
        let known = self.known();
        let found = known.users.get(name_or_key).or_else(|| known.users.values().find(|u| u.name == name_or_key));
        match found {
            Some(user) => Ok(UserRef { access_key: user.access_key.clone(), name: user.name.clone() }),
            None => Err(RegisterError::UnknownUser),
        }
    }

    fn deregister(&self, access_key: &str) -> Result<bool, RegisterError> {
        let mut disk = self.disk();
        let was_there = self.change(&mut disk, |disk| {
            let on_disk = disk.records.remove(access_key).map_err(RegisterError::Engine)?.is_some();
            let there = on_disk || self.known().has(access_key);
            if there {
                disk.database.sync().map_err(RegisterError::Database)?;
            }
            Ok(there)
        })?;
        // Only then from memory: where the disk fails, a second try must find something to forget.
        let mut known = self.known.write();
        known.users.remove(access_key);
        known.storage.remove(access_key);
        Ok(was_there)
    }

    /// Seals `record` and makes it durable, or leaves no trace of it.
    fn write(&self, disk: &mut Disk, access_key: &str, record: &Record) -> Result<(), RegisterError> {
        let sealed = record.seal(&self.sealer, access_key)?;
        self.change(disk, |disk| {
            let written = disk.records.insert(access_key, sealed.0.as_bytes()).map_err(RegisterError::Engine);
            reached(Step::RegisterWritten);
            let durable = written.and_then(|_| disk.database.sync().map_err(RegisterError::Database));
            reached(Step::RegisterDurable);
            if durable.is_err() {
                // Nobody will learn this access key; if even removing it fails, it is a record that nobody can use.
                let _ = disk.records.remove(access_key);
            }
            durable
        })
    }

    /// Changes what is on disk. A database that has failed stays so until it is opened anew, which the next change does.
    fn change<T>(
        &self,
        disk: &mut Disk,
        change: impl FnOnce(&Records) -> Result<T, RegisterError>,
    ) -> Result<T, RegisterError> {
        let changed = match disk {
            Disk::Closed => return Err(RegisterError::Closed),
            Disk::Open(records) => change(records),
            Disk::Failed => {
                let records = self.reopen()?;
                let changed = change(&records);
                *disk = Disk::Open(records);
                changed
            }
        };
        if let Err(error) = &changed {
            tracing::error!(%error, "the register's database failed; the next change opens it anew");
            *disk = Disk::Failed;
        }
        changed
    }

    fn insert(&self, access_key: String, record: Record) {
        self.known.write().insert(access_key, record);
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // Maps are never left half changed, so a panic elsewhere is no reason to stop.
        self.known.read()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock()
    }
}

impl Known {
    fn has(&self, access_key: &str) -> bool {
        self.users.contains_key(access_key) || self.storage.contains_key(access_key)
    }

    /// Everything, as it is kept.
    fn records(&self) -> impl Iterator<Item = (&String, Record)> {
        let users = self.users.values().map(|user| (&user.access_key, Record::from(&**user)));
        users.chain(self.storage.values().map(|storage| (&storage.access_key, Record::from(&**storage))))
    }

    fn insert(&mut self, access_key: String, record: Record) {
        match record {
            Record::User { created_at, name, secret } => {
                let user = User { access_key: access_key.clone(), name, secret, created_at };
                self.users.insert(access_key, Arc::new(user));
            }
            Record::Storage { created_at, backend, user, settings, summary } => {
                let storage = StorageCredential {
                    access_key: access_key.clone(),
                    kind: backend,
                    user,
                    settings,
                    created_at,
                    summary,
                };
                self.storage.insert(access_key, Arc::new(storage));
            }
        }
    }
}

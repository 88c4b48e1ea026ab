//! The register: users, stores, and the sealing of their secrets. Everything in it is sealed before it reaches the disk.

mod callback;
mod entry;
mod error;
mod open;
mod record;
mod seal;
mod sealing_keys;
mod webhook_file;
mod webhook_secrets;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use crate::auth::{UserKey, UserKeys};
use crate::clock::{SharedClock, Timestamp};
use crate::database::Database;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{BackendKind, Owner, WebhookSecret};

pub use entry::{EntryKind, NewStore, NewUser, RegisterEntry, RegisteredStore, User, UserRef};
pub use error::RegisterError;
pub use open::{OpenedRegister, REGISTER_DATABASE};
pub use seal::{SealError, Sealer, UnsealError};
pub use sealing_keys::SealingKeysError;
pub use webhook_file::{WebhookFileError, WebhookSecretFile};
pub use webhook_secrets::WebhookSecrets;

use record::Record;

/// The registered users and stores. Reading is from memory and never waits for the disk; registering and deregistering
/// is durable once it has answered.
pub struct Register {
    inner: Arc<RegisterInner>,
}

struct RegisterInner {
    /// The database's directory.
    path: PathBuf,
    /// Locked for every change, so that changes come one after the other.
    disk: Mutex<DatabaseState>,
    known: RwLock<Registered>,
    sealer: Arc<Sealer>,
    clock: SharedClock,
}

enum DatabaseState {
    Open(Records),
    /// It failed, most often for want of space: the next change reopens it.
    Failed,
    Closed,
}

struct Records {
    /// Access key to sealed [`Record`]. Declared first, since it must be dropped before the database is closed.
    records: sled::Tree,
    database: Database,
}

#[derive(Default)]
struct Registered {
    users: HashMap<String, Arc<User>>,
    stores: HashMap<String, Arc<RegisteredStore>>,
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

    /// Makes a new secret that calls about a user's jobs are signed with; the one before signs too for a day. None if no user
    /// has this access key.
    ///
    /// # Errors
    /// The disk. Then nothing has changed.
    pub async fn renew_webhook_secret(&self, access_key: &str) -> Result<Option<WebhookSecret>, RegisterError> {
        let access_key = access_key.to_owned();
        self.blocking(move |inner| inner.renew_webhook_secret(&access_key)).await
    }

    /// What calls about a job of `owner`, accepted at that time, are signed with: the newest first. None of a user who isn't
    /// registered any more, or was before calls were signed.
    pub fn webhook_secrets(&self, owner: &Owner, accepted: Timestamp) -> Vec<WebhookSecret> {
        let holder = owner.user.as_deref().and_then(|name| self.holder(name));
        let user = holder.filter(|_| self.is_of_holder(owner, accepted));
        user.map_or_else(Vec::new, |user| user.webhook_secrets.good_at(self.inner.clock.now()))
    }

    /// Registers a store, and gives the access key that tokens call it by.
    ///
    /// # Errors
    /// [`RegisterError::UnknownUser`] if it is to belong to a user who isn't registered, or the disk.
    pub async fn register_store(&self, storage: NewStore) -> Result<String, RegisterError> {
        self.blocking(move |inner| inner.register_store(storage)).await
    }

    /// Removes a user or a store, and answers whether there was one. A user's tokens are refused from then on; stores that
    /// belong to the user can't be used by any job, and stay until they are deregistered themselves.
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
    pub fn store(&self, access_key: &str) -> Option<Arc<RegisteredStore>> {
        self.inner.known().stores.get(access_key).cloned()
    }

    /// Whether a job of this user (none: signed by a key of `jwt.json`) may name `access_key` as its store of this
    /// kind. A store that belongs to a user is for that user alone, one that belongs to no user is for all. An access key
    /// that may not be used looks like one that doesn't exist.
    pub fn may_use(&self, access_key: &str, kind: BackendKind, owner_user: Option<&str>) -> bool {
        let known = self.inner.known();
        known.stores.get(access_key).is_some_and(|storage| {
            storage.kind == kind
                && storage.user.as_ref().is_none_or(|owner| {
                    // By access key: a user registered under a name that was free again doesn't inherit its stores.
                    owner_user == Some(owner.name.as_str()) && known.users.contains_key(&owner.access_key)
                })
        })
    }

    /// The user who is registered under this name.
    pub fn holder(&self, name: &str) -> Option<Arc<User>> {
        self.inner.known().users.values().find(|user| user.name == name).cloned()
    }

    /// Whether a job of `owner`, accepted at that time, is of whoever has its user's name now. A name that nobody has is
    /// still that of its last holder.
    pub fn is_of_holder(&self, owner: &Owner, accepted: Timestamp) -> bool {
        let Some(holder) = owner.user.as_deref().and_then(|name| self.holder(name)) else { return true };
        match &owner.access_key {
            Some(access_key) => *access_key == holder.access_key,
            // A record that doesn't say who had the name: whoever has it now, if they had it by then.
            None => accepted >= holder.created_at,
        }
    }

    /// Everything that is registered, without a secret, the oldest first.
    pub fn list(&self) -> Vec<RegisterEntry> {
        let known = self.inner.known();
        let mut all: Vec<_> =
            known.users.values().map(|u| u.summary()).chain(known.stores.values().map(|s| s.summary())).collect();
        all.sort_by(|a, b| (a.created_at, &a.access_key).cmp(&(b.created_at, &b.access_key)));
        all
    }

    /// Closes the database, which makes the next start quick. What is in memory can still be read.
    ///
    /// # Errors
    /// The disk.
    pub async fn close(&self) -> Result<(), RegisterError> {
        self.blocking(|inner| {
            let disk = std::mem::replace(&mut *inner.disk(), DatabaseState::Closed);
            let DatabaseState::Open(Records { records, database }) = disk else { return Ok(()) };
            drop(records);
            database.close().map_err(RegisterError::Database)
        })
        .await
    }

    /// Runs what waits for the disk on a thread that may.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RegisterInner) -> Result<T, RegisterError> + Send + 'static,
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
        write!(f, "Register({} users, {} stores [redacted])", known.users.len(), known.stores.len())
    }
}

impl UserKeys for Register {
    fn user_key(&self, kid: &str) -> Option<UserKey> {
        self.user(kid).map(|user| UserKey { name: user.name.clone(), secret: user.secret.clone() })
    }
}

impl RegisterInner {
    fn register_user(&self, name: String) -> Result<NewUser, RegisterError> {
        if !entry::is_name(&name) {
            return Err(RegisterError::BadName);
        }
        let mut disk = self.disk();
        if self.known().users.values().any(|user| user.name == name) {
            return Err(RegisterError::NameTaken { name });
        }
        let access_key = entry::user_access_key()?;
        let secret = entry::user_secret()?;
        let created_at = self.clock.now();
        let webhook_secret = WebhookSecret::generate().map_err(RegisterError::Random)?;
        let webhook_secrets = WebhookSecrets::of(webhook_secret.clone());
        let record = Record::User { created_at, name, secret: secret.clone(), webhook_secrets };
        self.write(&mut disk, &access_key, &record)?;
        self.insert(access_key.clone(), record);
        Ok(NewUser { access_key, secret, webhook_secret })
    }

    fn renew_webhook_secret(&self, access_key: &str) -> Result<Option<WebhookSecret>, RegisterError> {
        let mut disk = self.disk();
        let Some(user) = self.known().users.get(access_key).cloned() else { return Ok(None) };
        let secret = WebhookSecret::generate().map_err(RegisterError::Random)?;
        let record = Record::User {
            created_at: user.created_at,
            name: user.name.clone(),
            secret: user.secret.clone(),
            webhook_secrets: user.webhook_secrets.renewed(secret.clone(), self.clock.now()),
        };
        self.write(&mut disk, access_key, &record)?;
        self.insert(access_key.to_owned(), record);
        Ok(Some(secret))
    }

    fn register_store(&self, new: NewStore) -> Result<String, RegisterError> {
        let mut disk = self.disk();
        let user = new.user.map(|user| self.resolve(&user)).transpose()?;
        let access_key = entry::store_access_key()?;
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
        // Only then from memory: if the disk fails, a second try must still find it.
        let mut known = self.known.write();
        known.users.remove(access_key);
        known.stores.remove(access_key);
        Ok(was_there)
    }

    /// Seals `record` and makes it durable, or leaves what was there before, as far as the disk lets it.
    fn write(&self, disk: &mut DatabaseState, access_key: &str, record: &Record) -> Result<(), RegisterError> {
        let sealed = record.seal(&self.sealer, access_key)?;
        let before = self.known().record(access_key).map(|before| before.seal(&self.sealer, access_key)).transpose()?;
        self.change(disk, |disk| {
            let written = disk.records.insert(access_key, sealed.0.as_bytes()).map_err(RegisterError::Engine);
            reached(Step::RegisterWritten);
            let durable = written.and_then(|_| disk.database.sync().map_err(RegisterError::Database));
            reached(Step::RegisterDurable);
            if durable.is_err() {
                // If that fails too: a new access key is never handed out, and a user's old record differs in a secret that
                // nobody was given, beside which the one before signs.
                let _ = match before {
                    Some(before) => disk.records.insert(access_key, before.0.as_bytes()),
                    None => disk.records.remove(access_key),
                };
            }
            durable
        })
    }

    /// Changes what is on disk. A database that has failed stays so until it is reopened, which the next change does.
    fn change<T>(
        &self,
        disk: &mut DatabaseState,
        change: impl FnOnce(&Records) -> Result<T, RegisterError>,
    ) -> Result<T, RegisterError> {
        let changed = match disk {
            DatabaseState::Closed => return Err(RegisterError::Closed),
            DatabaseState::Open(records) => change(records),
            DatabaseState::Failed => {
                let records = self.reopen()?;
                let changed = change(&records);
                *disk = DatabaseState::Open(records);
                changed
            }
        };
        if let Err(error) = &changed {
            tracing::error!(error = %ErrorChain(error), "register database failed; the next change reopens it");
            *disk = DatabaseState::Failed;
        }
        changed
    }

    fn insert(&self, access_key: String, record: Record) {
        self.known.write().insert(access_key, record);
    }

    fn known(&self) -> RwLockReadGuard<'_, Registered> {
        // Maps are never left half changed, so a panic elsewhere is no reason to stop.
        self.known.read()
    }

    fn disk(&self) -> MutexGuard<'_, DatabaseState> {
        self.disk.lock()
    }
}

impl Registered {
    fn has(&self, access_key: &str) -> bool {
        self.users.contains_key(access_key) || self.stores.contains_key(access_key)
    }

    /// What this access key stands for, as it is kept.
    fn record(&self, access_key: &str) -> Option<Record> {
        let user = self.users.get(access_key).map(|user| Record::from(&**user));
        user.or_else(|| self.stores.get(access_key).map(|store| Record::from(&**store)))
    }

    /// Everything, as it is kept.
    fn records(&self) -> impl Iterator<Item = (&String, Record)> {
        let users = self.users.values().map(|user| (&user.access_key, Record::from(&**user)));
        users.chain(self.stores.values().map(|storage| (&storage.access_key, Record::from(&**storage))))
    }

    fn insert(&mut self, access_key: String, record: Record) {
        match record {
            Record::User { created_at, name, secret, webhook_secrets } => {
                let user = User { access_key: access_key.clone(), name, secret, webhook_secrets, created_at };
                self.users.insert(access_key, Arc::new(user));
            }
            Record::Storage { created_at, backend, user, settings, summary } => {
                let storage = RegisteredStore {
                    access_key: access_key.clone(),
                    kind: backend,
                    user,
                    settings,
                    created_at,
                    summary,
                };
                self.stores.insert(access_key, Arc::new(storage));
            }
        }
    }
}

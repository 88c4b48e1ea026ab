//! The register: users, stores, presets, and the sealing of their secrets. Everything in it is sealed before it leaves this process.
//!
//! Where the sealed records are kept is [`SealedRecords`]' business: a database on this machine ([`SledRecords`]), or a bucket
//! that many nodes share. What those tell each other, so that names stay unique and all of them hear of a change, goes
//! through [`RegisterPeers`].

#[cfg(feature = "s3")]
mod bucket;
mod callback;
mod change;
mod earlier_secrets;
mod entry;
mod error;
mod installation;
mod memory;
mod open;
mod peers;
mod preset_files;
mod presets;
mod record;
mod records;
mod reload;
mod seal;
mod sealing_keys;
mod secrets;
mod sled;
mod webhook_secret;
mod webhook_secrets;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::auth::{UserKey, UserKeys};
use crate::clock::{SharedClock, Timestamp};
use crate::job::{BackendKind, Owner, Preset, PresetName, WebhookSecret};

#[cfg(feature = "s3")]
pub use bucket::{BucketRecords, BucketSecrets};
pub use earlier_secrets::EarlierSecrets;
pub use entry::{
    EntryKind, NewStore, NewUser, RegisterEntry, RegisteredStore, Registration, RotatedSecret, User, UserRef,
};
pub use error::RegisterError;
pub use installation::{Installation, InstallationError};
pub use memory::{MemoryNode, MemoryPeers, MemoryRecords, MemorySecrets};
pub use open::{OpenedRegister, OpenedSharedRegister, SharedRegister};
pub use peers::{PeersError, RegisterLock, RegisterPeers, RegisterVersion, SharedTimeouts};
pub use preset_files::{PresetFileError, PresetFiles, PresetFilesError};
pub use presets::{PresetSource, Presets};
pub use records::{KnownVersions, RecordChanges, SealedRecord, SealedRecords, SealedVersion};
pub use seal::{SealError, Sealer, UnsealError};
pub use sealing_keys::{SEALING_KEYS, SealingKeysError};
pub use secrets::{SealedSecrets, SecretFiles, SecretsError};
pub use sled::{OpenedRecords, REGISTER_DATABASE, SledRecords};
pub use webhook_secret::{KeptWebhookSecret, WEBHOOK_SECRET, WebhookSecretError};
pub use webhook_secrets::WebhookSecrets;

use record::Record;
use reload::Reloads;

/// The registered users and stores. Reading is from memory and never waits; registering and deregistering is durable once
/// it has answered.
pub struct Register {
    inner: Arc<RegisterInner>,
}

struct RegisterInner {
    records: Arc<dyn SealedRecords>,
    /// None of a register that this process has to itself.
    peers: Option<Arc<dyn RegisterPeers>>,
    timeouts: SharedTimeouts,
    /// Locked for every change, so that this process' own come one after the other.
    changing: Mutex<()>,
    /// Locked while memory is brought up to the store of records.
    kept: Mutex<Kept>,
    known: RwLock<Registered>,
    reloads: Reloads,
    sealer: Arc<Sealer>,
    clock: SharedClock,
}

/// What is known of the store of records.
#[derive(Default)]
struct Kept {
    /// Of everything in it that memory agrees with, or that can't be unsealed.
    versions: KnownVersions,
    /// Access keys that may be there and were never handed out: the next change removes them.
    unanswered: HashSet<String>,
    /// Access keys that are removed, of which a node may not know.
    unconfirmed: HashSet<String>,
    /// New secrets of users that nobody was told, by access key: a node didn't confirm them.
    unshown: HashMap<String, SecretString>,
    /// Access keys of what is sealed with an older key.
    aged: HashSet<String>,
    is_closed: bool,
}

/// What is registered, as it is read.
#[derive(Default)]
struct Registered {
    users: HashMap<String, Arc<User>>,
    stores: HashMap<String, Arc<RegisteredStore>>,
    presets: BTreeMap<PresetName, Arc<Preset>>,
    /// Access keys whose newest records can't be unsealed. What was known of them before stays in use.
    unreadable: HashSet<String>,
}

impl Register {
    /// What calls about a job of `owner`, accepted at that time, are signed with: the newest first. None of a user who isn't
    /// registered any more, or was before calls were signed.
    pub fn webhook_secrets(&self, owner: &Owner, accepted: Timestamp) -> Vec<WebhookSecret> {
        let holder = owner.user.as_deref().and_then(|name| self.holder(name));
        let user = holder.filter(|_| self.is_of_holder(owner, accepted));
        user.map_or_else(Vec::new, |user| user.webhook_secrets.good_at(self.inner.clock.now()))
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
        self.inner.known().holder(name).cloned()
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
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.inner.known();
        let (users, stores, presets) = (known.users.len(), known.stores.len(), known.presets.len());
        write!(f, "Register({users} users, {stores} stores, {presets} presets [redacted])")
    }
}

impl UserKeys for Register {
    fn user_key(&self, kid: &str) -> Option<UserKey> {
        self.user(kid).map(|user| UserKey {
            name: user.name.clone(),
            secret: user.secret.clone(),
            earlier_secrets: user.earlier_secrets.good_at(self.inner.clock.now()),
            presets: user.presets.clone(),
        })
    }
}

impl RegisterInner {
    fn new(
        records: Arc<dyn SealedRecords>,
        peers: Option<Arc<dyn RegisterPeers>>,
        sealer: Arc<Sealer>,
        clock: SharedClock,
    ) -> Self {
        let (timeouts, changing, kept, known, reloads) = Default::default();
        Self { records, peers, timeouts, changing, kept, known, reloads, sealer, clock }
    }

    fn known(&self) -> RwLockReadGuard<'_, Registered> {
        // Maps are never left half changed, so a panic elsewhere is no reason to stop.
        self.known.read()
    }
}

impl Registered {
    /// What this access key stands for, as it is kept.
    fn record(&self, access_key: &str) -> Option<Record> {
        let user = self.users.get(access_key).map(|user| Record::from(&**user));
        let store = || self.stores.get(access_key).map(|store| Record::from(&**store));
        let preset = || presets::name_of(access_key).and_then(|name| Some(Record::from(&**self.presets.get(&name)?)));
        user.or_else(store).or_else(preset)
    }

    /// What this access key stands for, if it is known to stand for something.
    fn registration(&self, access_key: &str) -> Option<Registration> {
        let user = self.users.get(access_key).map(|user| Registration::User(Arc::clone(user)));
        let store = || self.stores.get(access_key).map(|store| Registration::Store(Arc::clone(store)));
        let is_unreadable = || self.unreadable.contains(access_key) && presets::name_of(access_key).is_none();
        let unreadable = || is_unreadable().then_some(Registration::Unreadable);
        user.or_else(store).or_else(unreadable)
    }

    /// The user of this name. Of two the later one: the other was written by a node that had lost its lock, and its access
    /// key was never handed out.
    fn holder(&self, name: &str) -> Option<&Arc<User>> {
        let holders = self.users.values().filter(|user| user.name == name);
        holders.max_by_key(|user| (user.created_at, &user.access_key))
    }

    fn remove(&mut self, access_key: &str) {
        self.users.remove(access_key);
        self.stores.remove(access_key);
        if let Some(name) = presets::name_of(access_key) {
            self.presets.remove(&name);
        }
        self.unreadable.remove(access_key);
    }

    fn insert(&mut self, access_key: String, record: Record) {
        self.unreadable.remove(&access_key);
        match record {
            Record::User { created_at, name, secret, earlier_secrets, webhook_secrets, presets } => {
                let user = User {
                    access_key: access_key.clone(),
                    name,
                    secret,
                    earlier_secrets,
                    webhook_secrets,
                    presets: presets.map(Into::into),
                    created_at,
                };
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
            Record::Preset { text } => match (presets::name_of(&access_key), Preset::parse(text.as_bytes())) {
                (Some(name), Ok(preset)) => _ = self.presets.insert(name, Arc::new(preset)),
                _ => _ = self.unreadable.insert(access_key),
            },
        }
    }
}

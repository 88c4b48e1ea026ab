//! Nodes in one process and what they share, for tests: records, secrets, and what they tell each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::RegisterError;
use super::peers::{PeersError, RegisterLock, RegisterPeers, RegisterVersion};
use super::records::{KnownVersions, RecordChanges, SealedRecords, SealedVersion};
use super::secrets::{SealedSecrets, SecretsError};
use crate::job::SealedText;

/// Records in memory. Clones are one store, of several nodes.
#[derive(Clone, Debug, Default)]
pub struct MemoryRecords {
    texts: Arc<Mutex<BTreeMap<String, SealedText>>>,
}

#[async_trait]
impl SealedRecords for MemoryRecords {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn changes(&self, seen: &KnownVersions) -> Result<RecordChanges, RegisterError> {
        Ok(RecordChanges::between(seen, &self.texts.lock()))
    }

    async fn put(&self, access_key: &str, sealed: &SealedText) -> Result<SealedVersion, RegisterError> {
        self.texts.lock().insert(access_key.to_owned(), sealed.clone());
        Ok(SealedVersion::of(sealed))
    }

    async fn remove(&self, access_key: &str) -> Result<(), RegisterError> {
        self.texts.lock().remove(access_key);
        Ok(())
    }

    async fn close(&self) -> Result<(), RegisterError> {
        Ok(())
    }
}

/// Secrets in memory. Clones are one store, of several nodes.
#[derive(Clone, Debug, Default)]
pub struct MemorySecrets {
    texts: Arc<Mutex<BTreeMap<String, SealedText>>>,
}

#[async_trait]
impl SealedSecrets for MemorySecrets {
    fn place(&self, name: &str) -> String {
        format!("memory, {name}")
    }

    async fn get(&self, name: &str) -> Result<Option<SealedText>, SecretsError> {
        Ok(self.texts.lock().get(name).cloned())
    }

    async fn put(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError> {
        self.texts.lock().insert(name.to_owned(), sealed.clone());
        Ok(())
    }

    async fn create(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError> {
        self.texts.lock().entry(name.to_owned()).or_insert_with(|| sealed.clone());
        Ok(())
    }
}

/// What nodes of one process tell each other.
#[derive(Clone, Debug)]
pub struct MemoryPeers {
    told: watch::Sender<Told>,
}

/// One of them. It is live until it is dropped.
#[derive(Debug)]
pub struct MemoryNode {
    name: String,
    told: watch::Sender<Told>,
}

#[derive(Debug, Default)]
struct Told {
    version: RegisterVersion,
    lock: Option<(u64, Instant)>,
    locks_taken: u64,
    /// What each live node shows.
    shown: BTreeMap<String, RegisterVersion>,
}

impl Default for MemoryPeers {
    fn default() -> Self {
        Self { told: watch::Sender::new(Told::default()) }
    }
}

impl MemoryPeers {
    /// A node of this name, which lives from now on.
    #[must_use]
    pub fn node(&self, name: &str) -> Arc<MemoryNode> {
        let node = MemoryNode { name: name.to_owned(), told: self.told.clone() };
        node.show(RegisterVersion::default());
        Arc::new(node)
    }

    /// Forgets who has the lock, as if its lease had run out.
    pub fn expire_lock(&self) {
        self.told.send_modify(|told| told.lock = None);
    }

    /// Forgets all that was told, as a store without a disk does that is started again.
    pub fn forget(&self) {
        self.told.send_modify(|told| {
            told.version = RegisterVersion::default();
            told.lock = None;
        });
    }
}

impl Told {
    /// The lock, if nobody has it.
    fn take_lock(&mut self, lease: Duration) -> Option<RegisterLock> {
        let now = Instant::now();
        if self.lock.is_some_and(|(_, until)| now < until) {
            return None;
        }
        self.locks_taken += 1;
        self.lock = Some((self.locks_taken, now + lease));
        Some(RegisterLock { token: self.locks_taken, good_until: now + lease })
    }

    fn is_held(&self, lock: &RegisterLock) -> bool {
        self.lock.is_some_and(|(token, until)| token == lock.token && Instant::now() < until)
    }

    fn not_showing(&self, version: RegisterVersion) -> Vec<String> {
        self.shown.iter().filter(|(_, shown)| **shown < version).map(|(name, _)| name.clone()).collect()
    }
}

#[async_trait]
impl RegisterPeers for MemoryNode {
    async fn lock(&self, lease: Duration, wait: Duration) -> Result<RegisterLock, PeersError> {
        let (mut changes, give_up) = (self.told.subscribe(), Instant::now() + wait);
        loop {
            changes.mark_unchanged();
            let mut taken = None;
            self.told.send_if_modified(|told| {
                taken = told.take_lock(lease);
                taken.is_some()
            });
            if let Some(lock) = taken {
                return Ok(lock);
            }
            if Instant::now() >= give_up {
                return Err(PeersError::Locked { waited: wait });
            }
            let expires = self.told.borrow().lock.map_or(give_up, |(_, until)| until.min(give_up));
            let _ = timeout_at(expires, changes.changed()).await;
        }
    }

    async fn unlock(&self, lock: RegisterLock) {
        self.told.send_if_modified(|told| {
            let is_held = told.is_held(&lock);
            if is_held {
                told.lock = None;
            }
            is_held
        });
    }

    async fn publish(&self, lock: &RegisterLock) -> Result<RegisterVersion, PeersError> {
        let mut published = Err(PeersError::LockLost);
        self.told.send_modify(|told| {
            if told.is_held(lock) {
                // Beyond what any node shows: what was forgotten must not come again.
                let newest = told.shown.values().copied().max().unwrap_or_default().max(told.version);
                told.version = RegisterVersion(newest.0 + 1);
                published = Ok(told.version);
            }
        });
        published
    }

    async fn version(&self) -> Result<RegisterVersion, PeersError> {
        Ok(self.told.borrow().version)
    }

    async fn changed(&self, seen: RegisterVersion) -> Result<RegisterVersion, PeersError> {
        let mut changes = self.told.subscribe();
        let told = changes.wait_for(|told| told.version != seen).await;
        Ok(told.expect("INVARIANT: the sender is this node's").version)
    }

    fn show(&self, version: RegisterVersion) {
        self.told.send_modify(|told| {
            told.shown.insert(self.name.clone(), version);
        });
    }

    async fn shown_by_all(&self, version: RegisterVersion, within: Duration) -> Result<(), PeersError> {
        let mut changes = self.told.subscribe();
        let all = changes.wait_for(|told| told.not_showing(version).is_empty());
        if timeout(within, all).await.is_ok() {
            return Ok(());
        }
        let nodes = self.told.borrow().not_showing(version);
        Err(PeersError::NotShown { nodes, within })
    }
}

impl Drop for MemoryNode {
    fn drop(&mut self) {
        self.told.send_modify(|told| {
            told.shown.remove(&self.name);
        });
    }
}

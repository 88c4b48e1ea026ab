//! Bringing memory up to what others have changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::peers::{PeersError, RegisterPeers, RegisterVersion};
use super::record::Record;
use super::records::{RecordChanges, SealedRecord};
use super::seal::KeyAge;
use super::{Kept, Register, RegisterError, RegisterInner, Registered, RegisteredStore, Registration};
use crate::error_chain::ErrorChain;
use crate::job::BackendKind;

/// How long after a failure the next try is.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// How far memory has been brought.
#[derive(Debug, Default)]
pub(super) struct Reloads {
    /// How many have begun.
    begun: AtomicU64,
    /// The last one, by its number, that succeeded.
    succeeded: AtomicU64,
    /// The version that memory is of, or a later one.
    version: AtomicU64,
}

impl Reloads {
    pub(super) fn note(&self, version: RegisterVersion) {
        self.version.store(version.0, Ordering::Release);
    }
}

impl Register {
    /// Takes in what other nodes have changed. Whatever happens, what is known stays, but for what has been removed.
    ///
    /// # Errors
    /// The store of records can't be read.
    pub async fn reload(&self) -> Result<(), RegisterError> {
        let Some(peers) = self.inner.peers.clone() else { return Ok(()) };
        let asked = self.inner.reloads.begun.load(Ordering::Acquire);
        self.detached(move |inner| async move { inner.reload(&*peers, asked).await }).await
    }

    /// The version that memory is of, or a later one.
    pub fn version(&self) -> RegisterVersion {
        RegisterVersion(self.inner.reloads.version.load(Ordering::Acquire))
    }

    /// What `access_key` stands for. What isn't known is looked for once more where the register is kept: another node may have registered
    /// it a moment ago.
    ///
    /// # Errors
    /// It isn't known whether it stands for anything: the register can't be read. That may pass.
    pub async fn find(&self, access_key: &str) -> Result<Option<Registration>, RegisterError> {
        let known = || self.inner.known().registration(access_key);
        if let Some(found) = known() {
            return Ok(Some(found));
        }
        self.reload().await?;
        Ok(known())
    }

    /// The store that a job of this user may put files into by this access key; none if there is none for it. One that isn't
    /// known is looked for once more where the register is kept: another node may have registered it a moment ago.
    ///
    /// # Errors
    /// It isn't known whether there is one: the register can't be read, or not that part of it. That may pass.
    pub async fn find_usable(
        &self,
        access_key: &str,
        kind: BackendKind,
        user: Option<&str>,
    ) -> Result<Option<Arc<RegisteredStore>>, RegisterError> {
        let usable = || self.store(access_key).filter(|_| self.may_use(access_key, kind, user));
        if let Some(store) = usable() {
            return Ok(Some(store));
        }
        if self.inner.peers.is_none() {
            return Ok(None);
        }
        self.reload().await?;
        if let Some(store) = usable() {
            return Ok(Some(store));
        }
        match self.inner.known().unreadable_part(access_key) {
            Some(access_key) => Err(RegisterError::Unreadable { access_key }),
            None => Ok(None),
        }
    }

    /// Takes in what other nodes change, until `stop`. Of a register that this process has to itself, nothing.
    pub async fn follow(&self, stop: CancellationToken) {
        let Some(peers) = self.inner.peers.clone() else { return stop.cancelled().await };
        let period = self.inner.timeouts.compare_period;
        let (mut compare_at, mut is_failing) = (Instant::now() + period, false);
        loop {
            let known = self.version();
            let changed = timeout_at(compare_at, peers.changed(known));
            let Some(changed) = stop.run_until_cancelled(changed).await else { return };
            let is_due = Instant::now() >= compare_at;
            let followed = match changed {
                Ok(Err(error)) if !is_due => Err(error.into()),
                // Read, but nobody knows of which version: without a wait the same would be heard again at once.
                Ok(Ok(_)) => self.reload().await.and_then(|()| {
                    if self.version() == known { Err(RegisterError::Peers(PeersError::UnknownVersion)) } else { Ok(()) }
                }),
                _ => self.reload().await,
            };
            match followed {
                Ok(()) => {
                    compare_at = Instant::now() + period;
                    if is_failing {
                        tracing::info!("register is read again");
                    }
                    is_failing = false;
                }
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(error = %ErrorChain(&error),
                            "changes of the register by other nodes can't be taken in; what is known stays in use");
                    }
                    is_failing = true;
                    if stop.run_until_cancelled(sleep(RETRY_WAIT)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }
}

impl RegisterInner {
    /// `asked`: how many had begun by when this was asked for.
    async fn reload(&self, peers: &dyn RegisterPeers, asked: u64) -> Result<(), RegisterError> {
        let mut kept = self.kept().await?;
        // Of many who ask at once, the first two answer for all.
        if self.reloads.succeeded.load(Ordering::Acquire) > asked {
            return Ok(());
        }
        let number = self.reloads.begun.fetch_add(1, Ordering::AcqRel) + 1;
        // Before it is read: what is published meanwhile is taken in next time.
        let version = peers.version().await;
        self.take_in(&mut kept).await?;
        self.reloads.succeeded.store(number, Ordering::Release);
        match version {
            Ok(version) => {
                self.reloads.note(version);
                peers.show(version);
            }
            Err(error) => tracing::debug!(error = %ErrorChain(&error), "register read, of an unknown version"),
        }
        Ok(())
    }

    /// Brings memory up to the store of records. The caller has locked `kept`, so that no older state is taken for newer.
    pub(super) async fn take_in(&self, kept: &mut Kept) -> Result<(), RegisterError> {
        let changes = self.records.changes(&kept.versions).await?;
        let has_new = !changes.written.is_empty();
        for access_key in self.apply(kept, changes) {
            tracing::error!(
                access_key,
                "registration could not be unsealed: it is damaged, or its sealing key is missing here; what was known of it stays in use"
            );
        }
        if has_new {
            self.known().tell_of_doubled_names();
        }
        Ok(())
    }

    /// Takes these changes into memory; gives the access keys of what can't be unsealed.
    pub(super) fn apply(&self, kept: &mut Kept, changes: RecordChanges) -> Vec<String> {
        let RecordChanges { written, removed } = changes;
        let (mut read, mut unreadable) = (Vec::with_capacity(written.len()), Vec::new());
        for SealedRecord { access_key, version, text } in written {
            kept.aged.remove(&access_key);
            match Record::unseal(&self.sealer, &access_key, &text) {
                Ok((record, age)) => {
                    if age == KeyAge::Older {
                        kept.aged.insert(access_key.clone());
                    }
                    read.push((access_key.clone(), record));
                }
                Err(_) => unreadable.push(access_key.clone()),
            }
            kept.versions.insert(access_key, version);
        }
        let mut known = self.known.write();
        for (access_key, record) in read {
            known.insert(access_key, record);
        }
        known.unreadable.extend(unreadable.iter().cloned());
        for access_key in removed {
            known.remove(&access_key);
            kept.aged.remove(&access_key);
            kept.versions.remove(&access_key);
        }
        unreadable
    }
}

impl Registered {
    /// Which part of what this access key stands for can't be read, if one can't: itself, or the user whom the store is for.
    fn unreadable_part(&self, access_key: &str) -> Option<String> {
        let owner = self.stores.get(access_key).and_then(|store| store.user.as_ref()).map(|user| &*user.access_key);
        [Some(access_key), owner].into_iter().flatten().find(|key| self.unreadable.contains(*key)).map(str::to_owned)
    }

    /// Two users of one name: a node wrote one of them when its lock was lost already.
    fn tell_of_doubled_names(&self) {
        let mut by_name = HashMap::with_capacity(self.users.len());
        for user in self.users.values() {
            if let Some(other) = by_name.insert(&user.name, &user.access_key) {
                tracing::error!(
                    user = user.name,
                    access_key = user.access_key,
                    other_access_key = other,
                    "two users have one name, the older of which nobody was told of; deregister it"
                );
            }
        }
    }
}

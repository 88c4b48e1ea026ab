//! Changing the register.
//!
//! With many nodes, each change holds their one lock, first takes in what others have changed, and then publishes a new
//! version. Whatever fails in between leaves the register as it was, or changed in a way that nobody was told of.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::MutexGuard;
use tokio::time::{Instant, timeout_at};

use super::entry::{self, NewStore, NewUser, Registration, RotatedSecret, User, UserRef};
use super::peers::{PeersError, RegisterLock, RegisterPeers, RegisterVersion};
use super::record::Record;
use super::{EarlierSecrets, Kept, Register, RegisterError, RegisterInner, WebhookSecrets, presets};
use crate::error_chain::ErrorChain;
use crate::job::{PresetName, WebhookSecret};

impl Register {
    /// Registers a client with a name and a signing secret of its own. The secret can't be asked for again.
    ///
    /// # Errors
    /// [`RegisterError::BadName`], [`RegisterError::NameTaken`] by a user who has not been deregistered, or the store of
    /// records.
    pub async fn register_user(&self, name: &str) -> Result<NewUser, RegisterError> {
        self.register_bound_user(name, None).await
    }

    /// The same of a client whose tokens must name one of these presets, which needn't be there yet; none of one who is free.
    ///
    /// # Errors
    /// [`Register::register_user`].
    pub async fn register_bound_user(
        &self,
        name: &str,
        presets: Option<Vec<PresetName>>,
    ) -> Result<NewUser, RegisterError> {
        let name = name.to_owned();
        self.detached(|inner| async move { inner.register_user(name, presets).await }).await
    }

    /// Binds a user to other presets, or to none any more; answers whether there is such a user.
    ///
    /// # Errors
    /// [`RegisterError::BindingNotConfirmed`] if it is so and another node may not know: this can be called again. Else nothing has changed.
    pub async fn bind_user(&self, access_key: &str, presets: Option<Vec<PresetName>>) -> Result<bool, RegisterError> {
        let access_key = access_key.to_owned();
        self.detached(|inner| async move { inner.bind_user(&access_key, presets).await }).await
    }

    /// Makes a new secret that calls about a user's jobs are signed with; the one before signs too for a day. None if no user
    /// has this access key.
    ///
    /// # Errors
    /// The store of records. Then nothing has changed.
    pub async fn renew_webhook_secret(&self, access_key: &str) -> Result<Option<WebhookSecret>, RegisterError> {
        let access_key = access_key.to_owned();
        self.detached(|inner| async move { inner.renew_webhook_secret(&access_key).await }).await
    }

    /// Makes a new secret that a user signs tokens with; the one before is taken too for `overlap`, and those before that no longer. None
    /// if no user has this access key.
    ///
    /// # Errors
    /// [`RegisterError::RotationNotConfirmed`] if the new one is kept and another node may not know: this can be called again for
    /// another one. Else nothing has changed, as far as anyone can see.
    pub async fn rotate_secret(
        &self,
        access_key: &str,
        overlap: Duration,
    ) -> Result<Option<RotatedSecret>, RegisterError> {
        let access_key = access_key.to_owned();
        self.detached(move |inner| async move { inner.rotate_secret(&access_key, overlap).await }).await
    }

    /// Puts other settings in the place of a store's, which stays what it is and whose it is, and answers whether there is such a store.
    /// Whatever is written there next is written with these. `settings` and `summary` are those of [`NewStore`].
    ///
    /// # Errors
    /// [`RegisterError::Unreadable`] if it isn't known what this access key stands for, or the store of records. Then nothing has changed.
    pub async fn change_store(
        &self,
        access_key: &str,
        settings: SecretString,
        summary: Value,
    ) -> Result<bool, RegisterError> {
        let access_key = access_key.to_owned();
        self.detached(move |inner| async move { inner.change_store(&access_key, settings, summary).await }).await
    }

    /// Registers a store, and gives the access key that tokens call it by.
    ///
    /// # Errors
    /// [`RegisterError::UnknownUser`] if it is to belong to a user who isn't registered, or the store of records.
    pub async fn register_store(&self, storage: NewStore) -> Result<String, RegisterError> {
        self.detached(|inner| async move { inner.register_store(storage).await }).await
    }

    /// Removes a user or a store, and answers whether there was one. A user's tokens are refused from then on; stores that
    /// belong to the user can't be used by any job, and stay until they are deregistered themselves.
    ///
    /// # Errors
    /// [`RegisterError::NotConfirmed`] if it is removed and another node may not know yet: this can be called again to hear
    /// when all do. Else nothing has changed, as far as anyone can see.
    pub async fn deregister(&self, access_key: &str) -> Result<bool, RegisterError> {
        let access_key = access_key.to_owned();
        self.detached(|inner| async move { inner.deregister(&access_key).await }).await
    }

    /// Closes the store of records, which makes the next start quick. What is in memory can still be read.
    ///
    /// # Errors
    /// The store of records.
    pub async fn close(&self) -> Result<(), RegisterError> {
        self.detached(|inner| async move {
            inner.kept.lock().await.is_closed = true;
            inner.records.close().await
        })
        .await
    }

    /// Runs `work` to its end, also if whoever has asked goes away: what is half done would make memory and store differ.
    pub(super) async fn detached<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Arc<RegisterInner>) -> F,
    ) -> Result<T, RegisterError>
    where
        F: Future<Output = Result<T, RegisterError>> + Send + 'static,
    {
        match tokio::spawn(work(Arc::clone(&self.inner))).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(RegisterError::Closed),
        }
    }
}

/// A change under way: nobody else changes the register.
pub(super) struct Change<'a> {
    _changing: MutexGuard<'a, ()>,
    pub(super) kept: MutexGuard<'a, Kept>,
    shared: Option<SharedChange<'a>>,
}

/// What of it concerns other nodes.
struct SharedChange<'a> {
    peers: &'a Arc<dyn RegisterPeers>,
    lock: RegisterLock,
    /// By when it must be done, so that the lock is still good for what must follow.
    deadline: Instant,
}

impl Change<'_> {
    /// By when it must be done.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.shared.as_ref().map(|shared| shared.deadline)
    }
}

impl RegisterInner {
    async fn register_user(&self, name: String, presets: Option<Vec<PresetName>>) -> Result<NewUser, RegisterError> {
        if !entry::is_name(&name) {
            return Err(RegisterError::BadName);
        }
        let mut change = self.begin().await?;
        let added = within(change.deadline(), self.add_user(&mut change.kept, name, presets)).await;
        let (user, version) = self.end(change, added).await?;
        self.tell(version).await;
        Ok(user)
    }

    async fn add_user(
        &self,
        kept: &mut Kept,
        name: String,
        presets: Option<Vec<PresetName>>,
    ) -> Result<NewUser, RegisterError> {
        if self.known().holder(&name).is_some() {
            return Err(RegisterError::NameTaken { name });
        }
        let access_key = entry::user_access_key()?;
        let secret = entry::user_secret()?;
        let created_at = self.clock.now();
        let webhook_secret = WebhookSecret::generate().map_err(RegisterError::Random)?;
        let webhook_secrets = WebhookSecrets::of(webhook_secret.clone());
        let earlier_secrets = EarlierSecrets::default();
        let secret_to_keep = secret.clone();
        let record =
            Record::User { created_at, name, secret: secret_to_keep, earlier_secrets, webhook_secrets, presets };
        self.write(kept, &access_key, record).await?;
        Ok(NewUser { access_key, secret, webhook_secret })
    }

    async fn renew_webhook_secret(&self, access_key: &str) -> Result<Option<WebhookSecret>, RegisterError> {
        let mut change = self.begin().await?;
        let renewed = within(change.deadline(), self.put_webhook_secret(&mut change.kept, access_key)).await;
        let (secret, version) = self.end(change, renewed).await?;
        self.tell(version).await;
        Ok(secret)
    }

    async fn put_webhook_secret(
        &self,
        kept: &mut Kept,
        access_key: &str,
    ) -> Result<Option<WebhookSecret>, RegisterError> {
        let Some(user) = self.known().users.get(access_key).cloned() else { return Ok(None) };
        let secret = WebhookSecret::generate().map_err(RegisterError::Random)?;
        let webhook_secrets = user.webhook_secrets.renewed(secret.clone(), self.clock.now());
        let record = Record::from(&User { webhook_secrets, ..User::clone(&user) });
        self.write(kept, access_key, record).await?;
        Ok(Some(secret))
    }

    async fn rotate_secret(&self, access_key: &str, overlap: Duration) -> Result<Option<RotatedSecret>, RegisterError> {
        let mut change = self.begin().await?;
        let rotated = within(change.deadline(), self.put_secret(&mut change.kept, access_key, overlap)).await;
        let (rotated, version) = self.end(change, rotated).await?;
        if let (Some(_), Some((peers, version))) = (&rotated, version) {
            let confirmed = peers.shown_by_all(version, self.timeouts.confirm).await;
            let access_key = access_key.to_owned();
            confirmed.map_err(|source| RegisterError::RotationNotConfirmed { access_key, source })?;
        }
        self.kept.lock().await.unshown.remove(access_key);
        Ok(rotated)
    }

    async fn put_secret(
        &self,
        kept: &mut Kept,
        access_key: &str,
        overlap: Duration,
    ) -> Result<Option<RotatedSecret>, RegisterError> {
        let Some(user) = self.known().users.get(access_key).cloned() else { return Ok(None) };
        let (secret, now) = (entry::user_secret()?, self.clock.now());
        // One that nobody was told takes no place among those that clients have.
        let unshown = kept.unshown.get(access_key).map(SecretString::expose_secret);
        let replaced = (unshown != Some(user.secret.expose_secret())).then(|| user.secret.clone());
        let earlier_secrets = user.earlier_secrets.with(replaced, now, overlap);
        let record = Record::from(&User { secret: secret.clone(), earlier_secrets, ..User::clone(&user) });
        self.write(kept, access_key, record).await?;
        kept.unshown.insert(access_key.to_owned(), secret.clone());
        Ok(Some(RotatedSecret { secret, overlap_until: now.after(overlap) }))
    }

    async fn bind_user(&self, access_key: &str, presets: Option<Vec<PresetName>>) -> Result<bool, RegisterError> {
        let mut change = self.begin().await?;
        let bound = within(change.deadline(), self.put_presets(&mut change.kept, access_key, presets)).await;
        let (was_there, version) = self.end(change, bound).await?;
        // Whoever takes a right away wants to know that it is gone.
        if let Some((peers, version)) = version.filter(|_| was_there) {
            let confirmed = peers.shown_by_all(version, self.timeouts.confirm).await;
            let access_key = access_key.to_owned();
            confirmed.map_err(|source| RegisterError::BindingNotConfirmed { access_key, source })?;
        }
        Ok(was_there)
    }

    async fn put_presets(
        &self,
        kept: &mut Kept,
        access_key: &str,
        presets: Option<Vec<PresetName>>,
    ) -> Result<bool, RegisterError> {
        let Some(user) = self.known().users.get(access_key).cloned() else { return Ok(false) };
        let record = Record::from(&User { presets: presets.map(Into::into), ..User::clone(&user) });
        self.write(kept, access_key, record).await?;
        Ok(true)
    }

    async fn change_store(
        &self,
        access_key: &str,
        settings: SecretString,
        summary: Value,
    ) -> Result<bool, RegisterError> {
        let mut change = self.begin().await?;
        let put = within(change.deadline(), self.put_store(&mut change.kept, access_key, settings, summary)).await;
        let (was_there, version) = self.end(change, put).await?;
        self.tell(version).await;
        Ok(was_there)
    }

    async fn put_store(
        &self,
        kept: &mut Kept,
        access_key: &str,
        settings: SecretString,
        summary: Value,
    ) -> Result<bool, RegisterError> {
        let store = match self.known().registration(access_key) {
            Some(Registration::Store(store)) => store,
            // Whose it is isn't known, and must not be lost.
            Some(Registration::Unreadable) => {
                return Err(RegisterError::Unreadable { access_key: access_key.to_owned() });
            }
            Some(Registration::User(_)) | None => return Ok(false),
        };
        let (created_at, backend, user) = (store.created_at, store.kind, store.user.clone());
        self.write(kept, access_key, Record::Storage { created_at, backend, user, settings, summary }).await?;
        Ok(true)
    }

    async fn register_store(&self, new: NewStore) -> Result<String, RegisterError> {
        let mut change = self.begin().await?;
        let added = within(change.deadline(), self.add_store(&mut change.kept, new)).await;
        let (access_key, version) = self.end(change, added).await?;
        self.tell(version).await;
        Ok(access_key)
    }

    async fn add_store(&self, kept: &mut Kept, new: NewStore) -> Result<String, RegisterError> {
        let user = new.user.map(|user| self.resolve(&user)).transpose()?;
        let access_key = entry::store_access_key()?;
        let record = Record::Storage {
            created_at: self.clock.now(),
            backend: new.kind,
            user,
            settings: new.settings,
            summary: new.summary,
        };
        self.write(kept, &access_key, record).await?;
        Ok(access_key)
    }

    /// The user of this name or access key.
    fn resolve(&self, name_or_key: &str) -> Result<UserRef, RegisterError> {
        let known = self.known();
        match known.users.get(name_or_key).or_else(|| known.holder(name_or_key)) {
            Some(user) => Ok(UserRef { access_key: user.access_key.clone(), name: user.name.clone() }),
            None => Err(RegisterError::UnknownUser),
        }
    }

    async fn deregister(&self, access_key: &str) -> Result<bool, RegisterError> {
        // A preset is nobody's registration.
        if presets::name_of(access_key).is_some() {
            return Ok(false);
        }
        let mut change = self.begin().await?;
        let removed = within(change.deadline(), self.remove(&mut change.kept, access_key)).await;
        // Published whether or not it was there: it may have been removed before, by a node that couldn't say so.
        let (was_there, version) = self.end(change, removed).await?;
        let Some((peers, version)) = version else { return Ok(was_there) };
        let confirmed = peers.shown_by_all(version, self.timeouts.confirm).await;
        confirmed.map_err(|source| RegisterError::NotConfirmed { access_key: access_key.to_owned(), source })?;
        Ok(self.kept.lock().await.unconfirmed.remove(access_key))
    }

    async fn remove(&self, kept: &mut Kept, access_key: &str) -> Result<bool, RegisterError> {
        let Entry::Occupied(version) = kept.versions.entry(access_key.to_owned()) else { return Ok(false) };
        self.records.remove(access_key).await?;
        // Only then from memory: if it can't be removed, a second try must still find it.
        version.remove();
        self.known.write().remove(access_key);
        if self.peers.is_some() {
            kept.unconfirmed.insert(access_key.to_owned());
        }
        Ok(true)
    }

    /// Seals `record` and keeps it under `access_key`, in memory too.
    pub(super) async fn write(&self, kept: &mut Kept, access_key: &str, record: Record) -> Result<(), RegisterError> {
        let sealed = record.seal(&self.sealer, access_key)?;
        // Another node may put a preset of the same name meanwhile, and that must stay.
        let is_own = presets::name_of(access_key).is_none();
        if self.peers.is_some() && is_own && !kept.versions.contains_key(access_key) {
            kept.unanswered.insert(access_key.to_owned());
        }
        let version = self.records.put(access_key, &sealed).await?;
        kept.versions.insert(access_key.to_owned(), version);
        self.known.write().insert(access_key.to_owned(), record);
        Ok(())
    }

    /// Seals with the newest key what is sealed with an older one, unless another node has done so.
    pub(super) async fn reseal(&self) -> Result<(), RegisterError> {
        let mut change = self.begin().await?;
        let resealed = within(change.deadline(), self.write_aged(&mut change.kept)).await;
        self.end(change, resealed).await.map(drop)
    }

    async fn write_aged(&self, kept: &mut Kept) -> Result<(), RegisterError> {
        for access_key in kept.aged.clone() {
            let record = self.known().record(&access_key);
            if let Some(record) = record {
                self.write(kept, &access_key, record).await?;
            }
            kept.aged.remove(&access_key);
        }
        Ok(())
    }

    /// Keeps everybody else from changing the register, and brings memory up to what they have changed.
    pub(super) async fn begin(&self) -> Result<Change<'_>, RegisterError> {
        let changing = self.changing.lock().await;
        let Some(peers) = &self.peers else {
            let kept = self.kept().await?;
            return Ok(Change { _changing: changing, kept, shared: None });
        };
        // Before memory is locked: whoever waits for another node still takes in what that one changes.
        let lock = peers.lock(self.timeouts.lock_lease, self.timeouts.lock_wait).await?;
        let deadline = lock.good_until - self.timeouts.lock_lease / 3;
        let taken_in = within(Some(deadline), async {
            let mut kept = self.kept().await?;
            self.take_in(&mut kept).await?;
            self.remove_unanswered(&mut kept).await?;
            Ok(kept)
        });
        match taken_in.await {
            Ok(kept) => Ok(Change { _changing: changing, kept, shared: Some(SharedChange { peers, lock, deadline }) }),
            Err(error) => {
                peers.unlock(lock).await;
                Err(error)
            }
        }
    }

    /// What is known of the store of records, unless that is closed.
    pub(super) async fn kept(&self) -> Result<MutexGuard<'_, Kept>, RegisterError> {
        let kept = self.kept.lock().await;
        if kept.is_closed { Err(RegisterError::Closed) } else { Ok(kept) }
    }

    /// Lets the other nodes know that the register has changed, and change it.
    pub(super) async fn end<'a, T>(
        &'a self,
        change: Change<'a>,
        done: Result<T, RegisterError>,
    ) -> Result<(T, Option<Published<'a>>), RegisterError> {
        let Change { _changing, mut kept, shared } = change;
        let Some(SharedChange { peers, lock, .. }) = shared else { return done.map(|done| (done, None)) };
        let done = match done {
            Ok(done) => peers.publish(&lock).await.map(|version| (done, version)).map_err(RegisterError::from),
            Err(error) => Err(error),
        };
        if let Ok((_, version)) = &done {
            kept.unanswered.clear();
            self.reloads.note(*version);
            peers.show(*version);
        } else {
            // Nobody is given what was written. For this it takes no lock: nobody else has its access key.
            let deadline = Some(Instant::now() + self.timeouts.lock_lease / 3);
            if let Err(error) = within(deadline, self.remove_unanswered(&mut kept)).await {
                tracing::warn!(error = %ErrorChain(&error), "unfinished registration stays until the next change");
            }
        }
        peers.unlock(lock).await;
        done.map(|(done, version)| (done, Some((peers, version))))
    }

    async fn remove_unanswered(&self, kept: &mut Kept) -> Result<(), RegisterError> {
        for access_key in kept.unanswered.clone() {
            self.records.remove(&access_key).await?;
            kept.versions.remove(&access_key);
            self.known.write().remove(&access_key);
            kept.unanswered.remove(&access_key);
        }
        Ok(())
    }

    /// Waits a little for the other nodes to know of a change that is good in any case.
    pub(super) async fn tell(&self, published: Option<Published<'_>>) {
        let Some((peers, version)) = published else { return };
        if let Err(error) = peers.shown_by_all(version, self.timeouts.tell).await {
            tracing::info!(error = %ErrorChain(&error), "register changed; not every node knows yet");
        }
    }
}

/// Does `work` by the deadline, or leaves it where it is.
pub(super) async fn within<T>(
    deadline: Option<Instant>,
    work: impl Future<Output = Result<T, RegisterError>>,
) -> Result<T, RegisterError> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.unwrap_or(Err(RegisterError::TookTooLong)),
        None => work.await,
    }
}

pub(super) type Published<'a> = (&'a Arc<dyn RegisterPeers>, RegisterVersion);

impl From<PeersError> for RegisterError {
    fn from(error: PeersError) -> Self {
        Self::Peers(error)
    }
}

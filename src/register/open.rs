//! Opening the register: from where it is kept to memory.

use std::path::Path;
use std::sync::Arc;

use super::records::{RecordChanges, SealedRecords, SealedVersion};
use super::secrets::SealedSecrets;
use super::sled::{OpenedRecords, SledRecords};
use super::{Installation, Kept, Register, RegisterError, RegisterInner, RegisterPeers, Sealer, SharedTimeouts};
use crate::clock::SharedClock;
use crate::database::SetAside;
use crate::error_chain::ErrorChain;

/// The register, and what was wrong with it.
#[derive(Debug)]
pub struct OpenedRegister {
    /// The register, ready for use.
    pub register: Register,
    /// A database that was damaged and is kept under another name: users and stores may have to be registered again.
    pub set_aside: Option<SetAside>,
    /// Access keys whose records can't be unsealed, though others can: damaged, or sealed with a key that was removed
    /// from the key file. They can't be used, and can be deregistered.
    pub unreadable: Vec<String>,
}

/// Where a register is kept that many nodes share.
#[derive(Clone, Debug)]
pub struct SharedRegister {
    /// Users, stores and presets.
    pub records: Arc<dyn SealedRecords>,
    /// What has a name instead of an access key.
    pub secrets: Arc<dyn SealedSecrets>,
    /// The other nodes. This one is live among them already: else it might miss what changes while it reads.
    pub peers: Arc<dyn RegisterPeers>,
    /// How long it waits for them.
    pub timeouts: SharedTimeouts,
}

/// The register that many nodes share, and what was wrong with it.
#[derive(Debug)]
pub struct OpenedSharedRegister {
    /// The register, ready for use; [`Register::follow`] keeps it up to date.
    pub register: Register,
    /// Whose it is.
    pub installation: Installation,
    /// [`OpenedRegister::unreadable`].
    pub unreadable: Vec<String>,
}

impl Register {
    /// Opens the register in the data directory `data`, or makes one. What was sealed with an older key is sealed with the
    /// newest, so that the older one can be taken out of the key file.
    ///
    /// Blocks: belongs before the runtime or in `spawn_blocking`.
    ///
    /// # Errors
    /// [`RegisterError::WrongKeys`] if it has records and none can be unsealed, or the disk.
    pub fn open(data: &Path, sealer: Arc<Sealer>, clock: SharedClock) -> Result<OpenedRegister, RegisterError> {
        let OpenedRecords { records, set_aside } = SledRecords::open(data)?;
        let records = Arc::new(records);
        let mut inner = RegisterInner::new(Arc::clone(&records) as Arc<dyn SealedRecords>, None, sealer, clock);
        let mut kept = Kept::default();
        let all = RecordChanges { written: records.all(), removed: Vec::new() };
        let unreadable = inner.apply(&mut kept, all);
        inner.check_keys(&unreadable)?;
        let mut aged = Vec::new();
        for access_key in kept.aged.drain() {
            let Some(record) = inner.known().record(&access_key) else { continue };
            let text = record.seal(&inner.sealer, &access_key)?;
            kept.versions.insert(access_key.clone(), SealedVersion::of(&text));
            aged.push((access_key, text));
        }
        if !aged.is_empty() {
            records.put_all(&aged)?;
        }
        inner.kept = kept.into();
        Ok(OpenedRegister { register: Self { inner: Arc::new(inner) }, set_aside, unreadable })
    }

    /// Opens the register that many nodes share; the first of them makes what tells their installation from others, which is
    /// to be `expected` where that is known. What was sealed with an older key is sealed with the newest.
    ///
    /// # Errors
    /// [`RegisterError::Installation`] or [`RegisterError::WrongKeys`] if this node's sealing keys are not those of the
    /// others, or where it is kept can't be read.
    pub async fn open_shared(
        shared: SharedRegister,
        sealer: Arc<Sealer>,
        clock: SharedClock,
        expected: Option<&str>,
    ) -> Result<OpenedSharedRegister, RegisterError> {
        let SharedRegister { records, secrets, peers, timeouts } = shared;
        // First, since it tells whose keys are wrong; made last, when what is registered has been unsealed with these.
        let installation = Installation::find(&*secrets, &sealer, expected).await?;
        let inner = RegisterInner::new(records, Some(Arc::clone(&peers)), Arc::clone(&sealer), clock);
        let inner = RegisterInner { timeouts, ..inner };
        let register = Self { inner: Arc::new(inner) };
        register.reload().await?;
        let unreadable: Vec<_> = register.inner.known().unreadable.iter().cloned().collect();
        register.inner.check_keys(&unreadable)?;
        let installation = match installation {
            Some(found) => found,
            None => Installation::make(&*secrets, &sealer, &*peers, expected).await?,
        };
        installation.reseal(&*secrets, &sealer).await?;
        register.reseal().await;
        Ok(OpenedSharedRegister { register, installation, unreadable })
    }

    /// Seals with the newest key what is sealed with an older one.
    async fn reseal(&self) {
        if self.inner.kept.lock().await.aged.is_empty() {
            return;
        }
        let resealed = self.detached(|inner| async move { inner.reseal().await }).await;
        if let Err(error) = resealed {
            tracing::warn!(error = %ErrorChain(&error),
                "registrations stay sealed with an older key, which must stay in the key file; the next start tries again");
        }
    }
}

impl RegisterInner {
    /// That something could be unsealed, if there is anything.
    fn check_keys(&self, unreadable: &[String]) -> Result<(), RegisterError> {
        let known = self.known();
        let has_readable = !known.users.is_empty() || !known.stores.is_empty() || !known.presets.is_empty();
        if unreadable.is_empty() || has_readable {
            return Ok(());
        }
        Err(RegisterError::WrongKeys { records: unreadable.len(), place: self.records.place() })
    }
}

//! Which installation a register is of that many nodes share: a sealed constant, which every node must be able to open at its
//! start. One with another sealing key would take what the others have registered for damaged, and they what it registers.

use uuid::Uuid;

use super::peers::{PeersError, RegisterPeers, SharedTimeouts};
use super::seal::{KeyAge, SealError, Sealer, UnsealError};
use super::secrets::{SealedSecrets, SecretsError};
use crate::job::SealedText;

const NAME: &str = "installation";
const CONTEXT: &str = "installation";

/// An installation: all nodes that share a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// A UUID, which the first node made.
    pub id: String,
    is_aged: bool,
}

/// Why a node doesn't belong to the installation whose register it was to open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallationError {
    /// What the first node sealed can't be unsealed.
    #[error(
        "the sealing keys of this node are not those of the installation in {place}: give every node the same file, named by \
         PIXERVE_VAULT_KEY_FILE; if they are the same, that text was damaged, or its key was removed from the file too early"
    )]
    OtherSealingKey {
        /// Where it is.
        place: String,
        /// Why.
        source: UnsealError,
    },
    /// The bucket, or the prefix in it, belongs to others.
    #[error(
        "the register in {place} is of installation {found}, and what this node shares with others besides is of \
         {expected}: one of PIXERVE_SPOOL_URL and PIXERVE_QUEUE_URL names what belongs to others"
    )]
    Other {
        /// Where it is.
        place: String,
        /// Whose the register is.
        found: String,
        /// Whose the rest is.
        expected: String,
    },
    /// It was made, and is not there.
    #[error("what tells this installation from others was written to {place}, and is not there")]
    Vanished {
        /// Where it should be.
        place: String,
    },
    /// It can't be read or written.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// It can't be sealed.
    #[error("can't seal what tells this installation from others")]
    Seal(#[from] SealError),
    /// The other nodes can't be asked to wait.
    #[error(transparent)]
    Peers(#[from] PeersError),
}

impl Installation {
    /// The one whose register this is, if it is anybody's; `expected` where that is known.
    ///
    /// # Errors
    /// It is another one, or its keys are others.
    pub(super) async fn find(
        secrets: &dyn SealedSecrets,
        sealer: &Sealer,
        expected: Option<&str>,
    ) -> Result<Option<Self>, InstallationError> {
        let Some(text) = secrets.get(NAME).await? else { return Ok(None) };
        let place = || secrets.place(NAME);
        let failed = |source| InstallationError::OtherSealingKey { place: place(), source };
        let (plain, age) = sealer.unseal_noting_age(CONTEXT, &text).map_err(failed)?;
        let found = std::str::from_utf8(&plain).map_err(|_| failed(UnsealError::Content))?.to_owned();
        match expected {
            Some(expected) if expected != found => {
                Err(InstallationError::Other { place: place(), found, expected: expected.to_owned() })
            }
            _ => Ok(Some(Self { id: found, is_aged: age == KeyAge::Older })),
        }
    }

    /// Makes one, unless another node was first: then it is that one.
    pub(super) async fn make(
        secrets: &dyn SealedSecrets,
        sealer: &Sealer,
        peers: &dyn RegisterPeers,
        expected: Option<&str>,
    ) -> Result<Self, InstallationError> {
        let id = expected.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        let text = sealer.seal(CONTEXT, id.as_bytes())?;
        create_locked::<InstallationError>(secrets, NAME, &text, peers).await?;
        // Whatever is there now is everybody's.
        let made = Self::find(secrets, sealer, expected).await?;
        made.ok_or_else(|| InstallationError::Vanished { place: secrets.place(NAME) })
    }

    /// Seals it with the newest key, if it isn't.
    pub(super) async fn reseal(&self, secrets: &dyn SealedSecrets, sealer: &Sealer) -> Result<(), InstallationError> {
        if self.is_aged {
            // Never another text, so whoever is last doesn't matter.
            secrets.put(NAME, &sealer.seal(CONTEXT, self.id.as_bytes())?).await?;
        }
        Ok(())
    }
}

/// Keeps `sealed` under `name` unless there is something. Under the lock, since not every store keeps what is there of two who
/// write at once.
pub(super) async fn create_locked<E: From<SecretsError> + From<PeersError>>(
    secrets: &dyn SealedSecrets,
    name: &str,
    sealed: &SealedText,
    peers: &dyn RegisterPeers,
) -> Result<(), E> {
    let SharedTimeouts { lock_lease, .. } = SharedTimeouts::default();
    // A node that has died with it is waited out: without this no other starts.
    let lock = peers.lock(lock_lease, lock_lease).await?;
    // Whoever had the lock before may have made it, which stays then.
    let created = secrets.create(name, sealed).await;
    peers.unlock(lock).await;
    Ok(created?)
}

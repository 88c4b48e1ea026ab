//! The secret for calls about jobs of the keys of `jwt.json`: a sealed text of its own, so that the command line can show and
//! renew it beside running servers.

use std::sync::Arc;

use parking_lot::RwLock;
use secrecy::zeroize::Zeroizing;

use super::installation::create_locked;
use super::peers::{PeersError, RegisterPeers};
use super::seal::{KeyAge, SealError, UnsealError};
use super::secrets::{SealedSecrets, SecretsError};
use super::{Sealer, WebhookSecrets};
use crate::clock::Timestamp;
use crate::job::{SealedText, WebhookSecret};

/// Under which it is kept, sealed.
pub const WEBHOOK_SECRET: &str = "callback";
const CONTEXT: &str = "callback-secret";

/// The secrets that are kept, as they were read last. Clones are one.
#[derive(Clone, Debug)]
pub struct KeptWebhookSecret {
    kept: Arc<dyn SealedSecrets>,
    sealer: Arc<Sealer>,
    secrets: Arc<RwLock<WebhookSecrets>>,
}

/// Why there is no secret. The messages never contain one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookSecretError {
    /// It can't be read or written.
    #[error("the callback secret can't be used")]
    Secrets(#[from] SecretsError),
    /// It was sealed with another key, or damaged.
    #[error(
        "can't unseal the callback secret in {place}: restore the sealing key that it was sealed with, or remove it \
         for a new secret, which every receiver has to be given"
    )]
    Unseal {
        /// Where it is.
        place: String,
        /// Why.
        source: UnsealError,
    },
    /// It can't be sealed.
    #[error("can't seal the callback secret")]
    Seal(#[from] SealError),
    /// There is none: no server has started here yet.
    #[error("there is no callback secret in {place} yet; the first start of the server makes it")]
    Missing {
        /// Where it should be.
        place: String,
    },
    /// The other nodes can't be asked to wait.
    #[error("can't make a callback secret")]
    Peers(#[from] PeersError),
}

impl KeptWebhookSecret {
    /// Reads it, or makes a new one; with others who may do the same, the first of them. What was sealed with an older key is
    /// sealed with the newest.
    ///
    /// # Errors
    /// It can't be read or written, or a sealing key is missing.
    pub async fn open_or_make(
        kept: Arc<dyn SealedSecrets>,
        sealer: Arc<Sealer>,
        peers: Option<&dyn RegisterPeers>,
    ) -> Result<Self, WebhookSecretError> {
        let secret = Self::at(kept, sealer);
        match secret.read().await? {
            Some((secrets, KeyAge::Newest)) => secret.set(secrets),
            Some((secrets, KeyAge::Older)) => secret.write(secrets).await?,
            None => {
                let text = secret.seal(&WebhookSecrets::of(new_secret()?))?;
                match peers {
                    Some(peers) => {
                        create_locked::<WebhookSecretError>(&*secret.kept, WEBHOOK_SECRET, &text, peers).await?;
                    }
                    None => secret.kept.create(WEBHOOK_SECRET, &text).await?,
                }
                // Whatever is there now is everybody's.
                secret.reload().await?;
            }
        }
        Ok(secret)
    }

    /// Reads that of a server that has started before.
    ///
    /// # Errors
    /// As for [`KeptWebhookSecret::open_or_make`], and if there is none.
    pub async fn open(kept: Arc<dyn SealedSecrets>, sealer: Arc<Sealer>) -> Result<Self, WebhookSecretError> {
        let secret = Self::at(kept, sealer);
        secret.reload().await?;
        Ok(secret)
    }

    fn at(kept: Arc<dyn SealedSecrets>, sealer: Arc<Sealer>) -> Self {
        Self { kept, sealer, secrets: Arc::default() }
    }

    /// Those that sign at this time, the newest first.
    #[must_use]
    pub fn good_at(&self, now: Timestamp) -> Vec<WebhookSecret> {
        self.secrets.read().good_at(now)
    }

    /// Keeps a new secret; the one before signs too for a day. Of two who do this at once the last has its way, and the
    /// other's never signs.
    ///
    /// # Errors
    /// It can't be written, or there are no random numbers.
    pub async fn renew(&self, now: Timestamp) -> Result<WebhookSecret, WebhookSecretError> {
        let secret = new_secret()?;
        let renewed = self.secrets.read().renewed(secret.clone(), now);
        self.write(renewed).await?;
        Ok(secret)
    }

    /// Reads it again, which the command line may have changed. If that fails, what was read before stays.
    ///
    /// # Errors
    /// As for [`KeptWebhookSecret::open`].
    pub async fn reload(&self) -> Result<(), WebhookSecretError> {
        let read = self.read().await?;
        let (secrets, _) =
            read.ok_or_else(|| WebhookSecretError::Missing { place: self.kept.place(WEBHOOK_SECRET) })?;
        self.set(secrets);
        Ok(())
    }

    fn set(&self, secrets: WebhookSecrets) {
        *self.secrets.write() = secrets;
    }

    async fn read(&self) -> Result<Option<(WebhookSecrets, KeyAge)>, WebhookSecretError> {
        let Some(text) = self.kept.get(WEBHOOK_SECRET).await? else { return Ok(None) };
        let failed = |source| WebhookSecretError::Unseal { place: self.kept.place(WEBHOOK_SECRET), source };
        let (plain, age) = self.sealer.unseal_noting_age(CONTEXT, &text).map_err(failed)?;
        let secrets = serde_json::from_slice(&plain).map_err(|_| failed(UnsealError::Content))?;
        Ok(Some((secrets, age)))
    }

    async fn write(&self, secrets: WebhookSecrets) -> Result<(), WebhookSecretError> {
        self.kept.put(WEBHOOK_SECRET, &self.seal(&secrets)?).await?;
        self.set(secrets);
        Ok(())
    }

    fn seal(&self, secrets: &WebhookSecrets) -> Result<SealedText, SealError> {
        let plain = Zeroizing::new(serde_json::to_vec(secrets).map_err(|_| SealError::NotJson)?);
        self.sealer.seal(CONTEXT, &plain)
    }
}

fn new_secret() -> Result<WebhookSecret, WebhookSecretError> {
    WebhookSecret::generate().map_err(|error| WebhookSecretError::Seal(SealError::Random(error)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use secrecy::ExposeSecret;

    use super::*;
    use crate::durable::{self, OWNER_ONLY};
    use crate::register::{MemoryPeers, MemorySecrets, SecretFiles};

    fn texts(secret: &KeptWebhookSecret, now: Timestamp) -> Vec<String> {
        secret.good_at(now).iter().map(|secret| secret.text().expose_secret().to_owned()).collect()
    }

    fn files(directory: &Path) -> Arc<dyn SealedSecrets> {
        Arc::new(SecretFiles::new(directory))
    }

    #[tokio::test]
    async fn the_file_is_made_once_read_by_others_and_renewed_beside_a_running_server() {
        let dir = tempfile::tempdir().expect("a directory");
        let sealer = Arc::new(Sealer::open(&dir.path().join("vault.key")).expect("keys"));
        let open = || KeptWebhookSecret::open(files(dir.path()), Arc::clone(&sealer));
        let open_or_make = || KeptWebhookSecret::open_or_make(files(dir.path()), Arc::clone(&sealer), None);
        let now = Timestamp::from_millis(1_000);
        assert!(matches!(open().await, Err(WebhookSecretError::Missing { .. })));
        let server = open_or_make().await.expect("made");
        let command = open().await.expect("read");
        assert_eq!(texts(&server, now), texts(&command, now));
        let old = texts(&server, now);
        let new = command.renew(now).await.expect("renewed").text().expose_secret().to_owned();
        assert_eq!(texts(&server, now), old);
        server.reload().await.expect("read again");
        assert_eq!(texts(&server, now), [new, old[0].clone()]);
        let kept = fs::read_to_string(dir.path().join("callback.secret")).expect("it is there");
        assert!(!kept.contains("whsec_"), "it is sealed");
        let again = open_or_make().await.expect("read");
        assert_eq!(texts(&again, now), texts(&server, now));
    }

    #[tokio::test]
    async fn a_secret_sealed_with_an_older_key_is_sealed_with_the_newest_at_the_next_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = dir.path().join("vault.key");
        let now = Timestamp::from_millis(1_000);
        let open_or_make = async || {
            let sealer = Arc::new(Sealer::open(&keys).expect("keys"));
            KeptWebhookSecret::open_or_make(files(dir.path()), sealer, None).await
        };
        let first = open_or_make().await.expect("made");
        let text = fs::read_to_string(&keys).expect("keys");
        let newer = format!("{text}{}\n", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]));
        durable::replace_file(&keys, newer.as_bytes(), OWNER_ONLY).expect("appended");
        let second = open_or_make().await.expect("read");
        assert_eq!(texts(&first, now), texts(&second, now));
        let (_, age) = second.read().await.expect("read").expect("it is there");
        assert_eq!(age, KeyAge::Newest);
    }

    #[tokio::test]
    async fn nodes_that_start_at_once_sign_with_one_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        let sealer = Arc::new(Sealer::open(&dir.path().join("vault.key")).expect("keys"));
        let (peers, secrets) = (MemoryPeers::default(), MemorySecrets::default());
        let start = async |name| {
            let node = peers.node(name);
            KeptWebhookSecret::open_or_make(Arc::new(secrets.clone()), Arc::clone(&sealer), Some(&*node)).await
        };
        let (a, b) = tokio::join!(start("a"), start("b"));
        let now = Timestamp::from_millis(1_000);
        assert_eq!(texts(&a.expect("made"), now), texts(&b.expect("read"), now));
    }
}

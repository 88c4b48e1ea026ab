//! What only the register knows of a job's callback, for those who deliver: where it goes, and what it is signed with.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use url::Url;

use crate::callback::{OpenCallback, OpenErased, SigningSecrets};
use crate::clock::{SharedClock, Timestamp};
use crate::config::Config;
use crate::error_chain::ErrorChain;
use crate::job::{CallbackHeader, CallbackTarget, JobId, Owner, SealedText, WebhookSecret};
use crate::ledger::ErasedJob;
use crate::register::{KeptWebhookSecret, Register, RegisterPeers, SealedSecrets, Sealer, WebhookSecretError};

/// How soon a secret that the command line has renewed signs.
const RELOAD_PERIOD: Duration = Duration::from_secs(30);

/// The register's sealer, as the callback room sees it.
pub(super) struct SealedCallbacks(pub(super) Arc<Sealer>);

impl OpenCallback for SealedCallbacks {
    fn open(&self, id: &JobId, target: &CallbackTarget) -> Result<(Url, Vec<CallbackHeader>), String> {
        self.0.unseal_callback(id, target).map_err(|error| error.to_string())
    }
}

impl OpenErased for SealedCallbacks {
    fn open_erased(&self, id: &JobId, sealed: &SealedText) -> Result<ErasedJob, String> {
        let told = self.0.unseal_erased(id, sealed).map_err(|error| error.to_string())?;
        serde_json::from_slice(&told).map_err(|_| "another version of Pixerve sealed it".to_owned())
    }
}

/// Where the secret of the keys of `jwt.json` comes from.
#[derive(Clone, Debug)]
pub(super) enum KeysSecret {
    /// A setting.
    Set(WebhookSecret),
    /// What the first start makes, and keeps sealed.
    Kept(KeptWebhookSecret),
    /// That, sealed with a key that is missing: calls are not signed until it is back.
    Lost,
}

impl KeysSecret {
    /// What is set, or what `kept` has; if that is nothing it is made, and where others may do the same (`peers`), the first
    /// one's stays.
    ///
    /// A secret that can't be unsealed keeps nobody from working: receivers that verify refuse what is not signed, and are
    /// called again once the key is back.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(super) async fn open(
        config: &Config,
        kept: Arc<dyn SealedSecrets>,
        sealer: &Arc<Sealer>,
        peers: Option<&dyn RegisterPeers>,
    ) -> Result<Self, WebhookSecretError> {
        if let Some(secret) = &config.callback.secret {
            return Ok(Self::Set(secret.clone()));
        }
        match KeptWebhookSecret::open_or_make(kept, Arc::clone(sealer), peers).await {
            Ok(secret) => Ok(Self::Kept(secret)),
            Err(lost @ WebhookSecretError::Unseal { .. }) => {
                error!(error = %ErrorChain(&lost), "callbacks of the keys of jwt.json are not signed");
                Ok(Self::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes up what `pixerve webhook-secret --rotate` writes, until `stop`.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let Self::Kept(secret) = self else { return stop.cancelled().await };
        let mut ticks = interval(RELOAD_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Err(error) = secret.reload().await {
                warn!(error = %ErrorChain(&error), "callback secret can't be read again; the old one stays in use");
            }
        }
    }
}

/// Everybody's secrets.
pub(super) struct CallbackSecrets {
    pub(super) register: Arc<Register>,
    pub(super) keys: KeysSecret,
    pub(super) clock: SharedClock,
}

impl SigningSecrets for CallbackSecrets {
    fn secrets(&self, owner: &Owner, accepted: Timestamp) -> Vec<WebhookSecret> {
        if owner.user.is_some() {
            return self.register.webhook_secrets(owner, accepted);
        }
        match &self.keys {
            KeysSecret::Set(secret) => vec![secret.clone()],
            KeysSecret::Kept(secret) => secret.good_at(self.clock.now()),
            KeysSecret::Lost => Vec::new(),
        }
    }
}

//! A user or store as it is kept: all of it sealed, so that the disk holds neither secrets nor names in the clear, and
//! writing to it can't give one user's store to another.

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::seal::{SealError, Sealer, UnsealError};
use super::webhook_secrets::WebhookSecrets;
use super::{EarlierSecrets, RegisteredStore, User, UserRef, seal};
use crate::clock::Timestamp;
use crate::job::{BackendKind, Preset, PresetName, SealedText};

/// What is known about one access key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    User {
        created_at: Timestamp,
        name: String,
        #[serde(serialize_with = "exposed")]
        secret: SecretString,
        /// None of a user whose secret was never rotated.
        #[serde(default, skip_serializing_if = "EarlierSecrets::is_empty")]
        earlier_secrets: EarlierSecrets,
        /// None of a user who was registered before calls were signed.
        #[serde(default)]
        webhook_secrets: WebhookSecrets,
        /// None of a user who is bound to no presets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        presets: Option<Vec<PresetName>>,
    },
    Storage {
        created_at: Timestamp,
        backend: BackendKind,
        user: Option<UserRef>,
        #[serde(serialize_with = "exposed")]
        settings: SecretString,
        summary: Value,
    },
    /// What was put, as it came. Its name is in what it is kept under.
    Preset { text: String },
}

impl Record {
    pub(super) fn seal(&self, sealer: &Sealer, access_key: &str) -> Result<SealedText, SealError> {
        let plain = Zeroizing::new(serde_json::to_vec(self).map_err(|_| SealError::NotJson)?);
        sealer.seal(&context(access_key), &plain)
    }

    pub(super) fn unseal(
        sealer: &Sealer,
        access_key: &str,
        text: &SealedText,
    ) -> Result<(Self, seal::KeyAge), UnsealError> {
        let (plain, age) = sealer.unseal_noting_age(&context(access_key), text)?;
        let record = serde_json::from_slice(&plain).map_err(|_| UnsealError::Content)?;
        Ok((record, age))
    }
}

impl From<&User> for Record {
    fn from(user: &User) -> Self {
        Self::User {
            created_at: user.created_at,
            name: user.name.clone(),
            secret: user.secret.clone(),
            earlier_secrets: user.earlier_secrets.clone(),
            webhook_secrets: user.webhook_secrets.clone(),
            presets: user.presets.as_deref().map(<[_]>::to_vec),
        }
    }
}

impl From<&RegisteredStore> for Record {
    fn from(storage: &RegisteredStore) -> Self {
        Self::Storage {
            created_at: storage.created_at,
            backend: storage.kind,
            user: storage.user.clone(),
            settings: storage.settings.clone(),
            summary: storage.summary.clone(),
        }
    }
}

impl From<&Preset> for Record {
    fn from(preset: &Preset) -> Self {
        Self::Preset { text: preset.text().to_owned() }
    }
}

fn context(access_key: &str) -> String {
    format!("credential:{access_key}")
}

/// Only ever called to be sealed at once.
fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

//! Users and stores, as the other rooms see them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{EarlierSecrets, RegisterError, WebhookSecrets};
use crate::clock::Timestamp;
use crate::job::{BackendKind, PresetName, WebhookSecret};

const NAME_BYTES_MAX: usize = 64;
const ACCESS_KEY_BYTES: usize = 16;
const SECRET_BYTES: usize = 48;

/// A registered user: a client with a signing secret of its own.
#[derive(Clone, Debug)]
pub struct User {
    /// What its tokens carry as `kid`.
    pub access_key: String,
    /// Its name: `[A-Za-z0-9._-]{1,64}`, unique among the users that are registered.
    pub name: String,
    /// What it signs with.
    pub secret: SecretString,
    /// What it signed with before.
    pub earlier_secrets: EarlierSecrets,
    /// What calls about its jobs are signed with.
    pub webhook_secrets: WebhookSecrets,
    /// Those of which its tokens must name one; none of a user whose tokens may say what they like.
    pub presets: Option<Arc<[PresetName]>>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// What is answered to a registration of a user, once.
#[derive(Debug)]
pub struct NewUser {
    /// What its tokens must carry as `kid`.
    pub access_key: String,
    /// What it signs with (HS256), as UTF-8 bytes.
    pub secret: SecretString,
    /// What it verifies calls about its jobs with.
    pub webhook_secret: WebhookSecret,
}

/// What a user's rotation came to, answered once.
#[derive(Debug)]
pub struct RotatedSecret {
    /// What it signs with from now on (HS256), as UTF-8 bytes.
    pub secret: SecretString,
    /// When the one before is taken no more.
    pub overlap_until: Timestamp,
}

/// A store to register.
#[derive(Debug)]
pub struct NewStore {
    /// What kind of store it is.
    pub kind: BackendKind,
    /// The name or access key of the one user it is for; none: it is for all.
    pub user: Option<String>,
    /// All the writer needs, credentials included: JSON text, which isn't read here.
    pub settings: SecretString,
    /// What of it may be listed: bucket, endpoint, prefix. No secret.
    pub summary: Value,
}

/// A store as it was registered, its settings unsealed.
#[derive(Debug)]
pub struct RegisteredStore {
    /// What tokens call it.
    pub access_key: String,
    /// What kind of store it is.
    pub kind: BackendKind,
    /// The one user it is for, if it is not for all.
    pub user: Option<UserRef>,
    /// [`NewStore::settings`].
    pub settings: SecretString,
    /// When it was registered.
    pub created_at: Timestamp,
    /// [`NewStore::summary`].
    pub summary: Value,
}

/// A user as a store remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRef {
    /// Its access key, which no later user ever has.
    pub access_key: String,
    /// The name that it had when the store was registered.
    pub name: String,
}

/// What an access key stands for, with all that is known of it.
#[derive(Clone, Debug)]
pub enum Registration {
    /// A user.
    User(Arc<User>),
    /// A store, whoever may use it.
    Store(Arc<RegisteredStore>),
    /// Something that can't be unsealed.
    Unreadable,
}

/// What kind of thing an access key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A user, who signs tokens.
    User,
    /// A store of this kind.
    Store(BackendKind),
}

/// A line of [`super::Register::list`].
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterEntry {
    /// The access key, which is no secret.
    pub access_key: String,
    /// What it stands for.
    pub kind: EntryKind,
    /// The user's own name, or that of the user a store belongs to.
    pub user: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// [`NewStore::summary`]; of a user the presets that it is bound to, or null.
    pub details: Value,
}

impl User {
    pub(super) fn summary(&self) -> RegisterEntry {
        RegisterEntry {
            access_key: self.access_key.clone(),
            kind: EntryKind::User,
            user: Some(self.name.clone()),
            created_at: self.created_at,
            details: self.presets.as_deref().map_or(Value::Null, |presets| json!({ "presets": presets })),
        }
    }
}

impl RegisteredStore {
    pub(super) fn summary(&self) -> RegisterEntry {
        RegisterEntry {
            access_key: self.access_key.clone(),
            kind: EntryKind::Store(self.kind),
            user: self.user.as_ref().map(|user| user.name.clone()),
            created_at: self.created_at,
            details: self.summary.clone(),
        }
    }
}

pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

pub(super) fn user_access_key() -> Result<String, RegisterError> {
    access_key("pxu_")
}

pub(super) fn store_access_key() -> Result<String, RegisterError> {
    access_key("pxs_")
}

/// Hex, so that it survives URLs, shells and double clicks.
fn access_key(prefix: &str) -> Result<String, RegisterError> {
    let mut random = [0; ACCESS_KEY_BYTES];
    getrandom::fill(&mut random).map_err(RegisterError::Random)?;
    Ok(format!("{prefix}{}", hex::encode(random)))
}

pub(super) fn user_secret() -> Result<SecretString, RegisterError> {
    let mut random = Zeroizing::new([0; SECRET_BYTES]);
    getrandom::fill(random.as_mut_slice()).map_err(RegisterError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(random.as_slice()).into())
}

//! Registered users, as far as their tokens are concerned.

use std::sync::Arc;

use secrecy::SecretString;

use crate::job::PresetName;

/// A registered user's signing keys. Their algorithm is HS256, over each secret's UTF-8 bytes.
#[derive(Clone, Debug)]
pub struct UserKey {
    /// The user's name.
    pub name: String,
    /// The secret the user signs with.
    pub secret: SecretString,
    /// Those it signed with before, as far as they are still taken.
    pub earlier_secrets: Vec<SecretString>,
    /// The presets of which its tokens must name one; none of a user whose tokens may say what they like.
    pub presets: Option<Arc<[PresetName]>>,
}

/// Where the keys of registered users are found.
pub trait UserKeys: Send + Sync {
    /// The user whose tokens carry this `kid`. Called for tokens that nobody has verified yet: it must be cheap and
    /// treat `kid` as nothing but a map key.
    fn user_key(&self, kid: &str) -> Option<UserKey>;
}

/// Nobody is registered.
impl UserKeys for () {
    fn user_key(&self, _kid: &str) -> Option<UserKey> {
        None
    }
}

//! Tokens as a signer, or a forger, would put them together.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use pixerve::auth::{AuthError, AuthSettings, Authenticator, KeyRing, UserKey, UserKeys, Verified};
use pixerve::clock::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

/// The shared secret of `main`.
pub(super) const SECRET: &str = "a secret of thirty-two bytes, at least";
/// When everything here happens: 2026-01-01T00:00:00Z.
pub(super) const NOW_S: u64 = 1_767_225_600;

pub(super) const RSA_PUBLIC: &str = include_str!("keys/rfc7515_a2_public.pem");
pub(super) const EC_PUBLIC: &str = include_str!("keys/rfc7515_a3_public.pem");
pub(super) const ED_PUBLIC: &str = include_str!("keys/rfc8037_a_public.pem");
pub(super) const ED_PRIVATE: &str = include_str!("keys/rfc8037_a_private.pem");

pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(NOW_S * 1000)
}

/// A `jwt.json` with one key of each algorithm: `main`, `app`, `ec` and `ed`.
pub(super) fn every_algorithm() -> Value {
    json!({"keys": [
        {"kid": "main", "algorithm": "HS256", "secret": SECRET},
        {"kid": "app", "algorithm": "RS256", "public_key_pem": RSA_PUBLIC},
        {"kid": "ec", "algorithm": "ES256", "public_key_pem": EC_PUBLIC},
        {"kid": "ed", "algorithm": "EdDSA", "public_key_pem": ED_PUBLIC},
    ]})
}

/// The keys of a `jwt.json` with this content.
pub(super) fn key_ring(content: &str) -> Result<KeyRing, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwt.json");
    put(&path, content);
    KeyRing::load(&path, None)
        .map(|ring| ring.expect("the file is there"))
        .map_err(|error| error.to_string().replace(&path.display().to_string(), "jwt.json"))
}

#[expect(clippy::disallowed_methods, reason = "a test's own file need not be durable")]
pub(super) fn put(path: &Path, content: &str) {
    std::fs::write(path, content).expect("written");
}

pub(super) fn authenticator(content: &Value) -> Authenticator {
    with_settings(content, AuthSettings::default())
}

pub(super) fn with_settings(content: &Value, settings: AuthSettings) -> Authenticator {
    Authenticator::new(key_ring(&content.to_string()).expect("good keys"), settings)
}

/// Verifies with the keys of [`every_algorithm`], no users, at [`NOW_S`].
pub(super) fn verify(token: &str) -> Result<Verified, AuthError> {
    authenticator(&every_algorithm()).verify(token, &(), now())
}

/// Claims that nothing is wrong with.
pub(super) fn claims() -> Value {
    json!({"sub": "user-123", "iat": NOW_S, "exp": NOW_S + 3600, "job": {"directHost": true}})
}

/// [`claims`] with these changed; `null` takes one away.
#[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
pub(super) fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    let fields = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        fields.remove(name);
        if !value.is_null() {
            fields.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// A token of this header and these claims, as text, signed with HS256 and this secret.
pub(crate) fn hs256(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}

/// A good token but for these claims.
pub(super) fn saying(claims: &Value) -> String {
    hs256(r#"{"alg":"HS256"}"#, &claims.to_string(), SECRET.as_bytes())
}

/// A good token but for this header.
pub(super) fn headed(header: &Value) -> String {
    hs256(&header.to_string(), &claims().to_string(), SECRET.as_bytes())
}

/// Registered users by `kid`.
pub(super) struct Users(HashMap<String, UserKey>);

impl Users {
    pub(super) fn of(users: &[(&str, &str, &str)]) -> Self {
        let entry = |(kid, name, secret): &(&str, &str, &str)| {
            (
                (*kid).to_owned(),
                UserKey {
                    name: (*name).to_owned(),
                    secret: SecretString::from(*secret),
                    earlier_secrets: Vec::new(),
                    presets: None,
                },
            )
        };
        Self(users.iter().map(entry).collect())
    }
}

impl UserKeys for Users {
    fn user_key(&self, kid: &str) -> Option<UserKey> {
        self.0.get(kid).cloned()
    }
}

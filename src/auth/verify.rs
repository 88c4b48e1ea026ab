//! From a token to its owner. The order matters: nothing of a token is acted on before its signature is known
//! to be good, except what picks the key.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::claims::Checked;
use super::key::{Algorithm, Key};
use super::settings::TOKEN_BYTES_MAX;
use super::{AuthError, AuthSettings, KeyRing, ReadPaths, Scope, UserKeys, claims, strict_json};
use crate::clock::Timestamp;
use crate::job::{Owner, PresetName};

/// Header fields that would let a token choose its own key or change what its signature covers.
const FORBIDDEN_HEADERS: [&str; 6] = ["jku", "jwk", "x5u", "x5c", "crit", "b64"];

/// Checks tokens, and signs them.
#[derive(Debug)]
pub struct Authenticator {
    keys: RwLock<Arc<KeyRing>>,
    pub(super) settings: AuthSettings,
}

/// A token that has passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The user and subject that it stands for.
    pub owner: Owner,
    /// What it may do besides uploading and cancelling.
    pub scope: Option<Scope>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When it is taken no more, which may be a little later.
    pub good_until: Timestamp,
    /// The presets of which its job must name one; none of a token that is free to say what it likes.
    pub presets: Option<Arc<[PresetName]>>,
    /// All its claims, the `job` among them.
    pub claims: Map<String, Value>,
}

impl Verified {
    /// Whether it may do everything.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.scope == Some(Scope::Admin)
    }

    /// Lets work go on that takes this scope, and gives the one that the token has.
    ///
    /// # Errors
    /// [`AuthError::MissingScope`] if it has less.
    pub fn require(&self, least: Scope) -> Result<Scope, AuthError> {
        self.scope.filter(|scope| *scope >= least).ok_or(AuthError::MissingScope { scope: least })
    }
}

impl Authenticator {
    /// Checks tokens against `keys`, asking what `settings` ask.
    pub fn new(keys: KeyRing, settings: AuthSettings) -> Self {
        Self { keys: RwLock::new(Arc::new(keys)), settings }
    }

    /// From now on only tokens of `keys`, and of registered users, are taken.
    pub fn replace_keys(&self, keys: KeyRing) {
        *self.keys.write() = Arc::new(keys);
    }

    /// The keys as they are now.
    pub(super) fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read())
    }

    /// Checks `token`, and answers what it says. Keys of `jwt.json` go before `users`; a token without a `kid` is tried
    /// against keys of `jwt.json` alone.
    ///
    /// # Errors
    /// The first thing that is wrong with it; [`AuthError::OnlyReads`] if it is good for reading private files.
    pub fn verify(&self, token: &str, users: &dyn UserKeys, now: Timestamp) -> Result<Verified, AuthError> {
        match self.verify_any(token, users, now)? {
            (verified, None) => Ok(verified),
            (_, Some(_)) => Err(AuthError::OnlyReads),
        }
    }

    /// Checks `token`, and answers whose private files it reads, and which; none if it is good for something else.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn verify_reader(
        &self,
        token: &str,
        users: &dyn UserKeys,
        now: Timestamp,
    ) -> Result<Option<(Verified, ReadPaths)>, AuthError> {
        let (verified, paths) = self.verify_any(token, users, now)?;
        Ok(paths.map(|paths| (verified, paths)))
    }

    fn verify_any(
        &self,
        token: &str,
        users: &dyn UserKeys,
        now: Timestamp,
    ) -> Result<(Verified, Option<ReadPaths>), AuthError> {
        let parts = Parts::of(token, TOKEN_BYTES_MAX)?;
        let header = TokenHeader::parse(parts.header)?;
        let keys = self.keys();
        let signer = signer(&keys, &header, users)?;
        if !signer.signed(parts.signed.as_bytes(), parts.signature) {
            return Err(if header.kid.is_some() { AuthError::BadSignature } else { AuthError::UnknownSigner });
        }
        let claims = json_part(parts.claims, "claims")?;
        let Checked { sub, expires_at, good_until } = claims::check(&claims, &self.settings, now)?;
        let paths = ReadPaths::of_claims(&claims)?;
        let scope = Scope::of_claims(&claims, signer.may_be_admin());
        let presets = signer.presets();
        Ok((Verified { owner: signer.into_owner(sub), scope, expires_at, good_until, presets, claims }, paths))
    }
}

/// Who may have signed a token with this header.
fn signer<'a>(ring: &'a KeyRing, header: &TokenHeader, users: &dyn UserKeys) -> Result<Signer<'a>, AuthError> {
    let algorithm = header.algorithm;
    let Some(kid) = &header.kid else {
        let keys: Vec<_> = ring.for_algorithm(algorithm).collect();
        return if keys.is_empty() { Err(AuthError::NoKeyFor { algorithm }) } else { Ok(Signer::Ring(keys)) };
    };
    if let Some(key) = ring.by_kid(kid) {
        return registered_for(algorithm, key).map(|()| Signer::Ring(vec![key]));
    }
    let user = users.user_key(kid).ok_or(AuthError::UnknownKid)?;
    let mut keys = Vec::with_capacity(1 + user.earlier_secrets.len());
    for secret in [&user.secret].into_iter().chain(&user.earlier_secrets) {
        // A registered secret is always long enough; one that is not verifies nothing.
        let key = Key::shared(secret.expose_secret().as_bytes()).map_err(|_| AuthError::BadSignature)?;
        registered_for(algorithm, &key)?;
        keys.push(key);
    }
    Ok(Signer::User { name: user.name, access_key: kid.clone(), keys, presets: user.presets })
}

/// Refuses an `alg` that the key is not for: a public key could be passed off as a shared secret.
fn registered_for(algorithm: Algorithm, key: &Key) -> Result<(), AuthError> {
    let registered = key.algorithm();
    if registered == algorithm { Ok(()) } else { Err(AuthError::WrongAlgorithm { registered }) }
}

/// Who may have signed a token.
enum Signer<'a> {
    /// A holder of one of these keys of `jwt.json`.
    Ring(Vec<&'a Key>),
    /// A registered user, with one of these.
    User { name: String, access_key: String, keys: Vec<Key>, presets: Option<Arc<[PresetName]>> },
}

impl Signer<'_> {
    fn signed(&self, message: &[u8], signature: &str) -> bool {
        match self {
            Self::Ring(keys) => keys.iter().any(|key| key.verifies(message, signature)),
            Self::User { keys, .. } => keys.iter().any(|key| key.verifies(message, signature)),
        }
    }

    fn may_be_admin(&self) -> bool {
        matches!(self, Self::Ring(_))
    }

    fn presets(&self) -> Option<Arc<[PresetName]>> {
        match self {
            Self::Ring(_) => None,
            Self::User { presets, .. } => presets.clone(),
        }
    }

    fn into_owner(self, sub: String) -> Owner {
        match self {
            Self::Ring(_) => Owner { user: None, access_key: None, sub },
            Self::User { name, access_key, .. } => Owner { user: Some(name), access_key: Some(access_key), sub },
        }
    }
}

/// A token's three parts, still encoded.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// What the signature covers: header, dot, claims.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str, bytes_max: usize) -> Result<Self, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > bytes_max {
            return Err(AuthError::TooLong { max: bytes_max });
        }
        let not_three = || malformed("it must have three parts, separated by dots");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(not_three)?;
        let (header, claims) = signed.split_once('.').ok_or_else(not_three)?;
        if claims.contains('.') {
            return Err(not_three());
        }
        Ok(Self { header, claims, signature, signed })
    }
}

/// What of a token's header picks the key.
struct TokenHeader {
    algorithm: Algorithm,
    kid: Option<String>,
}

impl TokenHeader {
    fn parse(encoded: &str) -> Result<Self, AuthError> {
        let mut fields = json_part(encoded, "header")?;
        if let Some(field) = FORBIDDEN_HEADERS.into_iter().find(|field| fields.contains_key(*field)) {
            return Err(AuthError::ForbiddenHeader { field });
        }
        let algorithm = fields.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let kid = match fields.remove("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(malformed("its header's `kid` must be a string")),
        };
        Ok(Self { algorithm: algorithm.ok_or(AuthError::UnsupportedAlgorithm)?, kid })
    }
}

fn json_part(encoded: &str, name: &str) -> Result<Map<String, Value>, AuthError> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed(format!("its {name} is not base64url")))?;
    strict_json::object(&bytes).map_err(|detail| malformed(format!("its {name}: {detail}")))
}

fn malformed(detail: impl Into<String>) -> AuthError {
    AuthError::Malformed { detail: detail.into() }
}

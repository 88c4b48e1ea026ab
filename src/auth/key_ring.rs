//! The keys of `jwt.json`.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::key::{Algorithm, Key, KeyError};
use super::strict_json;
use crate::durable::{self, OWNER_ONLY};

/// The `kid` of the key that the first start makes.
const GENERATED_KID: &str = "main";
const GENERATED_SECRET_BYTES: usize = 48;
const KID_BYTES_MAX: usize = 256;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Why there are no keys to check tokens with. The messages never contain a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyRingError {
    /// The file can't be read.
    #[error("can't read the token keys in `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file says something else than it should.
    #[error("the token keys in `{}` can't be used: {detail}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The secret that stands in for the file can't be used.
    #[error("the secret in PIXERVE_JWT_SECRET can't be used: {0}")]
    Secret(#[source] KeyError),
    /// There are none, and it is not for this process to make some.
    #[error(
        "there are no token keys: `{}` doesn't exist and PIXERVE_JWT_SECRET is not set. With many nodes each is given the same \
         ones, by that or by a file that PIXERVE_JWT_FILE names; `pixerve keys` makes it, once", .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A new file can't be made.
    #[error("can't make new token keys in `{}`", .path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The keys whose tokens may do everything, admin work included. Never empty.
#[derive(Debug)]
pub struct KeyRing {
    entries: Vec<RingKey>,
}

/// A key and the name that tokens call it by, if any.
#[derive(Debug)]
pub(super) struct RingKey {
    pub(super) kid: Option<String>,
    pub(super) key: Key,
}

impl KeyRing {
    /// The keys of `secret` if there is one (the value of `PIXERVE_JWT_SECRET`), else those of the file at `path`;
    /// none if there is neither.
    ///
    /// # Errors
    /// If what there is can't be used.
    pub fn load(path: &Path, secret: Option<&SecretString>) -> Result<Option<Self>, KeyRingError> {
        if let Some(secret) = secret {
            let key = Key::shared(secret.expose_secret().as_bytes()).map_err(KeyRingError::Secret)?;
            return Ok(Some(Self { entries: vec![RingKey { kid: None, key }] }));
        }
        let text = match std::fs::read(path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyRingError::Read { path: path.to_owned(), source }),
        };
        let unusable = |detail| KeyRingError::Content { path: path.to_owned(), detail };
        Self::parse(&text).map(Some).map_err(unusable)
    }

    /// As [`KeyRing::load`], where others have the same keys: with many nodes none of them makes some.
    ///
    /// # Errors
    /// If what there is can't be used, and [`KeyRingError::Missing`] if there is nothing.
    pub fn load_existing(path: &Path, secret: Option<&SecretString>) -> Result<Self, KeyRingError> {
        Self::load(path, secret)?.ok_or_else(|| KeyRingError::Missing { path: path.to_owned() })
    }

    /// Makes a file at `path` with one random HS256 secret, readable by its owner alone, and gives its keys.
    ///
    /// # Errors
    /// If it can't be written, or is there already: it is never overwritten.
    pub fn generate(path: &Path) -> Result<Self, KeyRingError> {
        let create = |source| KeyRingError::Create { path: path.to_owned(), source };
        let mut random = Zeroizing::new([0; GENERATED_SECRET_BYTES]);
        getrandom::fill(random.as_mut_slice()).map_err(|e| create(e.into()))?;
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(random.as_slice()));
        let text = Zeroizing::new(format!(
            "{{\n  \"keys\": [\n    {{\"kid\": \"{GENERATED_KID}\", \"algorithm\": \"HS256\", \"secret\": \"{}\"}}\n  ]\n}}\n",
            *secret
        ));
        durable::create_file(path, text.as_bytes(), OWNER_ONLY).map_err(|error| create(error.into()))?;
        let key = Key::shared(secret.as_bytes()).expect("INVARIANT: 48 random bytes are long enough");
        Ok(Self { entries: vec![RingKey { kid: Some(GENERATED_KID.to_owned()), key }] })
    }

    /// The keys that `text`, the content of a `jwt.json`, registers.
    ///
    /// # Errors
    /// What is wrong and where.
    fn parse(text: &[u8]) -> Result<Self, String> {
        // Editors on Windows may begin a file with it.
        let mut file = strict_json::object(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text))?;
        let entries = match (file.remove("keys"), file.remove("secret")) {
            (Some(Value::Array(keys)), None) if !keys.is_empty() => parse_entries(keys)?,
            (None, Some(Value::String(secret))) => {
                let secret = Zeroizing::new(secret);
                vec![RingKey { kid: None, key: Key::shared(secret.as_bytes()).map_err(|e| e.to_string())? }]
            }
            _ => return Err(r#"it must be {"keys": [...]} with at least one key, or {"secret": "..."}"#.to_owned()),
        };
        match file.keys().next() {
            Some(unknown) => Err(format!("unknown field `{unknown}`")),
            None => Ok(Self { entries }),
        }
    }

    /// How many keys there are; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The key that tokens call `kid`.
    pub(super) fn by_kid(&self, kid: &str) -> Option<&Key> {
        self.entries.iter().find(|entry| entry.kid.as_deref() == Some(kid)).map(|entry| &entry.key)
    }

    /// Every key registered for `algorithm`.
    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.entries.iter().map(|entry| &entry.key).filter(move |key| key.algorithm() == algorithm)
    }

    /// The first key that can sign.
    pub(super) fn signing(&self) -> Option<&RingKey> {
        self.entries.iter().find(|entry| entry.key.can_sign())
    }
}

fn parse_entries(keys: Vec<Value>) -> Result<Vec<RingKey>, String> {
    let mut entries: Vec<RingKey> = Vec::with_capacity(keys.len());
    for (i, value) in keys.into_iter().enumerate() {
        let Value::Object(fields) = value else { return Err(format!("keys/{i} must be an object")) };
        let entry = parse_entry(fields).map_err(|detail| format!("keys/{i}: {detail}"))?;
        if entry.kid.is_some() && entries.iter().any(|earlier| earlier.kid == entry.kid) {
            return Err(format!("keys/{i}: its `kid` is that of an earlier key"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_entry(mut fields: Map<String, Value>) -> Result<RingKey, String> {
    let kid = text(&mut fields, "kid")?;
    if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > KID_BYTES_MAX) {
        return Err(format!("`kid` must have 1 to {KID_BYTES_MAX} bytes, or be left out"));
    }
    let algorithm = text(&mut fields, "algorithm")?
        .and_then(|name| Algorithm::from_name(&name))
        .ok_or_else(|| format!("`algorithm` must be one of {}", Algorithm::NAMES))?;
    let secret = text(&mut fields, "secret")?;
    let public = text(&mut fields, "public_key_pem")?;
    let private = text(&mut fields, "private_key_pem")?;
    if let Some(unknown) = fields.keys().next() {
        return Err(format!("unknown field `{unknown}`"));
    }
    let key = match (algorithm, secret, public, private) {
        (Algorithm::Hs256, Some(secret), None, None) => Key::shared(secret.as_bytes()),
        (Algorithm::Hs256, ..) => return Err("an HS256 key has a `secret` and no PEM".to_owned()),
        (_, None, Some(public), private) => Key::pair(algorithm, &public, private.as_ref().map(|pem| pem.as_str())),
        (..) => return Err(format!("a key for {} has a `public_key_pem` and no `secret`", algorithm.as_str())),
    };
    Ok(RingKey { kid: kid.map(|kid| kid.to_string()), key: key.map_err(|e| e.to_string())? })
}

/// Takes the field `name`, which must be a string if it is there.
fn text(fields: &mut Map<String, Value>, name: &str) -> Result<Option<Zeroizing<String>>, String> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(Zeroizing::new(text))),
        Some(_) => Err(format!("`{name}` must be a string")),
    }
}

//! Sealing: XChaCha20-Poly1305 under keys that live in a file apart from what they seal.
//!
//! Whatever is sealed is bound to a context, which names the record it belongs to: moved to another record, it can't be
//! unsealed.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use secrecy::zeroize::Zeroizing;

use super::sealing_keys::{self, SealingKey, SealingKeysError};
use crate::job::{ContentHash, SealedText};

/// Random nonces of this size can be drawn for ever without one coming twice.
const NONCE_BYTES: usize = 24;

/// What a key for fingerprints is derived for.
const FINGERPRINTS: &[u8] = b"pixerve job fingerprints";

/// Seals small secrets, and unseals them.
pub struct Sealer {
    /// Oldest first; never empty.
    keys: Vec<XChaCha20Poly1305>,
    /// Of the newest key.
    fingerprint_key: hmac::Key,
}

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// Far larger than anything that is sealed here.
    #[error("too large to seal")]
    TooLarge,
    /// What is to be sealed can't be written as JSON.
    #[error("can't be written as JSON")]
    NotJson,
}

/// Why nothing was unsealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// It was never sealed, or is cut.
    #[error("it is not sealed text")]
    Form,
    /// It was changed or moved, or its key is gone.
    #[error("it was sealed with a key that is not in the key file, or for another record, or was changed")]
    Refused,
    /// It was sealed by another version of this software.
    #[error("what was sealed is not what was expected")]
    Content,
}

/// Whether a key is the one that seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAge {
    Newest,
    Older,
}

impl Sealer {
    /// Reads the keys in the file at `path`; if there is no such file, makes one with a random key. The last key
    /// seals, every key unseals: to rotate, append one.
    ///
    /// Blocks: belongs before the runtime or in `spawn_blocking`.
    ///
    /// # Errors
    /// If anyone but its owner may read the file, or it can't be read, made, or understood.
    pub fn open(path: &Path) -> Result<Self, SealingKeysError> {
        Ok(Self::with(&sealing_keys::read_or_make(path)?))
    }

    /// Reads the keys in the file at `path`, which others have too: with many nodes none of them makes one. Blocks.
    ///
    /// # Errors
    /// As for [`Sealer::open`], and [`SealingKeysError::Missing`] if there is no such file.
    pub fn open_existing(path: &Path) -> Result<Self, SealingKeysError> {
        Ok(Self::with(&sealing_keys::read(path)?))
    }

    /// Makes a file at `path` with one random key, readable by its owner alone. Blocks.
    ///
    /// # Errors
    /// If it can't be written, or is there already: it is never overwritten.
    pub fn make_key_file(path: &Path) -> Result<(), SealingKeysError> {
        sealing_keys::make(path).map(drop)
    }

    fn with(keys: &[SealingKey]) -> Self {
        let newest = keys.last().expect("INVARIANT: there is at least one key");
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, newest.as_slice()), FINGERPRINTS);
        Self {
            fingerprint_key: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()),
            keys: keys.iter().map(|key| XChaCha20Poly1305::new((&**key).into())).collect(),
        }
    }

    /// Seals `plain` under the newest key, bound to `context`.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Result<SealedText, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let key = self.keys.last().expect("INVARIANT: there is at least one key");
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = key.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::TooLarge)?;
        Ok(SealedText(STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// What is the same for the same `text` as long as the newest key is, and tells nothing of it without that key.
    #[must_use]
    pub fn fingerprint(&self, text: &str) -> ContentHash {
        // A digest of a digest: of the length that a hash has, whatever the library gives.
        ContentHash::of(hmac::sign(&self.fingerprint_key, text.as_bytes()).as_ref())
    }

    /// How many keys there are; at least one.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// What was sealed for this `context`.
    ///
    /// # Errors
    /// If it was not, or not with any key we have.
    pub fn unseal(&self, context: &str, sealed: &SealedText) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        self.unseal_noting_age(context, sealed).map(|(plain, _)| plain)
    }

    pub(super) fn unseal_noting_age(
        &self,
        context: &str,
        sealed: &SealedText,
    ) -> Result<(Zeroizing<Vec<u8>>, KeyAge), UnsealError> {
        let bytes = STANDARD.decode(&sealed.0).map_err(|_| UnsealError::Form)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(UnsealError::Form)?;
        let nonce = XNonce::from(*nonce);
        let ages = std::iter::once(KeyAge::Newest).chain(std::iter::repeat(KeyAge::Older));
        self.keys
            .iter()
            .rev()
            .zip(ages)
            .find_map(|(key, age)| {
                let payload = Payload { msg: sealed, aad: context.as_bytes() };
                key.decrypt(&nonce, payload).ok().map(|plain| (Zeroizing::new(plain), age))
            })
            .ok_or(UnsealError::Refused)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys [redacted])", self.keys.len())
    }
}

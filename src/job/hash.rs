//! The SHA-256 of uploaded bytes, and the `hash` that clients know a job by.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::Owner;

/// SHA-256 of some bytes, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The digest of these 32 bytes.
    #[must_use]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hex digits; `None` if it is anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not 64 hex digits"))
    }
}

/// Hashes bytes as they stream by.
#[derive(Clone, Debug, Default)]
pub struct ContentHasher(Sha256);

impl ContentHasher {
    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of everything taken in.
    #[must_use]
    pub fn finish(self) -> ContentHash {
        ContentHash(self.0.finalize().into())
    }
}

/// `h-` and 64 hex digits: longer than any plain subject.
const OWNER_PART_BYTES_MAX: usize = 66;

/// `<sha256>_<owner part>`: what the wire calls `hash`. It names every job of one owner with the same bytes; as a
/// parameter it means the newest of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[0-9a-f]{64}_.{1,66}$")]
pub struct HashKey(String);

impl HashKey {
    /// The key of `owner`'s jobs with these bytes.
    #[must_use]
    pub fn new(content: &ContentHash, owner: &Owner) -> Self {
        Self(format!("{content}_{}", owner.hash_part()))
    }

    /// Reads what a client sent; `None` if no job can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (content, owner) = text.split_once('_')?;
        ContentHash::from_hex(content)?;
        ((1..=OWNER_PART_BYTES_MAX).contains(&owner.len()) && !content.bytes().any(|b| b.is_ascii_uppercase()))
            .then(|| Self(text.to_owned()))
    }

    /// The SHA-256 of the bytes.
    #[must_use]
    pub fn content(&self) -> ContentHash {
        ContentHash::from_hex(self.parts().0).expect("INVARIANT: a key begins with a SHA-256")
    }

    /// What stands for the owner in it: [`Owner::hash_part`].
    #[must_use]
    pub fn owner_part(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('_').expect("INVARIANT: a key has a `_`")
    }

    /// The key as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

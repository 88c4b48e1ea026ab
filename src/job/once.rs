//! Tokens that are good for one upload.

use serde::{Deserialize, Serialize};

use super::{ContentHash, ContentHasher, Owner};
use crate::clock::Timestamp;

/// The token of a job that says `once`: another upload with it is refused for as long as it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceToken {
    /// Stands for the token: the digest of its owner and its `jti`.
    pub digest: ContentHash,
    /// When it is taken no more.
    pub good_until: Timestamp,
}

impl OnceToken {
    /// Bytes that a `jti` may have.
    pub const JTI_BYTES_MAX: usize = 256;

    /// The token of `owner` with this `jti`, which no other token of the same owner has.
    #[must_use]
    pub fn new(owner: &Owner, jti: &str, good_until: Timestamp) -> Self {
        let mut hasher = ContentHasher::default();
        // Of one length, so that what is behind it is the `jti`.
        hasher.update(&owner.digest());
        hasher.update(jti.as_bytes());
        Self { digest: hasher.finish(), good_until }
    }
}

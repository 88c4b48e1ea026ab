//! Requests that may be repeated, and what they are answered with then.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ContentHash, ContentHasher, Owner};

/// Stands for the `Idempotency-Key` of a request, which its owner gives to no other request of the same route: the digest of
/// all three. Another owner's same key is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(ContentHash);

impl IdempotencyKey {
    /// How long an answer is given again.
    pub const KEPT_FOR: Duration = Duration::from_hours(24);

    /// That of `owner`'s request of `route`, a path, with this key.
    #[must_use]
    pub fn new(owner: &Owner, route: &str, key: &str) -> Self {
        let mut hasher = ContentHasher::default();
        // The first is of one length, and no path has a NUL: what is behind it is the key.
        hasher.update(&owner.digest());
        hasher.update(route.as_bytes());
        hasher.update(&[0]);
        hasher.update(key.as_bytes());
        Self(hasher.finish())
    }

    /// Its bytes: database keys.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// The same for two requests that ask for the same. Keyed: what they ask for holds secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestFingerprint(pub ContentHash);

/// What a request is answered with when it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// Of the request that it was given to first.
    pub fingerprint: RequestFingerprint,
    /// Its status, a success.
    pub status: u16,
    /// Its body, as JSON.
    pub body: String,
}

impl KeptAnswer {
    const GONE: u16 = 410;

    /// That of a request whose job has been erased: nothing of either.
    #[must_use]
    pub fn erased() -> Self {
        Self {
            fingerprint: RequestFingerprint(ContentHash::from_bytes([0; 32])),
            status: Self::GONE,
            body: String::new(),
        }
    }

    /// Whether it is that.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.status == Self::GONE
    }
}

/// The request that asked for a job, as the job's record has it: in the spool with its answer, so that whoever queues the job keeps
/// that in the same step; in the queue without, which keeps answers by their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The request's key.
    pub key: IdempotencyKey,
    /// What it is answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<KeptAnswer>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_route_and_key_make_a_key_and_no_two_of_them_run_into_each_other() {
        let owner = |sub: &str| Owner { user: None, access_key: None, sub: sub.to_owned() };
        let key = IdempotencyKey::new(&owner("me"), "/upload", "key-1");
        assert_eq!(key, IdempotencyKey::new(&owner("me"), "/upload", "key-1"));
        for (sub, route, text) in [
            ("you", "/upload", "key-1"),
            ("me", "/retry", "key-1"),
            ("me", "/upload", "key-2"),
            ("me", "/uploadkey", "-1"),
        ] {
            assert_ne!(key, IdempotencyKey::new(&owner(sub), route, text), "{sub} {route} {text}");
        }
    }
}

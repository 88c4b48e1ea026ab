//! Ids of requests.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// The longest id that is taken from a client.
const ID_BYTES_MAX: usize = 64;

/// The id of a request that came at `now`: the client's or a proxy's own `x-request-id` if it is 1 to 64 of
/// `[A-Za-z0-9._-]`, else a new UUID of version 7.
#[must_use]
pub fn request_id(given: Option<&str>, now: Timestamp) -> String {
    match given {
        Some(id) if is_plain(id) => id.to_owned(),
        _ => new_id(now).hyphenated().to_string(),
    }
}

/// Its random bits are a count, hashed by a key that is this process's own: an id is to be unique, not secret, and random bytes
/// of the kernel's for each request take longer than all else about its id.
fn new_id(now: Timestamp) -> Uuid {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);

    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut bits = [0; 10];
    bits[..8].copy_from_slice(&KEY.hash_one(count).to_be_bytes());
    bits[8..].copy_from_slice(&count.to_be_bytes()[6..]);
    Builder::from_unix_timestamp_millis(now.as_millis(), &bits).into_uuid()
}

fn is_plain(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    #[test]
    fn a_valid_request_id_of_the_client_is_kept() {
        assert_eq!(request_id(Some("edge-7.a_b"), NOW), "edge-7.a_b");
    }

    #[test]
    fn an_invalid_request_id_of_the_client_is_replaced() {
        let long = "a".repeat(65);
        for odd in ["", "a b", "a\nb", "é", long.as_str()] {
            let id = request_id(Some(odd), NOW);
            assert_eq!(Uuid::parse_str(&id).map(|id| id.get_version_num()), Ok(7), "{odd:?}");
        }
    }

    #[test]
    fn new_ids_differ() {
        let ids: HashSet<_> = (0..100_000).map(|_| request_id(None, NOW)).collect();
        assert_eq!(ids.len(), 100_000);
    }
}

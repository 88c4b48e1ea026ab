//! Ids of requests.

use uuid::{NoContext, Uuid};

use crate::clock::Timestamp;

/// The longest id that is taken from a client.
const ID_BYTES_MAX: usize = 64;

/// The id of a request that came at `now`: the client's or a proxy's own `x-request-id` if it is 1 to 64 of
/// `[A-Za-z0-9._-]`, else a new UUID of version 7.
#[must_use]
pub fn request_id(given: Option<&str>, now: Timestamp) -> String {
    match given {
        Some(id) if is_plain(id) => id.to_owned(),
        _ => {
            let subsec_nanos = u32::try_from(now.as_millis() % 1000).unwrap_or(0) * 1_000_000;
            Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, now.as_secs(), subsec_nanos)).hyphenated().to_string()
        }
    }
}

fn is_plain(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
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
        assert_ne!(request_id(None, NOW), request_id(None, NOW));
    }
}

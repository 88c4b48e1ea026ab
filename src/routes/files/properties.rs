//! What holds of every path and every range that somebody may ask for.

use http::HeaderMap;
use http::header::RANGE;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::range::{self, RequestedRange};
use super::tree;

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn is_plain_directory(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+=,~-".contains(&b))
}

fn wanted(value: &str, bytes: u64) -> RequestedRange {
    let mut headers = HeaderMap::new();
    if let Ok(value) = value.parse() {
        headers.insert(RANGE, value);
    }
    range::parse(&headers, bytes)
}

proptest! {
    #[test]
    fn a_path_that_is_looked_for_has_plain_segments_alone(
        path in prop_oneof![any::<String>(), "(\\.|/|%2[ef]|%00|%5c|\\\\|[a-z]|%25|%c0%af){0,24}"],
    ) {
        if let Some(found) = tree::parse(&format!("/files/{path}")) {
            prop_assert!(is_plain(&found.name) && found.name.len() <= 255, "{}", found.name);
            prop_assert!(found.sub_dir.segments().all(is_plain_directory));
            prop_assert!(found.sub_dir.segments().count() <= 8);
        }
    }

    #[test]
    fn a_stored_path_is_found_however_it_is_encoded(
        dirs in proptest::collection::vec("[a-zA-Z0-9_@+=,~-][a-zA-Z0-9._@+=,~-]{0,63}", 0..=8),
        name in "[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,254}",
        encoded in any::<bool>(),
    ) {
        let write = |text: &str| if encoded { utf8_percent_encode(text, NON_ALPHANUMERIC).to_string() } else { text.to_owned() };
        let path: Vec<_> = dirs.iter().chain([&name]).map(|segment| write(segment)).collect();
        let found = tree::parse(&format!("/files/{}", path.join("/"))).expect("it is plain");
        prop_assert_eq!(found.name, name);
        prop_assert_eq!(found.sub_dir.as_str(), dirs.join("/"));
    }

    #[test]
    fn a_part_lies_within_its_file(value in "(bytes=)?[0-9]{0,21}[-,= ]{0,2}[0-9]{0,21}|[ -~]{0,30}", bytes in any::<u64>()) {
        if let RequestedRange::Part { first, last } = wanted(&value, bytes) {
            prop_assert!(first <= last && last < bytes, "{value} of {bytes}: {first}-{last}");
        }
    }

    #[test]
    fn a_range_is_read_as_it_was_written(first in any::<u64>(), last in any::<u64>(), bytes in 1..=u64::MAX) {
        let read = wanted(&format!("bytes={first}-{last}"), bytes);
        let expected = match (first, last) {
            (first, last) if first > last => RequestedRange::Whole,
            (first, _) if first >= bytes => RequestedRange::Unsatisfiable,
            (first, last) => RequestedRange::Part { first, last: last.min(bytes - 1) },
        };
        prop_assert_eq!(read, expected);
    }
}

//! Names, paths, hashes and ranges: whatever is accepted stays where it belongs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pixerve::job::{HashKey, Stem, SubDir};
use pixerve::routes::fuzz;

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.len() <= 255
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_plain_directory(segment: &str) -> bool {
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.len() <= 64
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+=,~-".contains(&b))
}

fuzz_target!(|text: &str| {
    let stem = Stem::of(text).to_string();
    assert!((1..=80).contains(&stem.len()) && stem.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b)));
    if let Some(sub_dir) = SubDir::parse(text) {
        assert_eq!(sub_dir.as_str().trim_matches('/'), text.trim_matches('/'));
        assert!(sub_dir.segments().count() <= 8 && sub_dir.segments().all(is_plain_directory));
    }
    if let Some((sub_dir, name)) = fuzz::file_path(text) {
        assert!(is_plain(&name) && sub_dir.segments().all(is_plain_directory));
    }
    if let Some(hash) = HashKey::parse(text) {
        assert_eq!(hash.as_str(), text);
    }
    for bytes in [0, 1, 100, u64::MAX] {
        if let Some((first, last)) = fuzz::range(text, bytes) {
            assert!(first <= last && last < bytes);
        }
    }
});

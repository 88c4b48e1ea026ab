//! What holds of every key in a bucket, whatever was registered, claimed and uploaded.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::StorageSettings;
use crate::job::{
    ContentHash, Format, HashKey, Owner, ParsedJob, ServedArea, SourceFormat, SpecLimits, Stem, original_name,
    variant_name,
};
use crate::writer::{Body, Object};

/// What S3 and GCS take: bytes of a key.
const KEY_BYTES_MAX: usize = 1024;

/// A path as somebody honest, careless or hostile writes it.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "([a-zA-Z0-9_-]{1,20}/?){0,4}",
        "(\\.\\.|/|\\\\|%2e|\u{0}|\u{ff0f}|[a-z.]){0,20}",
        // As long as is taken, or a little longer.
        "[a-z]{510,513}",
        "([a-z]{62,65}/){0,8}[a-z]{62,65}",
    ]
}

/// Both kinds of store with this prefix, where it is taken.
fn stores(prefix: &str) -> impl Iterator<Item = StorageSettings> {
    let account = json!({"type": "service_account", "client_email": "p@x.iam.gserviceaccount.com", "private_key":
        "-----BEGIN PRIVATE KEY-----\nMIIC\n-----END PRIVATE KEY-----\n"});
    let registered = [
        json!({"type": "s3", "bucket": "pics", "region": "r", "access_key_id": "id", "secret_access_key": "secret",
            "prefix": prefix}),
        json!({"type": "gcs", "bucket": "pics", "credentials": account, "prefix": prefix}),
    ];
    registered.into_iter().filter_map(|body| StorageSettings::from_request(&body).ok())
}

/// The names of all files of a job with this claim by this owner, and the directory they go to, where it is taken.
fn objects(claim: &Value, owner: &Owner, file_name: &str) -> Vec<Object> {
    let Ok(parsed) = ParsedJob::from_claim(Some(claim), SpecLimits::default()) else { return Vec::new() };
    let sha256 = ContentHash::of(file_name.as_bytes());
    let (hash, stem) = (HashKey::new(&sha256, owner), Stem::of(file_name));
    let variants = parsed.spec.variants.iter().map(|v| variant_name(&hash, &stem, v.height, v.width, v.format));
    let original = original_name(&hash, &stem, SourceFormat::Jpeg);
    let object = |name| Object {
        area: ServedArea::Public,
        sub_dir: parsed.spec.sub_dir.clone(),
        name,
        media_type: "image/jpeg",
        sha256,
        body: Body::Bytes(Vec::new().into()),
        trace: None,
    };
    variants.chain([original]).map(object).collect()
}

fn claim(sub_dir: &str, sizes: &[(u32, u32)]) -> Value {
    let formats = Format::ALL.map(|format| (format.extension().to_owned(), json!({ "sizes": sizes })));
    json!({ "directHost": true, "subDir": sub_dir, "formats": formats.into_iter().collect::<serde_json::Map<_, _>>() })
}

/// How many keys there are, each of them good.
fn checked(prefix: &str, objects: &[Object]) -> Result<usize, TestCaseError> {
    let mut keys = 0;
    for store in stores(prefix) {
        let prefix = match &store {
            StorageSettings::S3(s3) => &s3.prefix,
            StorageSettings::Gcs(gcs) => &gcs.prefix,
        };
        for object in objects {
            let key = object.key(prefix);
            prop_assert!(key.len() <= KEY_BYTES_MAX, "{} bytes: {key}", key.len());
            let segments_fine = key.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..")
                    && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+=,~-".contains(&b))
            });
            prop_assert!(segments_fine, "{key}");
            let below = match prefix.to_string().as_str() {
                "" => Some(key.as_str()),
                start => key.strip_prefix(start).and_then(|rest| rest.strip_prefix('/')),
            };
            let rest = object.sub_dir.join(&object.name);
            prop_assert_eq!(below, Some(rest.as_str()), "it is below {}", prefix);
            keys += 1;
        }
    }
    Ok(keys)
}

proptest! {
    #[test]
    fn every_key_is_plain_segments_below_its_prefix_and_no_longer_than_stores_take(
        (prefix, sub_dir) in (path(), path()),
        sizes in proptest::collection::vec((0..=65_535_u32, 0..=65_535_u32), 1..4),
        (user, sub) in (proptest::option::of(any::<String>()), prop_oneof![any::<String>(), "[a-z._-]{60,70}"]),
        file_name in any::<String>(),
    ) {
        checked(&prefix, &objects(&claim(&sub_dir, &sizes), &Owner { user, access_key: None, sub }, &file_name))?;
    }
}

/// The longest of everything that is taken at once.
#[test]
fn the_longest_key_is_one_that_stores_take() {
    let long = |bytes: usize| "x".repeat(bytes);
    let (prefix, sub_dir) = (long(256), [long(64).as_str(); 8].join("/"));
    let owner = Owner { user: Some(long(300)), access_key: None, sub: long(300) };
    let objects = objects(&claim(&sub_dir, &[(65_535, 65_535)]), &owner, &long(300));
    assert_eq!(objects.len(), Format::ALL.len() + 1, "such a claim is taken");
    assert_eq!(checked(&prefix, &objects).expect("good keys"), 2 * objects.len(), "and such a prefix");
}

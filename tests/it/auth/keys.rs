//! `jwt.json` and what stands in for it.

use std::os::unix::fs::PermissionsExt;

use pixerve::auth::{AuthSettings, Authenticator, KeyRing, NewToken, Scope};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::forge::*;

#[test]
fn both_forms_of_the_file_are_read() {
    assert!(key_ring(&every_algorithm().to_string()).is_ok());
    let short = authenticator(&json!({"secret": SECRET}));
    assert!(short.verify(&saying(&claims()), &(), now()).is_ok());
}

#[test]
fn a_byte_order_mark_before_the_keys_is_passed_over() {
    for content in [every_algorithm(), json!({"secret": SECRET})] {
        assert!(key_ring(&format!("\u{feff}{content}")).is_ok());
        assert!(key_ring(&format!("\u{feff}\u{feff}{content}")).is_err(), "one is enough");
    }
}

#[test]
fn a_file_that_is_not_there_is_no_error_and_a_directory_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    assert!(KeyRing::load(&directory.path().join("jwt.json"), None).expect("no error").is_none());
    assert!(KeyRing::load(directory.path(), None).is_err());
}

#[test]
fn the_secret_from_the_environment_stands_in_for_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwt.json");
    put(&path, "not even JSON");
    let ring = KeyRing::load(&path, Some(&SecretString::from(SECRET))).expect("good").expect("there");
    assert!(Authenticator::new(ring, AuthSettings::default()).verify(&saying(&claims()), &(), now()).is_ok());
    let error = KeyRing::load(&path, Some(&SecretString::from("CANARY"))).expect_err("short").to_string();
    assert!(error.contains("6 bytes") && error.contains("at least 32") && !error.contains("CANARY"), "{error}");
}

#[test]
fn a_bad_file_is_refused_with_the_place_and_without_the_secret() {
    let key = |fields: Value| json!({"keys": [fields]}).to_string();
    let hs = |secret: &str| json!({"kid": "a", "algorithm": "HS256", "secret": secret});
    let long = "CANARY that is long enough to be a secret";
    for (content, expected) in [
        ("{\"secret\": \"CANARY".to_owned(), "line 1"),
        ("[]".to_owned(), "not a JSON object"),
        ("{}".to_owned(), "at least one key"),
        (json!({"keys": []}).to_string(), "at least one key"),
        (json!({"keys": {"CANARY": "CANARY"}}).to_string(), "at least one key"),
        (json!({"keys": [hs(long)], "secret": long}).to_string(), "at least one key"),
        (json!({"secret": "CANARY"}).to_string(), "6 bytes"),
        (json!({"secret": long, "algorithm": "HS256"}).to_string(), "unknown field `algorithm`"),
        (json!({"keys": ["CANARY"]}).to_string(), "keys/0 must be an object"),
        (json!({"keys": [hs(long), hs(long)]}).to_string(), "keys/1: its `kid`"),
        (format!("{{\"secret\": \"{long}\", \"secret\": \"{long}\"}}"), "comes twice"),
        (key(hs("CANARY")), "keys/0: the secret has 6 bytes"),
        (key(hs(RSA_PUBLIC)), "register it as `public_key_pem`"),
        (key(json!({"secret": long})), "`algorithm` must be one of"),
        (key(json!({"algorithm": "none"})), "`algorithm` must be one of"),
        (key(json!({"algorithm": "HS512", "secret": long})), "`algorithm` must be one of"),
        (key(json!({"algorithm": "HS256", "secret": 7})), "`secret` must be a string"),
        (key(json!({"algorithm": "HS256", "secret": long, "kid": ""})), "`kid`"),
        (key(json!({"algorithm": "HS256", "secert": long})), "unknown field `secert`"),
        (key(json!({"algorithm": "HS256"})), "an HS256 key has a `secret`"),
        (key(json!({"algorithm": "HS256", "public_key_pem": RSA_PUBLIC})), "an HS256 key has a `secret`"),
        (key(json!({"algorithm": "RS256", "secret": long})), "has a `public_key_pem` and no `secret`"),
        (key(json!({"algorithm": "RS256", "public_key_pem": EC_PUBLIC})), "public key for RS256"),
        (key(json!({"algorithm": "EdDSA", "public_key_pem": ED_PRIVATE})), "public key for EdDSA"),
    ] {
        let error = key_ring(&content).expect_err(expected);
        assert!(error.contains(expected), "{error} should say {expected}");
        assert!(!error.contains("CANARY"), "{error}");
    }
}

#[test]
fn the_first_start_makes_keys_that_are_the_owners_alone_and_work_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwt.json");
    let first = Authenticator::new(KeyRing::generate(&path).expect("made"), AuthSettings::default());
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);

    let token = NewToken {
        sub: "me".into(),
        scope: Some(Scope::Admin),
        read: None,
        ttl: std::time::Duration::from_mins(1),
        jti: None,
        job: None,
    };
    let token = first.sign(&token, now()).expect("signed");
    let ring = KeyRing::load(&path, None).expect("good").expect("there");
    let second = Authenticator::new(ring, AuthSettings::default());
    assert!(second.verify(&token, &(), now()).expect("good").is_admin());
}

#[test]
fn keys_that_are_there_are_never_overwritten_and_two_servers_make_different_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
    KeyRing::generate(&a).expect("made");
    let before = std::fs::read_to_string(&a).expect("there");
    let error = KeyRing::generate(&a).expect_err("it is there").to_string();
    assert_eq!(std::fs::read_to_string(&a).expect("there"), before);
    KeyRing::generate(&b).expect("made");
    assert_ne!(std::fs::read_to_string(&b).expect("there"), before);
    assert!(!error.contains(&before));
}

#[test]
fn debugging_keys_shows_no_secret() {
    let shown = format!("{:?}", authenticator(&every_algorithm()));
    assert!(!shown.contains(SECRET) && shown.contains("main"), "{shown}");
}

//! What a reader of the data directory learns from it, and what a writer to it can change.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pixerve::database::Database;
use pixerve::register::RegisterError;
use secrecy::ExposeSecret;

use super::{CANARY, bucket, open, put, try_open};

/// Every byte below `directory`.
fn all_bytes(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        bytes.extend(if path.is_dir() { all_bytes(&path) } else { std::fs::read(&path).expect("readable") });
    }
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn in_every_encoding(secret: &str) -> Vec<String> {
    // Base64 takes three bytes at a time, and the secret may begin at any of them.
    let aligned = (0..3).map(|skip| &secret[skip..skip + (secret.len() - skip) / 3 * 3]);
    let encoded = aligned.flat_map(|part| [STANDARD.encode(part), URL_SAFE_NO_PAD.encode(part)]);
    [secret.to_owned(), hex::encode(secret)].into_iter().chain(encoded).collect()
}

#[tokio::test]
async fn no_secret_reaches_the_disk_a_list_or_a_debug_line() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let user = register.register_user(CANARY).await.expect("registered");
    let store = register.register_store(bucket(Some(CANARY))).await.expect("registered");
    let secret = user.secret.expose_secret().to_owned();

    let shown = [
        format!("{register:?} {user:?} {:?}", bucket(None)),
        format!("{:?} {:?}", register.user(&user.access_key), register.store(&store)),
        format!("{:?}", register.list()),
    ];
    for text in &shown {
        assert!(!text.contains(&secret) && !text.contains(&format!("{CANARY}-s3")), "{text}");
    }
    for access_key in [&user.access_key, &store] {
        assert!(register.deregister(access_key).await.expect("no fault"));
    }
    let kept = register.register_store(bucket(None)).await.expect("registered");
    register.close().await.expect("closed");
    let bytes = all_bytes(data.path());
    assert!(contains(&bytes, &kept), "this looks at the right files");
    for hidden in in_every_encoding(&secret).iter().chain(&in_every_encoding(CANARY)) {
        assert!(!contains(&bytes, hidden), "{hidden}");
    }
}

#[tokio::test]
async fn without_its_sealing_keys_the_register_does_not_open_instead_of_looking_empty() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let user = register.register_user("shop").await.expect("registered");
    register.close().await.expect("closed");
    drop(register);

    let key = data.path().join("vault.key");
    let backup = data.path().join("vault.key.backup");
    std::fs::rename(&key, &backup).expect("moved");
    let error = try_open(data.path()).expect_err("its keys are gone");
    assert!(matches!(error, RegisterError::WrongKeys { records: 1, .. }), "{error}");
    std::fs::rename(&backup, &key).expect("restored");
    assert!(open(data.path()).user(&user.access_key).is_some());
}

#[tokio::test]
async fn a_record_that_was_changed_or_moved_is_unusable_and_can_be_deregistered() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let mut keys = Vec::new();
    for name in ["changed", "moved-here", "whole"] {
        keys.push(register.register_user(name).await.expect("registered").access_key);
    }
    register.close().await.expect("closed");
    drop(register);
    tamper(data.path(), |records| {
        let mut sealed = records.get(&keys[0]).expect("read").expect("there").to_vec();
        sealed[60] = if sealed[60] == b'A' { b'B' } else { b'A' };
        records.insert(&keys[0], sealed).expect("written");
        let whole = records.get(&keys[2]).expect("read").expect("there");
        records.insert(&keys[1], whole).expect("written");
    });

    let opened = try_open(data.path()).expect("opened");
    let mut unreadable = opened.unreadable;
    unreadable.sort();
    let mut bad = keys[..2].to_vec();
    bad.sort();
    assert_eq!(unreadable, bad);
    assert!(opened.register.user(&keys[0]).is_none() && opened.register.user(&keys[1]).is_none());
    assert_eq!(opened.register.user(&keys[2]).expect("untouched").name, "whole");
    for key in &keys[..2] {
        assert!(opened.register.deregister(key).await.expect("no fault"));
    }
    drop(opened.register);
    open(data.path());
}

#[tokio::test]
async fn after_a_start_with_a_new_key_the_old_one_can_go() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let user = register.register_user("shop").await.expect("registered");
    let store = register.register_store(bucket(None)).await.expect("registered");
    register.close().await.expect("closed");
    drop(register);

    let path = data.path().join("vault.key");
    let old = std::fs::read_to_string(&path).expect("there");
    let new = STANDARD.encode([9; 32]);
    put(&path, format!("{old}{new}\n"));
    drop(open(data.path()));
    put(&path, &new);
    let register = open(data.path());
    assert_eq!(register.user(&user.access_key).expect("the user").secret.expose_secret(), user.secret.expose_secret());
    assert!(register.store(&store).is_some());
}

/// Changes the records while the register is closed.
fn tamper(data: &Path, change: impl FnOnce(&sled::Tree)) {
    let database = Database::open(&data.join("credentials.db")).expect("opened").database;
    let records = database.tree("credentials").expect("there");
    change(&records);
    drop(records);
    database.close().expect("closed");
}

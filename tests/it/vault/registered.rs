//! Who is registered, and what may be used by whom.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pixerve::auth::{AuthError, Authenticator, KeyRing, Settings, UserKeys};
use pixerve::clock::{Manual, Timestamp};
use pixerve::job::BackendKind;
use pixerve::vault::{CredentialKind, NewUser, Vault, VaultError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{CANARY, bucket, open, sealer};

/// A token of this user, signed as a client would.
fn token(user: &NewUser) -> String {
    let claims = json!({"sub": "someone", "iat": 1_767_225_600, "exp": 1_767_229_200, "scope": "admin"});
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    header.kid = Some(user.access_key.clone());
    let key = jsonwebtoken::EncodingKey::from_secret(user.secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&header, &claims, &key).expect("signed")
}

fn authenticator() -> Authenticator {
    let secret = SecretString::from("the operator's own secret, long enough");
    let ring = KeyRing::load("nowhere".as_ref(), Some(&secret)).expect("good").expect("there");
    Authenticator::new(ring, Settings::default())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

#[tokio::test]
async fn a_users_tokens_are_taken_until_the_user_is_deregistered() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let shop = vault.register_user("shop").await.expect("registered");
    let other = vault.register_user("other").await.expect("registered");
    assert!(shop.access_key.starts_with("pxu_") && shop.secret.expose_secret().len() >= 32);
    let authenticator = authenticator();
    let verified = authenticator.verify(&token(&shop), &vault, now()).expect("a good token");
    assert_eq!((verified.owner.user.as_deref(), verified.admin), (Some("shop"), false));
    let stolen_kid = NewUser { access_key: other.access_key.clone(), secret: shop.secret.clone() };
    assert_eq!(authenticator.verify(&token(&stolen_kid), &vault, now()), Err(AuthError::BadSignature));

    assert!(vault.deregister(&shop.access_key).await.expect("no fault"));
    assert_eq!(authenticator.verify(&token(&shop), &vault, now()), Err(AuthError::UnknownKid));
    assert!(authenticator.verify(&token(&other), &vault, now()).is_ok(), "others go on");
    assert!(!vault.deregister(&shop.access_key).await.expect("no fault"), "it is gone already");
    drop(vault);
    let vault = open(data.path());
    assert_eq!(authenticator.verify(&token(&shop), &vault, now()), Err(AuthError::UnknownKid), "for good");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_closed_or_not() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let user = vault.register_user("shop").await.expect("registered");
    let store = vault.register_storage(bucket(Some("shop"))).await.expect("registered");
    let listed = vault.list();
    let mut vault = vault;
    for closed in [true, false, true] {
        if closed {
            vault.close().await.expect("closed");
        }
        drop(vault);
        vault = open(data.path());
        let kept = vault.user(&user.access_key).expect("the user");
        assert_eq!(kept.secret.expose_secret(), user.secret.expose_secret());
        let kept = vault.storage(&store).expect("the store");
        let settings: Value = serde_json::from_str(kept.settings.expose_secret()).expect("JSON");
        assert_eq!(settings["secret_access_key"], format!("{CANARY}-s3"));
        assert_eq!(vault.list(), listed);
    }
}

#[tokio::test]
async fn a_name_is_one_users_at_a_time() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let first = vault.register_user("shop").await.expect("registered");
    assert!(matches!(vault.register_user("shop").await, Err(VaultError::NameTaken { name }) if name == "shop"));
    vault.register_user("Shop").await.expect("names are case-sensitive");
    vault.deregister(&first.access_key).await.expect("no fault");
    let second = vault.register_user("shop").await.expect("the name is free again");
    assert_ne!(second.access_key, first.access_key);
    assert_ne!(second.secret.expose_secret(), first.secret.expose_secret());
}

#[tokio::test]
async fn of_many_who_ask_for_a_name_at_once_one_gets_it() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let asked = join_all((0..8).map(|_| vault.register_user("shop"))).await;
    assert_eq!(asked.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(vault.list().len(), 1);
}

#[tokio::test]
async fn a_name_is_short_and_plain() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    for bad in ["", "a b", "a/b", "ä", "a\0", "a\n", &"x".repeat(65)] {
        assert!(matches!(vault.register_user(bad).await, Err(VaultError::BadName)), "{bad:?}");
    }
    for good in ["a", "shop-1.eu_west", &"x".repeat(64)] {
        assert!(vault.register_user(good).await.is_ok(), "{good:?}");
    }
}

#[tokio::test]
async fn a_users_store_serves_that_user_alone_and_one_of_nobody_serves_all() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let shop = vault.register_user("shop").await.expect("registered");
    vault.register_user("other").await.expect("registered");
    let by_name = vault.register_storage(bucket(Some("shop"))).await.expect("registered");
    let by_key = vault.register_storage(bucket(Some(&shop.access_key))).await.expect("registered");
    let shared = vault.register_storage(bucket(None)).await.expect("registered");
    assert!(matches!(vault.register_storage(bucket(Some("nobody"))).await, Err(VaultError::UnknownUser)));

    let may = |key: &str, user| vault.may_use(key, BackendKind::S3, user);
    for own in [&by_name, &by_key] {
        assert!(own.starts_with("pxs_"));
        assert!(may(own, Some("shop")) && !may(own, Some("other")) && !may(own, None));
    }
    assert!(may(&shared, Some("shop")) && may(&shared, Some("other")) && may(&shared, None));
    assert!(!vault.may_use(&shared, BackendKind::Gcs, None), "the kind must be right");
    assert!(!may("pxs_unknown", None) && !may(&shop.access_key, Some("shop")) && !may("", None));
}

#[tokio::test]
async fn who_takes_a_name_over_does_not_inherit_its_stores() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let first = vault.register_user("shop").await.expect("registered");
    let store = vault.register_storage(bucket(Some("shop"))).await.expect("registered");
    vault.deregister(&first.access_key).await.expect("no fault");
    assert!(!vault.may_use(&store, BackendKind::S3, Some("shop")));
    vault.register_user("shop").await.expect("the name is free again");
    assert!(!vault.may_use(&store, BackendKind::S3, Some("shop")));
    assert!(vault.storage(&store).is_some(), "jobs that were accepted can still be stored");
    assert!(vault.deregister(&store).await.expect("no fault"));
    assert!(vault.storage(&store).is_none());
}

#[tokio::test]
async fn the_list_tells_what_is_there_oldest_first() {
    let data = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Manual::at(now()));
    let vault = Vault::open(data.path(), sealer(data.path()), clock.clone()).expect("opened").vault;
    let user = vault.register_user("shop").await.expect("registered");
    clock.advance(Duration::from_secs(1));
    let store = vault.register_storage(bucket(Some("shop"))).await.expect("registered");
    let [a, b] = vault.list().try_into().expect("two");
    assert_eq!((a.access_key, a.kind, a.user.as_deref()), (user.access_key, CredentialKind::User, Some("shop")));
    assert_eq!((b.access_key, b.kind), (store, CredentialKind::Storage(BackendKind::S3)));
    assert_eq!((b.user.as_deref(), b.details), (Some("shop"), json!({"bucket": "shop"})));
    assert_eq!((a.created_at, b.created_at), (now(), now().after(Duration::from_secs(1))));
}

#[tokio::test]
async fn nothing_is_registered_once_closed_and_reading_goes_on() {
    let data = tempfile::tempdir().expect("a directory");
    let vault = open(data.path());
    let user = vault.register_user("shop").await.expect("registered");
    vault.close().await.expect("closed");
    vault.close().await.expect("closing twice is harmless");
    assert!(matches!(vault.register_user("late").await, Err(VaultError::Closed)));
    assert!(matches!(vault.deregister(&user.access_key).await, Err(VaultError::Closed)));
    assert!(vault.user_key(&user.access_key).is_some());
}

//! Who is registered, and what may be used by whom.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pixerve::auth::{AuthError, AuthSettings, Authenticator, KeyRing, UserKeys};
use pixerve::clock::{Manual, Timestamp};
use pixerve::job::{BackendKind, Owner};
use pixerve::register::{EntryKind, NewUser, Register, RegisterError};
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
    Authenticator::new(ring, AuthSettings::default())
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

#[tokio::test]
async fn a_users_tokens_are_taken_until_the_user_is_deregistered() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let shop = register.register_user("shop").await.expect("registered");
    let other = register.register_user("other").await.expect("registered");
    assert!(shop.access_key.starts_with("pxu_") && shop.secret.expose_secret().len() >= 32);
    let authenticator = authenticator();
    let verified = authenticator.verify(&token(&shop), &register, now()).expect("a good token");
    assert_eq!((verified.owner.user.as_deref(), verified.is_admin()), (Some("shop"), false));
    let stolen_kid = NewUser {
        access_key: other.access_key.clone(),
        secret: shop.secret.clone(),
        webhook_secret: shop.webhook_secret.clone(),
    };
    assert_eq!(authenticator.verify(&token(&stolen_kid), &register, now()), Err(AuthError::BadSignature));

    assert!(register.deregister(&shop.access_key).await.expect("no fault"));
    assert_eq!(authenticator.verify(&token(&shop), &register, now()), Err(AuthError::UnknownKid));
    assert!(authenticator.verify(&token(&other), &register, now()).is_ok(), "others go on");
    assert!(!register.deregister(&shop.access_key).await.expect("no fault"), "it is gone already");
    drop(register);
    let register = open(data.path());
    assert_eq!(authenticator.verify(&token(&shop), &register, now()), Err(AuthError::UnknownKid), "for good");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_closed_or_not() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let user = register.register_user("shop").await.expect("registered");
    let store = register.register_store(bucket(Some("shop"))).await.expect("registered");
    let listed = register.list();
    let mut register = register;
    for closed in [true, false, true] {
        if closed {
            register.close().await.expect("closed");
        }
        drop(register);
        register = open(data.path());
        let kept = register.user(&user.access_key).expect("the user");
        assert_eq!(kept.secret.expose_secret(), user.secret.expose_secret());
        let kept = register.store(&store).expect("the store");
        let settings: Value = serde_json::from_str(kept.settings.expose_secret()).expect("JSON");
        assert_eq!(settings["secret_access_key"], format!("{CANARY}-s3"));
        assert_eq!(register.list(), listed);
    }
}

#[tokio::test]
async fn a_name_is_one_users_at_a_time() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let first = register.register_user("shop").await.expect("registered");
    assert!(matches!(register.register_user("shop").await, Err(RegisterError::NameTaken { name }) if name == "shop"));
    register.register_user("Shop").await.expect("names are case-sensitive");
    register.deregister(&first.access_key).await.expect("no fault");
    let second = register.register_user("shop").await.expect("the name is free again");
    assert_ne!(second.access_key, first.access_key);
    assert_ne!(second.secret.expose_secret(), first.secret.expose_secret());
}

#[tokio::test]
async fn of_many_who_ask_for_a_name_at_once_one_gets_it() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let asked = join_all((0..8).map(|_| register.register_user("shop"))).await;
    assert_eq!(asked.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(register.list().len(), 1);
}

#[tokio::test]
async fn a_name_is_short_and_plain() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    for bad in ["", "a b", "a/b", "ä", "a\0", "a\n", &"x".repeat(65)] {
        assert!(matches!(register.register_user(bad).await, Err(RegisterError::BadName)), "{bad:?}");
    }
    for good in ["a", "shop-1.eu_west", &"x".repeat(64)] {
        assert!(register.register_user(good).await.is_ok(), "{good:?}");
    }
}

#[tokio::test]
async fn a_users_store_is_for_that_user_alone_and_one_of_no_user_is_for_all() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let shop = register.register_user("shop").await.expect("registered");
    register.register_user("other").await.expect("registered");
    let by_name = register.register_store(bucket(Some("shop"))).await.expect("registered");
    let by_key = register.register_store(bucket(Some(&shop.access_key))).await.expect("registered");
    let shared = register.register_store(bucket(None)).await.expect("registered");
    assert!(matches!(register.register_store(bucket(Some("nobody"))).await, Err(RegisterError::UnknownUser)));

    let may = |key: &str, user| register.may_use(key, BackendKind::S3, user);
    for own in [&by_name, &by_key] {
        assert!(own.starts_with("pxs_"));
        assert!(may(own, Some("shop")) && !may(own, Some("other")) && !may(own, None));
    }
    assert!(may(&shared, Some("shop")) && may(&shared, Some("other")) && may(&shared, None));
    assert!(!register.may_use(&shared, BackendKind::Gcs, None), "the kind must be right");
    assert!(!may("pxs_unknown", None) && !may(&shop.access_key, Some("shop")) && !may("", None));
}

#[tokio::test]
async fn who_takes_a_name_over_does_not_inherit_its_stores() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let first = register.register_user("shop").await.expect("registered");
    let store = register.register_store(bucket(Some("shop"))).await.expect("registered");
    register.deregister(&first.access_key).await.expect("no fault");
    assert!(!register.may_use(&store, BackendKind::S3, Some("shop")));
    register.register_user("shop").await.expect("the name is free again");
    assert!(!register.may_use(&store, BackendKind::S3, Some("shop")));
    assert!(register.store(&store).is_some(), "jobs that were accepted can still be stored");
    assert!(register.deregister(&store).await.expect("no fault"));
    assert!(register.store(&store).is_none());
}

#[tokio::test]
async fn the_list_shows_what_is_registered_oldest_first() {
    let data = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(Manual::at(now()));
    let register = Register::open(data.path(), sealer(data.path()), clock.clone()).expect("opened").register;
    let user = register.register_user("shop").await.expect("registered");
    clock.advance(Duration::from_secs(1));
    let store = register.register_store(bucket(Some("shop"))).await.expect("registered");
    let [a, b] = register.list().try_into().expect("two");
    assert_eq!((a.access_key, a.kind, a.user.as_deref()), (user.access_key, EntryKind::User, Some("shop")));
    assert_eq!((b.access_key, b.kind), (store, EntryKind::Store(BackendKind::S3)));
    assert_eq!((b.user.as_deref(), b.details), (Some("shop"), json!({"bucket": "shop"})));
    assert_eq!((a.created_at, b.created_at), (now(), now().after(Duration::from_secs(1))));
}

#[tokio::test]
async fn nothing_is_registered_once_closed_and_reading_goes_on() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let user = register.register_user("shop").await.expect("registered");
    register.close().await.expect("closed");
    register.close().await.expect("closing twice is harmless");
    assert!(matches!(register.register_user("late").await, Err(RegisterError::Closed)));
    assert!(matches!(register.deregister(&user.access_key).await, Err(RegisterError::Closed)));
    assert!(register.user_key(&user.access_key).is_some());
}

#[tokio::test]
async fn a_job_is_of_who_had_the_name_when_it_was_accepted() {
    let data = tempfile::tempdir().expect("a directory");
    let register = open(data.path());
    let of = |access_key: Option<&str>| Owner {
        user: Some("shop".to_owned()),
        access_key: access_key.map(str::to_owned),
        sub: "a".to_owned(),
    };
    let former = register.register_user("shop").await.expect("registered").access_key;
    assert!(register.deregister(&former).await.expect("no fault"));
    assert!(register.is_of_holder(&of(Some(&former)), now()) && register.is_of_holder(&of(None), now()));
    let present = register.register_user("shop").await.expect("registered").access_key;
    assert!(register.is_of_holder(&of(Some(&present)), now()));
    assert!(!register.is_of_holder(&of(Some(&former)), now()));
    // Records of versions that kept no access key: by when they were accepted.
    assert!(register.is_of_holder(&of(None), now()));
    assert!(!register.is_of_holder(&of(None), now().before(Duration::from_millis(1))));
    let of_jwt_json = Owner { user: None, access_key: None, sub: "a".to_owned() };
    assert!(register.is_of_holder(&of_jwt_json, now().before(Duration::from_secs(1))));
}

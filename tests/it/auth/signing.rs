//! Tokens made here.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pixerve::auth::{AuthSettings, SignError};
use pixerve::auth::{Authenticator, NewToken, Scope};
use serde_json::{Value, json};

use super::forge::*;

const RSA_PRIVATE: &str = include_str!("keys/rfc7515_a2_private.pem");
const EC_PRIVATE: &str = include_str!("keys/rfc7515_a3_private.pem");

fn asked() -> NewToken {
    NewToken { sub: "ops".into(), scope: None, read: None, ttl: Duration::from_hours(1), jti: None, job: None }
}

fn header_of(token: &str) -> Value {
    let header = token.split('.').next().expect("a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON")
}

#[test]
fn a_token_says_what_was_asked_and_no_more() {
    let authenticator = authenticator(&json!({"secret": SECRET}));
    let job = json!({"directHost": true, "keepOriginal": true});
    let token = authenticator.sign(&NewToken { job: Some(job.clone()), ..asked() }, now()).expect("signed");
    let verified = authenticator.verify(&token, &(), now()).expect("good");
    assert_eq!(Value::Object(verified.claims), json!({"sub": "ops", "iat": NOW_S, "exp": NOW_S + 3600, "job": job}));
    assert_eq!(verified.scope, None);
    assert_eq!(header_of(&token), json!({"alg": "HS256", "typ": "JWT"}));
    let admin = authenticator.sign(&NewToken { scope: Some(Scope::Admin), ..asked() }, now()).expect("signed");
    assert!(authenticator.verify(&admin, &(), now()).expect("good").is_admin());
}

#[test]
fn every_algorithm_signs_with_its_private_key_and_names_its_kid() {
    for (algorithm, public, private) in
        [("RS256", RSA_PUBLIC, RSA_PRIVATE), ("ES256", EC_PUBLIC, EC_PRIVATE), ("EdDSA", ED_PUBLIC, ED_PRIVATE)]
    {
        let key = json!({"kid": "k", "algorithm": algorithm, "public_key_pem": public, "private_key_pem": private});
        let authenticator = authenticator(&json!({"keys": [key]}));
        let token = authenticator.sign(&asked(), now()).expect(algorithm);
        assert_eq!(header_of(&token), json!({"alg": algorithm, "typ": "JWT", "kid": "k"}));
        assert!(authenticator.verify(&token, &(), now()).is_ok(), "{algorithm}");
    }
}

#[test]
fn the_first_key_that_can_sign_signs() {
    let public = json!({"kid": "app", "algorithm": "RS256", "public_key_pem": RSA_PUBLIC});
    let main = json!({"kid": "main", "algorithm": "HS256", "secret": SECRET});
    let token = authenticator(&json!({"keys": [public, main]})).sign(&asked(), now()).expect("signed");
    assert_eq!(header_of(&token)["kid"], "main");
    let only_public = authenticator(&json!({"keys": [public]}));
    assert_eq!(only_public.sign(&asked(), now()), Err(SignError::NoSigningKey));
}

#[test]
fn a_token_carries_the_issuer_and_audience_that_are_asked_of_it() {
    let settings =
        AuthSettings { issuer: Some("me".into()), audience: Some("pixerve".into()), ..AuthSettings::default() };
    let strict = with_settings(&json!({"secret": SECRET}), settings);
    let token = strict.sign(&asked(), now()).expect("signed");
    assert!(strict.verify(&token, &(), now()).is_ok());
}

#[test]
fn what_no_server_would_take_is_not_signed() {
    let authenticator: Authenticator = authenticator(&json!({"secret": SECRET}));
    let sign = |token| authenticator.sign(&token, now());
    let lifetime = Err(SignError::BadLifetime { max: Duration::from_hours(24) });
    assert_eq!(sign(NewToken { ttl: Duration::from_secs(86_401), ..asked() }), lifetime);
    assert_eq!(sign(NewToken { ttl: Duration::from_millis(999), ..asked() }), lifetime);
    assert_eq!(sign(NewToken { sub: String::new(), ..asked() }), Err(SignError::BadSubject));
    let job = Some(json!({"subDir": "x".repeat(8192)}));
    assert!(matches!(sign(NewToken { job, ..asked() }), Err(SignError::TooLong { max: 8192, .. })));
}

//! What is refused, and as what.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pixerve::auth::{Algorithm, AuthError};
use serde_json::{Value, json};

use super::forge::*;

#[test]
fn none_is_no_algorithm_in_any_spelling() {
    for alg in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS512", "ES384", "PS256", "A128KW"] {
        for signature in ["", "AAAA"] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg}).to_string());
            let token = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims().to_string()));
            assert_eq!(verify(&token), Err(AuthError::UnsupportedAlgorithm), "{alg}");
        }
    }
    for header in [json!({}), json!({"alg": null}), json!({"alg": ["HS256"]}), json!({"alg": 1})] {
        assert_eq!(verify(&headed(&header)), Err(AuthError::UnsupportedAlgorithm), "{header}");
    }
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let (pem, claims) = (RSA_PUBLIC.as_bytes(), claims().to_string());
    let named = hs256(r#"{"alg":"HS256","kid":"app"}"#, &claims, pem);
    assert_eq!(verify(&named), Err(AuthError::WrongAlgorithm { registered: Algorithm::Rs256 }));
    let unnamed = hs256(r#"{"alg":"HS256"}"#, &claims, pem);
    assert_eq!(verify(&unnamed), Err(AuthError::UnknownSigner));
    let only_rsa = json!({"keys": [{"algorithm": "RS256", "public_key_pem": RSA_PUBLIC}]});
    let none_for = Err(AuthError::NoKeyFor { algorithm: Algorithm::Hs256 });
    assert_eq!(authenticator(&only_rsa).verify(&unnamed, &(), now()), none_for);
}

#[test]
fn a_users_key_is_for_hs256_alone() {
    let users = Users::of(&[("pxu_shop", "shop", SECRET)]);
    let verified =
        authenticator(&every_algorithm()).verify(&headed(&json!({"alg": "RS256", "kid": "pxu_shop"})), &users, now());
    assert_eq!(verified, Err(AuthError::WrongAlgorithm { registered: Algorithm::Hs256 }));
}

#[test]
fn a_kid_is_nothing_but_a_map_key() {
    for kid in [
        "../../../../dev/null",
        "/etc/passwd",
        "https://attacker.example/jwks.json",
        "file:///proc/self/environ",
        "main' OR '1'='1",
        "main\0",
        "MAIN",
        "",
        &"k".repeat(4000),
    ] {
        assert_eq!(verify(&headed(&json!({"alg": "HS256", "kid": kid}))), Err(AuthError::UnknownKid), "{kid}");
    }
    for kid in [json!(null), json!(0), json!(["main"]), json!({"main": true})] {
        let verified = verify(&headed(&json!({"alg": "HS256", "kid": kid})));
        assert!(matches!(verified, Err(AuthError::Malformed { .. })), "{kid}");
    }
}

#[test]
fn a_token_can_neither_bring_its_key_nor_ask_for_extensions() {
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    for (field, value) in [
        ("jku", json!("https://attacker.example/jwks.json")),
        ("jwk", jwk),
        ("x5u", json!("https://attacker.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        let verified = verify(&headed(&json!({"alg": "HS256", field: value})));
        assert_eq!(verified, Err(AuthError::ForbiddenHeader { field }), "{value}");
    }
}

#[test]
fn a_field_that_comes_twice_is_refused_in_header_and_claims() {
    let claims = claims().to_string();
    let secret = SECRET.as_bytes();
    let doubled = |text: &str| text.replacen('{', r#"{"sub":"someone-else","#, 1);
    for token in [
        hs256(r#"{"alg":"none","alg":"HS256"}"#, &claims, secret),
        hs256(r#"{"alg":"HS256","kid":"ed","kid":"main"}"#, &claims, secret),
        hs256(r#"{"alg":"HS256"}"#, &doubled(&claims), secret),
        hs256(r#"{"alg":"HS256"}"#, &claims.replace("\"directHost\":true", "\"a\":1,\"\\u0061\":2"), secret),
    ] {
        let Err(AuthError::Malformed { detail }) = verify(&token) else { panic!("taken: {token}") };
        assert!(detail.contains("comes twice"), "{detail}");
    }
}

#[test]
fn a_missing_claim_is_named() {
    for claim in ["exp", "iat", "sub"] {
        let verified = verify(&saying(&claims_with(json!({claim: null}))));
        assert_eq!(verified, Err(AuthError::MissingClaim { claim }));
    }
}

#[test]
fn a_date_is_a_number_in_range() {
    let fine = claims().to_string();
    for claim in ["exp", "iat", "nbf"] {
        for bad in [
            "\"1767229200\"",
            "null",
            "true",
            "[1767229200]",
            "{}",
            "-1",
            "-0.5",
            "1e300",
            "253402300800",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
        ] {
            let mut fields: serde_json::Map<String, Value> = serde_json::from_str(&fine).expect("claims");
            fields.insert(claim.to_owned(), serde_json::from_str(bad).expect("JSON"));
            let verified = verify(&saying(&Value::Object(fields)));
            assert!(matches!(verified, Err(AuthError::BadClaim { claim: c, .. }) if c == claim), "{claim}: {bad}");
        }
    }
    for bad in ["1e999", "NaN", "Infinity", "0x10"] {
        let claims = fine.replace(&(NOW_S + 3600).to_string(), bad);
        let verified = verify(&hs256(r#"{"alg":"HS256"}"#, &claims, SECRET.as_bytes()));
        assert!(matches!(verified, Err(AuthError::Malformed { .. })), "{bad}");
    }
}

#[test]
fn a_token_must_end_after_it_begins() {
    for exp in [NOW_S, NOW_S - 1] {
        let verified = verify(&saying(&claims_with(json!({"exp": exp}))));
        assert!(matches!(verified, Err(AuthError::BadClaim { claim: "exp", .. })), "{exp}");
    }
}

#[test]
fn a_subject_is_a_short_plain_string() {
    for good in ["a", "user@example.com", "../etc/passwd", "Jürgen", &"x".repeat(256)] {
        assert_eq!(verify(&saying(&claims_with(json!({"sub": good})))).expect(good).owner.sub, good);
    }
    for bad in [json!(""), json!("x".repeat(257)), json!("a\nb"), json!("a\0"), json!("\u{85}"), json!(7), json!(["a"])]
    {
        let verified = verify(&saying(&claims_with(json!({"sub": bad}))));
        assert!(matches!(verified, Err(AuthError::BadClaim { claim: "sub", .. })), "{bad}");
    }
}

#[test]
fn a_changed_token_is_refused() {
    let good = saying(&claims());
    let admin = URL_SAFE_NO_PAD.encode(claims_with(json!({"scope": "admin"})).to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let flipped: String = parts[2].chars().rev().collect();
    for bad in [
        format!("{}.{admin}.{}", parts[0], parts[2]),
        format!("{}.{}.{flipped}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        hs256(r#"{"alg":"HS256"}"#, &claims().to_string(), &[b'x'; 32]),
        hs256(r#"{"alg":"HS256"}"#, &claims().to_string(), b""),
    ] {
        assert_eq!(verify(&bad), Err(AuthError::UnknownSigner), "{bad}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    assert_eq!(verify(""), Err(AuthError::Missing));
    let good = saying(&claims());
    for bad in [
        "a".to_owned(),
        "a.b".to_owned(),
        "...".to_owned(),
        "..".to_owned(),
        format!("{good}.x"),
        format!(" {good}"),
        good.replacen('.', "=.", 1),
        "e30.e30.e30.e30.e30".to_owned(),
        r#"{"payload":"","signatures":[]}"#.to_owned(),
        hs256("[]", &claims().to_string(), SECRET.as_bytes()),
        hs256(r#"{"alg":"HS256"}"#, "\"claims\"", SECRET.as_bytes()),
        hs256(r#"{"alg":"HS256"}"#, &format!("{{\"a\":{}", "[".repeat(3000)), SECRET.as_bytes()),
    ] {
        assert!(matches!(verify(&bad), Err(AuthError::Malformed { .. })), "{bad}: {:?}", verify(&bad));
    }
}

#[test]
fn a_huge_token_is_refused_by_its_length_alone() {
    let huge = saying(&claims_with(json!({"padding": "x".repeat(64 * 1024)})));
    assert_eq!(verify(&huge), Err(AuthError::TooLong { max: 8192 }));
    let just_fits = saying(&claims_with(json!({"padding": "x".repeat(5900)})));
    assert!(just_fits.len() <= 8192 && verify(&just_fits).is_ok(), "{}", just_fits.len());
}

#[test]
fn no_error_repeats_the_token() {
    let marked = |claims: Value| saying(&claims_with(claims));
    for token in [
        marked(json!({"sub": ["CANARY"]})),
        marked(json!({"exp": "CANARY"})),
        headed(&json!({"alg": "CANARY"})),
        headed(&json!({"alg": "HS256", "kid": "CANARY"})),
        headed(&json!({"alg": "HS256", "jku": "https://CANARY.example"})),
    ] {
        let error = verify(&token).expect_err("refused");
        let (shown, debugged) = (error.to_string(), format!("{error:?}"));
        let secret = |text: &str| text.contains("CANARY") || token.split('.').any(|part| text.contains(part));
        assert!(!secret(&shown) && !secret(&debugged), "{shown}");
    }
}

//! What is taken.

use std::time::Duration;

use pixerve::auth::{AuthError, AuthSettings, Scope};
use pixerve::clock::Timestamp;
use serde_json::json;

use super::forge::*;

// Made with another implementation (Node's crypto), at NOW_S, for an hour, for `user-123`.
const NODE_CLAIMS: &str = "eyJzdWIiOiJ1c2VyLTEyMyIsImlhdCI6MTc2NzIyNTYwMCwiZXhwIjoxNzY3MjI5MjAwLCJqb2IiOnsiZGlyZWN0SG9zdCI6\
                           dHJ1ZSwia2VlcE9yaWdpbmFsIjp0cnVlfX0";
const NODE_HS256: [&str; 2] = ["eyJhbGciOiJIUzI1NiJ9", "k-hX-L1s5VNPgfXY2mINaeLGklnnyv4FLXLwxVnkYDU"];
const NODE_RS256: [&str; 2] = [
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImFwcCJ9",
    "EDNcvkkqyu-CePtSWeuOlsqZQMNInYrtH-ysHHjV9s1-IBxs-MqjSi7ECUZ1cXZHCHn5zs6vgcgb0k8gs_pFB5Sr5-1KG_dPqjNV\
     JLcyKrl868vR4rPe6ekoKAQ1dR1MVrCJ7y4RZkCI0gGkl_SioccZLCpZHZ2dzjJ_pSlPRII8oqc_l2h8JQOuaPuuFj8rLZn48SWz\
     77HftCupkKjSRELueMdeaV7ysuLEPh61wensiCg4xjeOp-9CThtk9miOJ-Hg5kpuhBeTUnmfqRGMhmxJ94aVe5jIZqQlItm4P4sH\
     j2bkco43hPqjzUU7WXLS_Bz6Ya6AUCNh1Gl0vr4_tQ",
];
const NODE_ES256: [&str; 2] = [
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjIn0",
    "2QzjskJGG9leS-q_WGjQWO7OaBo9K6RKkJICdhJvnYzELszbj4jpjXaYayor-GvLUlHFl2hBcqMz08TDlpkfYw",
];
const NODE_EDDSA: [&str; 2] = [
    "eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIn0",
    "8NK5XG1nVxlZD_oYo8lpADAuYpXOyZL5GoOCsuL4xwUZAmgRTGwRWCXcDKSLpuzDilMdD8l984BInt6tAGJeCA",
];

#[test]
fn tokens_of_another_implementation_are_taken_as_they_are() {
    for [header, signature] in [NODE_HS256, NODE_RS256, NODE_ES256, NODE_EDDSA] {
        let verified = verify(&format!("{header}.{NODE_CLAIMS}.{signature}")).expect(header);
        assert_eq!(verified.owner.sub, "user-123");
        assert_eq!(verified.owner.user, None);
        assert_eq!(verified.claims["job"], json!({"directHost": true, "keepOriginal": true}));
        assert!(!verified.is_admin());
    }
}

#[test]
fn admin_is_one_word_of_the_scope() {
    for (scope, admin) in [
        (json!("admin"), true),
        (json!("read admin write"), true),
        (json!("administrator"), false),
        (json!("Admin"), false),
        (json!("read,admin"), false),
        (json!(""), false),
        (json!(["admin"]), false),
        (json!(true), false),
    ] {
        let verified = verify(&saying(&claims_with(json!({"scope": scope})))).expect("a good token");
        assert_eq!(verified.is_admin(), admin, "{scope}");
        let missing = Err(AuthError::MissingScope { scope: Scope::Admin });
        assert_eq!(verified.require(Scope::Admin).map(drop), if admin { Ok(()) } else { missing });
    }
}

#[test]
fn dates_may_have_a_fraction() {
    let precise = claims_with(json!({"iat": 1_767_225_599.75, "exp": 1_767_225_600.5e0}));
    assert!(verify(&saying(&precise)).is_ok());
    let now = Timestamp::from_millis(NOW_S * 1000 + 5499);
    let authenticator = authenticator(&every_algorithm());
    assert!(authenticator.verify(&saying(&precise), &(), now).is_ok(), "half a second and the leeway");
    let now = Timestamp::from_millis(NOW_S * 1000 + 5500);
    assert!(authenticator.verify(&saying(&precise), &(), now).is_err());
}

#[test]
fn the_clocks_may_differ_by_the_leeway_and_not_more() {
    let verify = |changes| verify(&saying(&claims_with(changes)));
    assert!(verify(json!({"iat": NOW_S + 5, "nbf": NOW_S + 5})).is_ok());
    let future = |claim, s| Err(AuthError::NotYet { claim, at: Timestamp::from_millis(s * 1000) });
    assert_eq!(verify(json!({"iat": NOW_S + 6})), future("iat", NOW_S + 6));
    assert_eq!(verify(json!({"nbf": NOW_S + 6})), future("nbf", NOW_S + 6));
    assert!(verify(json!({"iat": NOW_S - 60, "exp": NOW_S - 4})).is_ok());
    let since = Timestamp::from_millis((NOW_S - 5) * 1000);
    assert_eq!(verify(json!({"iat": NOW_S - 60, "exp": NOW_S - 5})), Err(AuthError::Expired { since }));
}

#[test]
fn a_day_is_the_longest_a_token_may_live_unless_set_otherwise() {
    let day = claims_with(json!({"exp": NOW_S + 86_400}));
    let longer = claims_with(json!({"exp": NOW_S + 86_401}));
    assert!(verify(&saying(&day)).is_ok());
    assert!(matches!(verify(&saying(&longer)), Err(AuthError::LivesTooLong { .. })));
    let settings = AuthSettings { lifetime_max: Duration::from_mins(1), ..AuthSettings::default() };
    let strict = with_settings(&every_algorithm(), settings);
    assert!(matches!(strict.verify(&saying(&day), &(), now()), Err(AuthError::LivesTooLong { .. })));
}

#[test]
fn issuer_and_audience_are_required_where_they_are_set() {
    let settings =
        AuthSettings { issuer: Some("my-app".into()), audience: Some("pixerve".into()), ..AuthSettings::default() };
    let strict = with_settings(&every_algorithm(), settings);
    let verify = |changes| strict.verify(&saying(&claims_with(changes)), &(), now());
    assert!(verify(json!({"iss": "my-app", "aud": "pixerve"})).is_ok());
    assert!(verify(json!({"iss": "my-app", "aud": ["other", "pixerve"]})).is_ok());
    let missing = |claim| Err(AuthError::MissingClaim { claim });
    assert_eq!(verify(json!({"aud": "pixerve"})), missing("iss"));
    assert_eq!(verify(json!({"iss": "my-app"})), missing("aud"));
    for bad in [json!({"iss": "other", "aud": "pixerve"}), json!({"iss": ["my-app"], "aud": "pixerve"})] {
        assert!(matches!(verify(bad), Err(AuthError::BadClaim { claim: "iss", .. })));
    }
    for aud in [json!("other"), json!([]), json!(["other"]), json!(1), json!([["pixerve"]])] {
        let verified = verify(json!({"iss": "my-app", "aud": aud}));
        assert!(matches!(verified, Err(AuthError::BadClaim { claim: "aud", .. })), "{aud}");
    }
}

#[test]
fn both_keys_are_taken_while_they_rotate_and_the_old_one_is_refused_after() {
    let old = json!({"kid": "2025", "algorithm": "HS256", "secret": "the old secret is as long as it must be"});
    let new = json!({"kid": "2026", "algorithm": "HS256", "secret": "the new secret is as long as it must be"});
    let signed = |kid: &str, secret: &str, named: bool| {
        let header = if named { json!({"alg": "HS256", "kid": kid}) } else { json!({"alg": "HS256"}) };
        hs256(&header.to_string(), &claims().to_string(), secret.as_bytes())
    };
    let during = authenticator(&json!({"keys": [new, old]}));
    let after = authenticator(&json!({"keys": [new]}));
    for named in [true, false] {
        let of_old = signed("2025", old["secret"].as_str().expect("text"), named);
        let of_new = signed("2026", new["secret"].as_str().expect("text"), named);
        assert!(during.verify(&of_old, &(), now()).is_ok() && during.verify(&of_new, &(), now()).is_ok());
        assert!(after.verify(&of_new, &(), now()).is_ok());
        let refused = if named { AuthError::UnknownKid } else { AuthError::UnknownSigner };
        assert_eq!(after.verify(&of_old, &(), now()), Err(refused));
    }
}

#[test]
fn a_users_token_stands_for_the_user_and_is_never_admin() {
    let users = Users::of(&[("pxu_shop", "shop", "the secret of the shop, long enough"), ("pxu_b", "b", SECRET)]);
    let claims = claims_with(json!({"scope": "admin"})).to_string();
    let authenticator = authenticator(&every_algorithm());
    let by = |kid: &str, secret: &str| {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        authenticator.verify(&hs256(&header, &claims, secret.as_bytes()), &users, now())
    };
    let verified = by("pxu_shop", "the secret of the shop, long enough").expect("a good token");
    assert_eq!(verified.owner.user.as_deref(), Some("shop"));
    assert_eq!(verified.owner.sub, "user-123");
    assert!(!verified.is_admin() && verified.require(Scope::Manage).is_err());
    assert_eq!(by("pxu_b", "the secret of the shop, long enough"), Err(AuthError::BadSignature), "another's kid");
    assert_eq!(by("main", "the secret of the shop, long enough"), Err(AuthError::BadSignature), "the operator's kid");
    assert_eq!(by("pxu_gone", "the secret of the shop, long enough"), Err(AuthError::UnknownKid));
}

#[test]
fn a_users_key_is_not_tried_without_its_kid() {
    let users = Users::of(&[("pxu_shop", "shop", "the secret of the shop, long enough")]);
    let token = hs256(r#"{"alg":"HS256"}"#, &claims().to_string(), b"the secret of the shop, long enough");
    let verified = authenticator(&every_algorithm()).verify(&token, &users, now());
    assert_eq!(verified, Err(AuthError::UnknownSigner));
}

//! The published examples of RFC 7515 (JWS), RFC 7797 (unencoded payloads) and RFC 8037 (Ed25519) as whole tokens, and
//! signatures that have fooled other verifiers. The signature layer alone meets the same examples, A.1 with its binary
//! secret among them, in `src/auth/key/tests.rs`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use pixerve::auth::AuthError;
use pixerve::clock::Clock;
use serde_json::{Value, json};

use super::forge::*;

/// The payload of appendix A.1 to A.3 and A.5. It has neither `sub` nor `iat`.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5\
    jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383\
    LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN\
    _IoypGlUPQGe77Rw";
const A3_SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const RFC8037_A4: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3A\
    IbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// The examples whose keys are registered pass the check of their signature, and fail for what they say.
#[test]
fn the_published_examples_are_refused_for_their_claims_alone() {
    let a2 = format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{A2_SIGNATURE}");
    let a3 = format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{A3_SIGNATURE}");
    for token in [&a2, &a3] {
        assert_eq!(verify(token), Err(AuthError::MissingClaim { claim: "sub" }), "{token}");
    }
    let not_claims = verify(RFC8037_A4);
    assert!(matches!(&not_claims, Err(AuthError::Malformed { detail }) if detail.contains("claims")), "{not_claims:?}");
    for token in [a2.as_str(), a3.as_str(), RFC8037_A4] {
        for (at, _) in token.char_indices().skip(token.rfind('.').expect("a signature") + 1).step_by(7) {
            let mut changed = token.to_owned();
            changed.replace_range(at..=at, if &token[at..=at] == "A" { "B" } else { "A" });
            assert_eq!(verify(&changed), Err(AuthError::UnknownSigner), "{at} of {token}");
        }
    }
}

#[test]
fn the_published_examples_of_what_is_not_taken_are_not() {
    // RFC 7515 A.5 (and RFC 7519, 6.1): unsecured.
    assert_eq!(verify(&format!("eyJhbGciOiJub25lIn0.{JOE}.")), Err(AuthError::UnsupportedAlgorithm));
    // A.4: ES512.
    let a4 = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDK\
              B34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    assert_eq!(verify(a4), Err(AuthError::UnsupportedAlgorithm));
    // Appendix E: an extension that must be understood and isn't.
    let extension = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGx\
                     lLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.";
    assert_eq!(verify(extension), Err(AuthError::ForbiddenHeader { field: "crit" }));
    // A.6 and A.7: the JSON serialisations.
    let general =
        json!({"payload": JOE, "signatures": [{"protected": "eyJhbGciOiJFUzI1NiJ9", "signature": A3_SIGNATURE}]});
    let flat = json!({"payload": JOE, "protected": "eyJhbGciOiJFUzI1NiJ9", "signature": A3_SIGNATURE});
    // Appendix F: a detached payload.
    let detached = format!("eyJhbGciOiJFUzI1NiJ9..{A3_SIGNATURE}");
    for token in [general.to_string(), flat.to_string()] {
        assert!(matches!(verify(&token), Err(AuthError::Malformed { .. })), "{token}");
    }
    assert_eq!(verify(&detached), Err(AuthError::UnknownSigner));
    // RFC 7797, 4.2: the payload as it is, detached and not.
    let head = "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19";
    let signature = "A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY";
    assert_eq!(verify(&format!("{head}..{signature}")), Err(AuthError::ForbiddenHeader { field: "crit" }));
    assert!(matches!(verify(&format!("{head}.$.02.{signature}")), Err(AuthError::Malformed { .. })));
}

/// A signature of nothing but zeros (CVE-2022-21449), of ones, in DER, or of no bytes is none.
#[test]
fn signatures_that_need_no_key_are_none() {
    let claims = URL_SAFE_NO_PAD.encode(claims().to_string());
    for (alg, bytes) in [("ES256", 64), ("EdDSA", 64), ("RS256", 256), ("HS256", 32)] {
        let head = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        let mut one = vec![0; bytes];
        one[bytes - 1] = 1;
        let mut neutral = vec![0; bytes];
        // The neutral element of Ed25519 as R, and 0 as S.
        neutral[0] = 1;
        // 30 06 02 01 00 02 01 00: r = s = 0 as ASN.1 has it.
        let der = vec![0x30, 6, 2, 1, 0, 2, 1, 0];
        for signature in [vec![0; bytes], vec![0xFF; bytes], one, neutral, der, vec![0], Vec::new(), vec![0; 8000 / 4]]
        {
            let token = format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(&signature));
            assert_eq!(verify(&token), Err(AuthError::UnknownSigner), "{alg}: {} bytes", signature.len());
        }
    }
}

/// `encoded` with the bits set that its last character has to spare.
fn with_spare_bits(encoded: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = encoded.split_at(encoded.len() - 1);
    let value = ALPHABET.iter().position(|c| [*c] == last.as_bytes()).expect("base64url");
    assert!(!encoded.len().is_multiple_of(4), "every bit of it counts");
    format!("{rest}{}", char::from(ALPHABET[value | 1]))
}

/// One token has one spelling: what a log or a block list knows it by can't be varied.
#[test]
fn a_token_has_no_second_spelling() {
    let secret = SECRET.as_bytes();
    // Spaces, so that header and claims have bits to spare.
    let pad = |mut text: String| {
        while text.len().is_multiple_of(3) {
            text.push(' ');
        }
        text
    };
    let (head, body) = (pad(r#"{"alg":"HS256"}"#.to_owned()), pad(claims().to_string()));
    let good = hs256(&head, &body, secret);
    assert!(verify(&good).is_ok(), "{:?}", verify(&good));
    let [head_part, body_part, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };

    let mut spellings = vec![
        format!("{head_part}.{body_part}.{}", with_spare_bits(signature)),
        format!("{head_part}.{body_part}.{signature}="),
        format!("{head_part}.{body_part}.{signature}A"),
        format!("{head_part}.{body_part}.{signature}AAAA"),
        format!("{head_part}.{body_part}.{signature}\0"),
        format!("{head_part}.{body_part}.{signature}%00"),
        format!("{head_part}.{body_part}.{signature}."),
        format!("{good}\n"),
        format!("\u{feff}{good}"),
    ];
    for white in [" ", "\n", "\r\n", "\t", "\u{b}", "\u{a0}", "\u{200b}"] {
        for at in [1, head_part.len() + 3, good.len() - 3] {
            let mut spelling = good.clone();
            spelling.insert_str(at, white);
            spellings.push(spelling);
        }
    }
    for spelling in &spellings {
        assert!(verify(spelling).is_err(), "{spelling}");
    }
    // Signed as they are by a holder of the key: still not canonical.
    let signed = |message: String| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret);
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).expect("signed");
        format!("{message}.{signature}")
    };
    let odd = format!("{}{}", body.trim_end().trim_end_matches('}'), ",\"x\":\"???>>>~~~\"}");
    let other_alphabet = STANDARD_NO_PAD.encode(pad(odd));
    assert!(other_alphabet.contains(['+', '/']), "the alphabets differ in it: {other_alphabet}");
    for token in [
        signed(format!("{}.{body_part}", with_spare_bits(head_part))),
        signed(format!("{head_part}.{}", with_spare_bits(body_part))),
        signed(format!("{head_part}.{other_alphabet}")),
        signed(format!("{}.{body_part}", URL_SAFE.encode(&head))),
        signed(format!("{head_part}.{}", URL_SAFE.encode(&body))),
        signed(format!("{head_part}.{body_part}A")),
        signed(format!("{head_part}.{}", URL_SAFE_NO_PAD.encode(format!("{body}\0")))),
        signed(format!("{head_part}.{}", URL_SAFE_NO_PAD.encode(format!("{body}{body}")))),
    ] {
        assert!(matches!(verify(&token), Err(AuthError::Malformed { .. })), "{token}: {:?}", verify(&token));
    }
}

/// The fastest of several tries, since other tests run at the same time.
fn fastest(token: &str) -> (std::time::Duration, AuthError) {
    let authenticator = authenticator(&every_algorithm());
    let clock = pixerve::clock::System::new();
    let tries = (0..7).map(|_| {
        let started = clock.elapsed();
        let error = authenticator.verify(token, &(), now()).expect_err("refused");
        (clock.elapsed().saturating_sub(started), error)
    });
    tries.min_by_key(|(took, _)| *took).expect("tried")
}

#[test]
fn tokens_of_64_kib_are_refused_in_10_ms() {
    const BYTES: usize = 64 * 1024;
    let x = |n: usize| "x".repeat(n);
    let claimed = |claims: Value| saying(&claims_with(claims));
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    let tokens = [
        ("claims", claimed(json!({ "padding": x(BYTES) }))),
        ("header", headed(&json!({ "alg": "HS256", "padding": x(BYTES) }))),
        ("kid", headed(&json!({ "alg": "HS256", "kid": x(BYTES) }))),
        ("signature", format!("{}{}", saying(&claims()), x(BYTES))),
        ("RSA signature", format!("{}.{}.{}", part(r#"{"alg":"RS256"}"#.into()), part(claims().to_string()), x(BYTES))),
        ("depth", hs256(r#"{"alg":"HS256"}"#, &"[".repeat(BYTES), SECRET.as_bytes())),
        ("keys", claimed((0..8000).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into())),
        ("dots", ".".repeat(BYTES)),
        ("no base64", "\u{1F600}".repeat(BYTES / 4)),
        ("number", hs256(r#"{"alg":"HS256"}"#, &format!("{{\"exp\":{}}}", "9".repeat(BYTES)), SECRET.as_bytes())),
    ];
    for (what, token) in tokens {
        assert!(token.len() >= BYTES, "{what}: {} bytes", token.len());
        let (took, error) = fastest(&token);
        assert_eq!(error, AuthError::TooLong { max: 8192 }, "{what}");
        assert!(took < std::time::Duration::from_millis(10), "{what} took {took:?}");
    }
    // What is short enough to be looked at is as quick.
    for (what, token) in [
        ("kid", headed(&json!({ "alg": "HS256", "kid": x(5900) }))),
        ("depth", hs256(r#"{"alg":"HS256"}"#, &format!("{{\"a\":{}", "[".repeat(5900)), SECRET.as_bytes())),
        ("number", hs256(r#"{"alg":"HS256"}"#, &format!("{{\"exp\":{}}}", "9".repeat(5900)), SECRET.as_bytes())),
    ] {
        let (took, _) = fastest(&token);
        assert!(token.len() < 8192 && took < std::time::Duration::from_millis(10), "{what} took {took:?}");
    }
}

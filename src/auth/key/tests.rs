//! The signature layer against the examples of RFC 7515 (appendix A) and RFC 8037 (appendix A), whose keys are in
//! `tests/it/auth/keys`, and against keys that must not be taken.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const RFC7515_A2_PUBLIC: &str = include_str!("../../../tests/it/auth/keys/rfc7515_a2_public.pem");
const RFC7515_A2_PRIVATE: &str = include_str!("../../../tests/it/auth/keys/rfc7515_a2_private.pem");
const RFC7515_A3_PUBLIC: &str = include_str!("../../../tests/it/auth/keys/rfc7515_a3_public.pem");
const RFC7515_A3_PRIVATE: &str = include_str!("../../../tests/it/auth/keys/rfc7515_a3_private.pem");
const RFC8037_PUBLIC: &str = include_str!("../../../tests/it/auth/keys/rfc8037_a_public.pem");
const RFC8037_PRIVATE: &str = include_str!("../../../tests/it/auth/keys/rfc8037_a_private.pem");
const P384_PUBLIC: &str = include_str!("../../../tests/it/auth/keys/p384_public.pem");
const RSA1024_PUBLIC: &str = include_str!("../../../tests/it/auth/keys/rsa1024_public.pem");

/// The payload of the examples A.1 to A.3.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn accepts_only_as_it_is(key: &Key, message: &str, signature: &str) {
    assert!(key.verifies(message.as_bytes(), signature), "the published example");
    assert!(!key.verifies(format!("{message}x").as_bytes(), signature), "another message");
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    bytes[5] ^= 1;
    assert!(!key.verifies(message.as_bytes(), &URL_SAFE_NO_PAD.encode(&bytes)), "a flipped bit");
    assert!(!key.verifies(message.as_bytes(), &signature[..signature.len() - 4]), "a cut signature");
    assert!(!key.verifies(message.as_bytes(), ""), "no signature");
    assert!(!key.verifies(message.as_bytes(), &format!("{signature}==")), "padding");
}

#[test]
fn rfc_7515_a1_hs256() {
    let secret = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .expect("base64url");
    let key = Key::shared(&secret).expect("64 bytes");
    let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}");
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    accepts_only_as_it_is(&key, &message, signature);
    assert_eq!(key.sign(message.as_bytes()).as_deref(), Some(signature));
}

#[test]
fn rfc_7515_a2_rs256() {
    let key = Key::pair(Algorithm::Rs256, RFC7515_A2_PUBLIC, Some(RFC7515_A2_PRIVATE)).expect("a key pair");
    let message = format!("eyJhbGciOiJSUzI1NiJ9.{JOE}");
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5\
                     jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb\
                     1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO\
                     YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    accepts_only_as_it_is(&key, &message, signature);
    assert_eq!(key.sign(message.as_bytes()).as_deref(), Some(signature));
}

#[test]
fn rfc_7515_a3_es256() {
    let key = Key::pair(Algorithm::Es256, RFC7515_A3_PUBLIC, None).expect("a public key");
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    accepts_only_as_it_is(&key, &format!("eyJhbGciOiJFUzI1NiJ9.{JOE}"), signature);
}

#[test]
fn rfc_8037_a4_eddsa() {
    let key = Key::pair(Algorithm::EdDsa, RFC8037_PUBLIC, Some(RFC8037_PRIVATE)).expect("a key pair");
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    accepts_only_as_it_is(&key, message, signature);
    assert_eq!(key.sign(message.as_bytes()).as_deref(), Some(signature));
}

#[test]
fn every_pair_verifies_what_it_signs() {
    let key = Key::pair(Algorithm::Es256, RFC7515_A3_PUBLIC, Some(RFC7515_A3_PRIVATE)).expect("a key pair");
    let signature = key.sign(b"message").expect("it can sign");
    assert!(key.verifies(b"message", &signature));
}

#[test]
fn secrets_that_can_be_guessed_are_refused() {
    assert_eq!(Key::shared(b"").err(), Some(KeyError::ShortSecret { bytes: 0 }));
    assert_eq!(Key::shared(&[b'x'; 31]).err(), Some(KeyError::ShortSecret { bytes: 31 }));
    assert!(Key::shared(&[b'x'; 32]).is_ok());
    assert_eq!(Key::shared(RFC7515_A2_PUBLIC.as_bytes()).err(), Some(KeyError::PemAsSecret));
}

#[test]
fn keys_of_another_kind_size_or_curve_are_refused() {
    let unusable = |algorithm, pem| Key::pair(algorithm, pem, None).err();
    let none = |algorithm| Some(KeyError::NoPublicKey(algorithm));
    assert_eq!(unusable(Algorithm::Rs256, RSA1024_PUBLIC), Some(KeyError::RsaSize { bits: 1024 }));
    assert_eq!(unusable(Algorithm::Es256, P384_PUBLIC), none(Algorithm::Es256));
    assert_eq!(unusable(Algorithm::Es256, RFC8037_PUBLIC), none(Algorithm::Es256));
    assert_eq!(unusable(Algorithm::EdDsa, RFC7515_A3_PUBLIC), none(Algorithm::EdDsa));
    assert_eq!(unusable(Algorithm::Rs256, RFC7515_A3_PUBLIC), none(Algorithm::Rs256));
    assert_eq!(unusable(Algorithm::Rs256, RFC7515_A2_PRIVATE), none(Algorithm::Rs256));
    assert_eq!(unusable(Algorithm::Es256, "not a PEM"), none(Algorithm::Es256));
}

#[test]
fn a_private_key_must_belong_to_the_public_one() {
    let pair = |algorithm, public, private| Key::pair(algorithm, public, Some(private)).err();
    let other = Some(KeyError::NoPrivateKey(Algorithm::EdDsa));
    assert_eq!(pair(Algorithm::EdDsa, RFC8037_PUBLIC, RFC7515_A3_PRIVATE), other);
    assert_eq!(pair(Algorithm::EdDsa, RFC8037_PUBLIC, RFC8037_PUBLIC), other);
    let mut another = RFC8037_PRIVATE.to_owned();
    another.replace_range(60..64, "AAAA");
    assert_eq!(pair(Algorithm::EdDsa, RFC8037_PUBLIC, &another), Some(KeyError::Unpaired));
}

#[test]
fn debugging_a_key_shows_nothing_of_it() {
    let key = Key::shared(b"a canary in a coal mine, 32 bytes long").expect("long enough");
    assert!(!format!("{key:?}").contains("canary"));
    assert!(!format!("{key:?}").contains("97, 32, 99"), "nor its bytes");
}

//! A header and claims, separated by a line break, signed with the right key; and the same bytes as a token as they are.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use libfuzzer_sys::fuzz_target;
use pixerve::auth::{Authenticator, KeyRing, AuthSettings};
use pixerve::clock::Timestamp;
use pixerve::job::{JobSpec, ParsedJob, SpecLimits};
use secrecy::SecretString;

const SECRET: &str = "a secret for fuzzing, long enough to be taken";
/// The clock stands still, at 2026-01-01.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn authenticator() -> &'static Authenticator {
    static ONE: OnceLock<Authenticator> = OnceLock::new();
    ONE.get_or_init(|| {
        let keys = KeyRing::load(Path::new("/nonexistent/jwt.json"), Some(&SecretString::from(SECRET)));
        Authenticator::new(keys.expect("good").expect("there"), AuthSettings::default())
    })
}

fuzz_target!(|input: &[u8]| {
    if let Ok(token) = std::str::from_utf8(input) {
        assert!(authenticator().verify(token, &(), NOW).is_err(), "forged: {token}");
    }
    let line = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
    let (header, claims) = (&input[..line], input.get(line + 1..).unwrap_or_default());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    let Ok(verified) = authenticator().verify(&format!("{message}.{signature}"), &(), NOW) else { return };
    assert!(verified.owner.user.is_none() && (1..=256).contains(&verified.owner.sub.len()));
    let Ok(job) = ParsedJob::from_claim(verified.claims.get("job"), SpecLimits::default()) else { return };
    assert!(job.job_data.get("callbackHeaders").is_none());
    assert!(job.spec.variants.len() <= 64);
    let text = serde_json::to_string(&job.spec).expect("it is JSON");
    assert_eq!(serde_json::from_str::<JobSpec>(&text).expect("it reads what it wrote"), job.spec);
});

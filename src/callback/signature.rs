//! Signatures after Standard Webhooks 1.0: a receiver that knows the secret can tell that a call is ours, whole and recent.
//!
//! What is signed is `<webhook-id>.<webhook-timestamp>.<body>`, by HMAC-SHA256 under each secret that is good at the time of
//! the try; the header holds all signatures, so that a receiver may change secrets whenever it likes in the meantime.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;

use crate::clock::Timestamp;
use crate::job::{Owner, WebhookSecret};

/// Who knows which secrets calls are signed with.
pub trait SigningSecrets: Send + Sync + 'static {
    /// The secrets for calls about a job of `owner`, accepted at that time: the newest first; none, and a call is not signed.
    fn secrets(&self, owner: &Owner, accepted: Timestamp) -> Vec<WebhookSecret>;
}

/// The value of `webhook-signature` for a body that is sent as `id` at `at`: a list separated by spaces.
pub(super) fn signature(secrets: &[WebhookSecret], id: &str, at: Timestamp, body: &[u8]) -> String {
    let signed = secrets.iter().map(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes().expose_secret());
        let mut context = hmac::Context::with_key(&key);
        for part in [id.as_bytes(), b".", at.as_secs().to_string().as_bytes(), b".", body] {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let signed = signature(
            &[secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_millis(1_614_265_330_000),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn of_two_secrets_both_sign_the_newest_first() {
        let secrets = [WebhookSecret::generate().expect("random"), WebhookSecret::generate().expect("random")];
        let at = Timestamp::from_millis(1_000);
        let both = signature(&secrets, "a", at, b"{}");
        let each: Vec<_> =
            secrets.iter().map(|secret| signature(std::slice::from_ref(secret), "a", at, b"{}")).collect();
        assert_eq!(both, each.join(" "));
        assert_eq!(signature(&[], "a", at, b"{}"), "");
    }
}

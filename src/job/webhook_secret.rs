//! The secrets that callbacks are signed with, as Standard Webhooks writes them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

const PREFIX: &str = "whsec_";
/// Of those that are made here.
const BYTES: usize = 32;
/// Of those that come from elsewhere, by the specification.
const BYTES_MIN: usize = 24;
const BYTES_MAX: usize = 64;

/// A secret that a receiver verifies calls with.
#[derive(Clone)]
pub struct WebhookSecret(SecretSlice<u8>);

impl WebhookSecret {
    /// A new one.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The one that is written like this: `whsec_` and the base64 of 24 to 64 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        (BYTES_MIN..=BYTES_MAX).contains(&bytes.len()).then(|| Self(bytes.into()))
    }

    /// As receivers are given it.
    #[must_use]
    pub fn text(&self) -> SecretString {
        format!("{PREFIX}{}", STANDARD.encode(self.0.expose_secret())).into()
    }

    /// What signs.
    #[must_use]
    pub fn bytes(&self) -> &SecretSlice<u8> {
        &self.0
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_written_and_shown_to_nobody() {
        let secret = WebhookSecret::generate().expect("random");
        let text = secret.text();
        assert!(text.expose_secret().starts_with(PREFIX));
        let read = WebhookSecret::parse(text.expose_secret()).expect("it is one");
        assert_eq!(read.bytes().expose_secret(), secret.bytes().expose_secret());
        assert_eq!(format!("{secret:?}"), "WebhookSecret([redacted])");
        for bad in
            ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"]
        {
            assert!(WebhookSecret::parse(bad).is_none(), "{bad}");
        }
    }
}

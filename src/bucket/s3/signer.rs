//! Whose requests they are.

use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use secrecy::{ExposeSecret, SecretString};

/// Who signs requests, and for which region.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(super) credentials: SharedCredentialsProvider,
    pub(super) region: String,
}

impl Signer {
    /// Whoever has these keys.
    pub(crate) fn with_keys(access_key_id: &str, secret_access_key: &SecretString, region: &str) -> Self {
        let credentials = Credentials::new(access_key_id, secret_access_key.expose_secret(), None, None, "pixerve");
        Self { credentials: SharedCredentialsProvider::new(credentials), region: region.to_owned() }
    }
}

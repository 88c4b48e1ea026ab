//! What is asked of every token, whoever signed it.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::setting;

/// Bytes a token may have.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Where the keys are, and what a token must satisfy besides its signature.
#[derive(Clone, Debug, Deserialize)]
pub struct AuthSettings {
    /// The file of keys.
    #[serde(rename = ".jwt_file", deserialize_with = "setting::path")]
    pub jwt_file: PathBuf,
    /// A secret of at least 32 bytes, used instead of the file.
    #[serde(rename = ".jwt_secret", deserialize_with = "setting::optional_secret")]
    pub jwt_secret: Option<SecretString>,
    /// The `iss` every token must carry; none: not checked.
    #[serde(deserialize_with = "setting::optional_text")]
    pub issuer: Option<String>,
    /// The `aud` every token must name; none: not checked.
    #[serde(deserialize_with = "setting::optional_text")]
    pub audience: Option<String>,
    /// From `iat` to `exp`.
    #[serde(deserialize_with = "setting::duration")]
    pub lifetime_max: Duration,
    /// By which the signer's clock may differ from ours.
    #[serde(deserialize_with = "setting::duration_or_zero")]
    pub leeway: Duration,
}

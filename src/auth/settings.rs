//! What is asked of every token, whoever signed it.

use std::time::Duration;

use serde::Deserialize;

/// What a token must satisfy besides its signature.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes a token may have.
    pub token_bytes_max: usize,
    /// Seconds from `iat` to `exp` at most.
    pub lifetime_max_s: u32,
    /// Seconds by which the signer's clock may differ from ours.
    pub leeway_s: u32,
    /// The `iss` every token must carry; none or empty: not checked.
    pub issuer: Option<String>,
    /// The `aud` every token must name; none or empty: not checked.
    pub audience: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { token_bytes_max: 8 * 1024, lifetime_max_s: 24 * 60 * 60, leeway_s: 5, issuer: None, audience: None }
    }
}

impl Settings {
    pub(super) fn lifetime_max(&self) -> Duration {
        Duration::from_secs(self.lifetime_max_s.into())
    }

    pub(super) fn leeway(&self) -> Duration {
        Duration::from_secs(self.leeway_s.into())
    }

    pub(super) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref().filter(|text| !text.is_empty())
    }

    pub(super) fn audience(&self) -> Option<&str> {
        self.audience.as_deref().filter(|text| !text.is_empty())
    }
}

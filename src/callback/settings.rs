//! What an operator may say about callbacks.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use crate::job::{PublicUrl, WebhookSecret};
use crate::retry::RetrySchedule;
use crate::setting;

/// Settings of the outbox.
#[derive(Clone, Debug, Deserialize)]
pub struct CallbackSettings {
    /// Networks that callbacks may reach besides public addresses.
    #[serde(deserialize_with = "setting::networks")]
    pub allow: Vec<IpNet>,
    /// For one try in all, name resolution and reading the reply included.
    #[serde(deserialize_with = "setting::duration")]
    pub timeout: Duration,
    /// For name resolution, connecting and the TLS handshake; at most `timeout`.
    #[serde(deserialize_with = "setting::duration")]
    pub connect_timeout: Duration,
    /// Tries at once, besides the spare places: a quarter as many, for tenants with no try under way.
    #[serde(deserialize_with = "setting::count")]
    pub concurrency: usize,
    /// Tries at once to one host, so that a slow receiver doesn't hold up the others; and a quarter as many in the same way.
    #[serde(deserialize_with = "setting::count")]
    pub concurrency_per_host: usize,
    /// What calls about jobs of the keys of `jwt.json` are signed with; none for a secret that is made and kept in the data
    /// directory.
    #[serde(deserialize_with = "optional_webhook_secret")]
    pub secret: Option<WebhookSecret>,
    /// Where clients reach this server.
    #[serde(rename = ".server.public_url")]
    pub public_url: PublicUrl,
    /// The waits between tries.
    pub retry_waits: RetrySchedule,
}

/// No error quotes it.
fn optional_webhook_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WebhookSecret>, D::Error> {
    let expected = "whsec_ and the base64 of 24 to 64 bytes, as `pixerve webhook-secret` prints one";
    let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(expected))?;
    match text.trim() {
        "" => Ok(None),
        text => WebhookSecret::parse(text)
            .map(Some)
            .ok_or_else(|| serde::de::Error::invalid_value(serde::de::Unexpected::Other("[redacted]"), &expected)),
    }
}

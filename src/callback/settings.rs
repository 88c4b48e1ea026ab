//! What an operator may say about callbacks.

use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::job::PublicUrl;
use crate::retry::RetryPolicy;
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
    /// Where clients reach this server.
    #[serde(rename = ".server.public_url")]
    pub public_url: PublicUrl,
    /// How often to try a callback.
    pub retry: RetryPolicy,
}

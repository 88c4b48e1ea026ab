//! All settings: the settings of each room, and the few that belong to none. What each means in full stands in
//! `config/default.toml`; how fields find their settings, in [`reader`](super::reader).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::auth::AuthSettings;
use crate::callback::CallbackSettings;
use crate::job::SpecLimits;
use crate::pipeline::PixelLimits;
use crate::queue::QueueSettings;
use crate::routes::{HttpSettings, RateSettings};
use crate::sandbox::SandboxSettings;
use crate::setting;
use crate::telemetry::LogSettings;
use crate::worker::WorkerSettings;
use crate::writer::StoreSettings;

/// The settings of the server. Its `Debug` form redacts the secret.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where to listen.
    #[serde(deserialize_with = "setting::address")]
    pub addr: SocketAddr,
    /// The databases and the spool.
    #[serde(deserialize_with = "setting::path")]
    pub data_dir: PathBuf,
    /// What is served under `/files/`.
    #[serde(deserialize_with = "setting::path")]
    pub serve_dir: PathBuf,
    /// Logs.
    pub log: LogSettings,
    /// Connections and requests.
    pub server: Server,
    /// What tokens are asked for.
    pub auth: AuthSettings,
    /// How much the queue takes.
    pub queue: QueueSettings,
    /// How jobs are worked on.
    pub worker: WorkerSettings,
    /// The processes that they are worked on in.
    #[serde(rename = ".worker")]
    pub sandbox: SandboxSettings,
    /// How many pixels a job may have.
    pub pixels: PixelLimits,
    /// How much a job may ask for.
    #[serde(rename = ".pixels")]
    pub spec: SpecLimits,
    /// Talking to remote stores.
    pub stores: StoreSettings,
    /// Delivering callbacks.
    pub callback: CallbackSettings,
}

/// Connections and requests.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    /// Bounds of a connection.
    pub connections: ConnectionLimits,
    /// Bounds of a request.
    pub http: HttpSettings,
    /// How many requests.
    pub rates: RateSettings,
    /// For running jobs after a signal to stop.
    #[serde(deserialize_with = "setting::duration")]
    pub drain_timeout: Duration,
}

/// Bounds of a connection.
#[derive(Clone, Debug, Deserialize)]
pub struct ConnectionLimits {
    /// For the head of a request, from its first byte or from when the last one ended.
    #[serde(deserialize_with = "setting::duration")]
    pub header_timeout: Duration,
    /// For a client that reads nothing of a response.
    #[serde(deserialize_with = "setting::duration")]
    pub write_timeout: Duration,
    /// Connections at once; further ones wait in the kernel's backlog.
    #[serde(deserialize_with = "setting::count")]
    pub connections_max: usize,
    /// Requests at once on one HTTP/2 connection.
    #[serde(deserialize_with = "setting::count")]
    pub http2_streams_max: u32,
    /// Bytes of a request's head, at least 8 KiB.
    #[serde(deserialize_with = "setting::bytes")]
    pub headers_bytes_max: u32,
    /// Headers of a request.
    #[serde(deserialize_with = "setting::count")]
    pub headers_max: usize,
}

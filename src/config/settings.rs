//! All settings: the settings of each room, and the few that belong to none. What each means in full stands in
//! `config/default.toml`; how fields find their settings, in [`reader`](super::reader).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::auth::AuthSettings;
use crate::callback::{AddressPolicy, CallbackSettings};
use crate::doctor::Premises;
use crate::job::{PublicUrl, SpecLimits};
use crate::ledger::EraseSettings;
use crate::metrics::MetricsSettings;
use crate::nodes::NodeSettings;
use crate::pipeline::PixelLimits;
use crate::queue::QueueSettings;
use crate::redis_client::RedisSettings;
use crate::register::SEALING_KEYS;
use crate::routes::files::RedirectOrigin;
use crate::routes::{HttpSettings, RateSettings};
use crate::sandbox::SandboxSettings;
use crate::setting;
use crate::spool::SpoolSettings;
use crate::telemetry::LogSettings;
use crate::worker::WorkerSettings;
use crate::writer::{ServeKind, StoreSettings};

/// The settings of the server. Its `Debug` form redacts the secret.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where to listen.
    #[serde(deserialize_with = "setting::address")]
    pub addr: SocketAddr,
    /// The databases and the spool.
    #[serde(deserialize_with = "setting::path")]
    pub data_dir: PathBuf,
    /// Where what is served under `/files/` is kept.
    pub serve: ServeKind,
    /// Where that is, if it is a directory.
    #[serde(deserialize_with = "setting::path")]
    pub serve_dir: PathBuf,
    /// Where private files are, if what is served is in directories.
    #[serde(deserialize_with = "setting::path")]
    pub private_dir: PathBuf,
    /// Who sends it, if it is in the bucket and this server doesn't.
    #[serde(deserialize_with = "RedirectOrigin::optional")]
    pub serve_redirect: Option<RedirectOrigin>,
    /// Presets of files; none, if there are none.
    #[serde(deserialize_with = "setting::optional_path")]
    pub presets_dir: Option<PathBuf>,
    /// What seals the register and callbacks; none for `vault.key` in `data_dir`.
    #[serde(deserialize_with = "setting::optional_path")]
    pub vault_key_file: Option<PathBuf>,
    /// Whether nothing is taken in, made, stored or called.
    #[serde(deserialize_with = "setting::flag")]
    pub paused: bool,
    /// Logs.
    pub log: LogSettings,
    /// Connections and requests.
    pub server: Server,
    /// What tokens are asked for.
    pub auth: AuthSettings,
    /// Where originals are.
    pub spool: SpoolSettings,
    /// How much the queue takes.
    pub queue: QueueSettings,
    /// Where it is, if nodes share it.
    #[serde(rename = ".queue")]
    pub redis: RedisSettings,
    /// What this server is among those that share it.
    pub node: NodeSettings,
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
    /// Erasing.
    pub erase: EraseSettings,
    /// Telling a monitoring system.
    pub metrics: MetricsSettings,
}

/// `private_dir`, as it is if nobody says otherwise.
const PRIVATE_DIR: &str = "./private";

/// Where private files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivatePlace<'a> {
    /// In this directory.
    Directory {
        /// Which.
        path: &'a Path,
        /// Whether somebody chose it. What nobody chose may be missing: a server from before there was one starts all the same.
        is_chosen: bool,
    },
    /// In the bucket, where every node finds them.
    Bucket,
    /// Nowhere: many nodes have no directory in common but those that they are told of.
    Nowhere,
}

impl Config {
    /// Where private files are.
    #[must_use]
    pub fn private_place(&self) -> PrivatePlace<'_> {
        let is_chosen = self.private_dir != Path::new(PRIVATE_DIR);
        match self.serve {
            ServeKind::Bucket => PrivatePlace::Bucket,
            ServeKind::Directory if self.redis.url.is_some() && !is_chosen => PrivatePlace::Nowhere,
            ServeKind::Directory => PrivatePlace::Directory { path: &self.private_dir, is_chosen },
        }
    }

    /// The directory that private files are in, if it is one.
    #[must_use]
    pub fn private_files_dir(&self) -> Option<&Path> {
        match self.private_place() {
            PrivatePlace::Directory { path, .. } => Some(path),
            PrivatePlace::Bucket | PrivatePlace::Nowhere => None,
        }
    }

    /// The directory that is served; none where the bucket is.
    #[must_use]
    pub fn served_dir(&self) -> Option<&Path> {
        match self.serve {
            ServeKind::Directory => Some(&self.serve_dir),
            ServeKind::Bucket => None,
        }
    }

    /// Has clients be told that the server is reached at `url`, unless the settings say where.
    pub fn suggest_public_url(&mut self, url: &PublicUrl) {
        if self.server.http.public_url.is_known() {
            return;
        }
        for told in [&mut self.server.http.public_url, &mut self.callback.public_url, &mut self.worker.public_url] {
            told.clone_from(url);
        }
    }

    /// What it says of where things lie, for whoever looks whether all is well.
    #[must_use]
    pub fn premises(&self) -> Premises {
        Premises {
            data_dir: self.data_dir.clone(),
            serve_dir: self.served_dir().map(Path::to_owned),
            private_dir: self.private_files_dir().map(Path::to_owned),
            jwt_file: self.auth.jwt_file.clone(),
            jwt_secret: self.auth.jwt_secret.clone(),
            sealing_keys: self.key_file(),
            is_shared: self.redis.url.is_some(),
            free_disk_min: self.server.http.free_disk_min,
            connections_max: self.server.connections.connections_max,
            callback_allow: self.callback.allow.clone(),
            presets_dir: self.presets_dir.clone(),
            spec_limits: self.spec,
            callback_addresses: Arc::new(AddressPolicy::new(self.callback.allow.clone())),
        }
    }

    /// Where the keys are, or are to be, that seal secrets.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.vault_key_file.clone().unwrap_or_else(|| self.data_dir.join(SEALING_KEYS))
    }
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
    /// For the head of a request, from its first byte; for the first one from the start of its connection.
    #[serde(deserialize_with = "setting::duration")]
    pub header_timeout: Duration,
    /// For a connection between two requests.
    #[serde(deserialize_with = "setting::duration")]
    pub keep_alive_timeout: Duration,
    /// For a client that reads nothing of a response.
    #[serde(deserialize_with = "setting::duration")]
    pub write_timeout: Duration,
    /// Bytes a second at which a response must be read; with fewer it may fall behind by what this makes in
    /// `write_timeout`.
    #[serde(deserialize_with = "setting::bytes")]
    pub response_rate_min: u64,
    /// Connections at once; further ones wait in the kernel's backlog.
    #[serde(deserialize_with = "setting::connections")]
    pub connections_max: usize,
    /// Connections of one address at once, trusted proxies aside; 0 for no limit.
    #[serde(deserialize_with = "setting::count_or_zero")]
    pub connections_per_address_max: usize,
    /// Whether HTTP/2 is spoken beside HTTP/1.1.
    #[serde(deserialize_with = "setting::switch")]
    pub http2: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_where_all_nodes_find_them_or_nowhere() {
        let own = Config::default();
        let default = Path::new(PRIVATE_DIR);
        assert_eq!(own.private_place(), PrivatePlace::Directory { path: default, is_chosen: false });
        let queue = "redis://127.0.0.1".to_owned();
        let env = |more: &[(&str, &str)]| {
            let all = [("PIXERVE_QUEUE_URL", queue.as_str()), ("PIXERVE_SPOOL_URL", "s3://pixerve")];
            let all = all.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            crate::config::Sources { env: all.collect(), ..crate::config::Sources::default() }
        };
        if cfg!(feature = "s3") {
            let shared = |more: &[(&str, &str)]| Config::load(env(more)).expect("good settings").0;
            assert_eq!(shared(&[]).private_place(), PrivatePlace::Nowhere);
            let chosen = shared(&[("PIXERVE_PRIVATE_DIR", "/mnt/private")]);
            let path = Path::new("/mnt/private");
            assert_eq!(chosen.private_place(), PrivatePlace::Directory { path, is_chosen: true });
            assert_eq!(shared(&[("PIXERVE_SERVE", "bucket")]).private_place(), PrivatePlace::Bucket);
        }
    }
}

//! What every handler may use.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cross_origin::{AllowedOrigins, CrossOrigin};
use super::doctor::Examined;
use super::http_metrics::HttpMetrics;
use super::rate::Rates;
use super::watching::{WatchedJobs, Watchers};
use crate::active_jobs::ActiveJobs;
use crate::auth::Authenticator;
use crate::bucket::LastProbe;
use crate::canceller::JobCanceller;
use crate::clock::{SharedClock, Timestamp};
use crate::disks::DiskHealth;
use crate::job::{
    CallbackAddresses, CallbackTarget, ExpiresAfter, JobId, JobSpec, Owner, PublicUrl, RecordVersion, SpecLimits,
};
use crate::ledger::{ErasableLedger, EraseSettings, ErasureSignals, GcSignals, Place};
use crate::metrics::Metrics;
use crate::nodes::{NodeRoles, NodesStatus};
use crate::pipeline::{MemoryLimit, PixelLimits};
use crate::queue::{DeliveryRecords, IdempotentRequests, JobIntake, JobRecords};
use crate::register::{Presets, Register, Sealer};
use crate::setting;
use crate::spool::Spool;
use crate::writer::{ObjectBytes, StoreTimeouts, WriteError};

/// Limits of the HTTP side.
#[derive(Clone, Debug, Deserialize)]
pub struct HttpSettings {
    /// Bytes an uploaded file may have.
    #[serde(deserialize_with = "setting::bytes")]
    pub body_bytes_max: u64,
    /// Time in which a body may come at any pace.
    #[serde(deserialize_with = "setting::duration")]
    pub body_grace: Duration,
    /// Bytes a second it must average afterwards.
    #[serde(deserialize_with = "setting::bytes")]
    pub body_rate_min: u64,
    /// Whose pages may read answers.
    pub cors_origins: AllowedOrigins,
    /// Whether `/docs` shows the description as a page.
    #[serde(deserialize_with = "setting::switch")]
    pub docs: bool,
    /// Where clients reach the server.
    pub public_url: PublicUrl,
    /// Whether the page is shown.
    #[serde(deserialize_with = "setting::flag")]
    pub page: bool,
    /// Parts of a multipart body.
    #[serde(deserialize_with = "setting::count")]
    pub parts_max: usize,
    /// Bytes of one part's header.
    #[serde(deserialize_with = "setting::bytes")]
    pub part_header_bytes_max: u64,
    /// Free bytes that uploads must leave on the disks of the data and the serve directory.
    #[serde(rename = ".storage.free_disk_min", deserialize_with = "setting::bytes_or_zero")]
    pub free_disk_min: u64,
    /// Whether browsers are asked how wide they show a picture.
    #[serde(rename = ".images.client_hints", deserialize_with = "setting::switch")]
    pub client_hints: bool,
    /// How long after their end jobs are erased that don't say so themselves.
    #[serde(rename = ".storage.expires_after", deserialize_with = "ExpiresAfter::optional")]
    pub expires_after: Option<ExpiresAfter>,
    /// Live jobs in all: above it, an upload is refused before its body is read.
    #[serde(rename = ".queue.depth_max", deserialize_with = "setting::count")]
    pub depth_max: usize,
    /// Jobs at once.
    #[serde(rename = ".max_workers", deserialize_with = "setting::workers")]
    pub max_workers: usize,
}

/// Whether the server takes new work. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    draining: CancellationToken,
    /// Uploads are refused from now on.
    refusing: CancellationToken,
    failure: Arc<OnceLock<String>>,
    is_paused: bool,
}

impl Readiness {
    /// That of a server which is paused, or is not, as long as it runs.
    #[must_use]
    pub fn new(is_paused: bool) -> Self {
        Self { is_paused, ..Self::default() }
    }

    /// Whether nothing is taken in, made, stored or called.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// From now on `/health` says that a part of the server has ended, and why. The first reason stays.
    pub fn fail(&self, why: String) {
        // It is told where it is met, too.
        let _ = self.failure.set(why);
    }

    /// Why the server can't go on; none if it can.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// From now on uploads are refused and `/health` says so.
    pub fn drain(&self) {
        self.refusing.cancel();
        self.draining.cancel();
    }

    /// The same, but for uploads on connections that are there: they are taken.
    pub fn drain_taking_uploads(&self) {
        self.draining.cancel();
    }

    /// Whether uploads are refused because the server is stopping.
    #[must_use]
    pub fn refuses_uploads(&self) -> bool {
        self.refusing.is_cancelled()
    }

    /// Whether the server is stopping.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Returns when the server stops: whoever waits for something else needn't any more.
    pub async fn drained(&self) {
        self.draining.cancelled().await;
    }
}

/// Reads what is stored of jobs, wherever that is.
#[async_trait]
pub trait PlaceReader: Send + Sync {
    /// What is at a place that holds a file of this owner's, if it has no more bytes than that; none if nothing is registered under
    /// the access key of its store any more.
    async fn read(&self, place: &Place, owner: &Owner, bytes_max: u64) -> Result<Option<ObjectBytes>, WriteError>;
}

/// What tells whether a node can be used.
#[derive(Clone)]
pub struct NodeHealth {
    /// What it takes.
    pub roles: NodeRoles,
    /// As of the last beat.
    pub nodes: watch::Receiver<NodesStatus>,
    /// How the bucket is; none before the first look at it.
    pub bucket: Arc<dyn Fn() -> Option<LastProbe> + Send + Sync>,
}

/// The parts that handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<AppParts>);

/// See [`AppState`].
#[expect(missing_docs, reason = "the types say it")]
pub struct AppParts {
    pub intake: Arc<dyn JobIntake>,
    pub requests: Arc<dyn IdempotentRequests>,
    pub records: Arc<dyn JobRecords>,
    pub deliveries: Arc<dyn DeliveryRecords>,
    pub spool: Arc<dyn Spool>,
    pub disks: DiskHealth,
    pub active_jobs: ActiveJobs,
    pub canceller: JobCanceller,
    pub ledger: Arc<dyn ErasableLedger>,
    pub erasures: ErasureSignals,
    pub erase: EraseSettings,
    pub gc: GcSignals,
    pub register: Arc<Register>,
    pub presets: Presets,
    pub sealer: Arc<Sealer>,
    pub auth: Authenticator,
    pub clock: SharedClock,
    pub http: HttpSettings,
    pub rates: Arc<Rates>,
    pub cross_origin: Arc<CrossOrigin>,
    pub http_metrics: HttpMetrics,
    pub metrics: Metrics,
    /// With which a scraper may read `metrics`.
    pub metrics_token: Option<SecretString>,
    pub watched_jobs: WatchedJobs,
    pub streams: Watchers,
    pub waiters: Watchers,
    pub spec_limits: SpecLimits,
    pub pixel_limits: PixelLimits,
    pub memory_limit: MemoryLimit,
    pub callback_addresses: Arc<dyn CallbackAddresses>,
    pub store_timeouts: StoreTimeouts,
    /// What reads what is stored.
    pub stored: Arc<dyn PlaceReader>,
    pub readiness: Readiness,
    pub examined: Examined,
    /// What this server is among others, if it shares a queue.
    pub node: Option<NodeHealth>,
    /// The page is shown, and given tokens.
    pub is_demo: bool,
    pub started_at: Timestamp,
}

impl AppState {
    /// Shares `parts` among all handlers.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The format in which a job with this callback and spec is accepted now.
    #[must_use]
    pub fn record_version(&self, callback: Option<&CallbackTarget>, spec: &JobSpec) -> RecordVersion {
        match &self.node {
            Some(node) => RecordVersion::among(node.nodes.borrow().record_format(), callback, spec),
            None => RecordVersion::newest(),
        }
    }

    /// Where to ask about a job.
    #[must_use]
    pub fn status_url(&self, id: JobId) -> String {
        self.http.public_url.path(&format!("/status?job_id={id}"))
    }
}

impl Deref for AppState {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

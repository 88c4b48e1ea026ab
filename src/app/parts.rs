//! The parts of a server, built from its settings and what it keeps, none of them running yet.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::ServeOptions;
use super::direct_host::DirectHost;
use super::metrics::{Sources, metrics};
use super::persistent_state::{PersistentState, memory_budget};
use super::sealed_callbacks::{CallbackSecrets, SealedCallbacks};
use super::shared_state::SharedState;
use super::start_error::StartError;
use super::usage_monitor::Usage;
use crate::active_jobs::ActiveJobs;
use crate::auth::Authenticator;
use crate::callback::{self, AddressPolicy, ErasedOutbox, Outbox, SystemResolver, WebhookClient};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::encoder::{Avif, Registry};
use crate::job::{Owner, SpecLimits};
use crate::ledger::{ErasureSignals, GcSignals, Place};
use crate::metrics::Metrics;
use crate::pipeline::{Engine, JOB_BYTES_MIN, MemoryLimit, RenderStep, StepMetrics, StepTimer};
use crate::register::{PresetFiles, Presets};
use crate::routes::{
    AppParts, AppState, CrossOrigin, Examined, HttpMetrics, NodeHealth, PlaceReader, Rates, Readiness, WatchedJobs,
    Watchers, router, worker_router,
};
use crate::sandbox::{Sandbox, SandboxMode};
use crate::worker::{DirectStore, MemoryBudget, Renderer, Shortage, StoreClients, WorkerContext, WorkerMetrics};
use crate::writer::{ObjectBytes, WriteError};

/// Streams of `/events` that are open at once.
const STREAMS_MAX: usize = 4096;
const STREAMS_PER_ADDRESS_MAX: usize = 16;
/// Requests to `/status` that wait at once.
const WAITERS_MAX: usize = 1024;
const WAITERS_PER_ADDRESS_MAX: usize = 8;

/// What runs once it is started.
pub(super) struct ServerParts {
    pub(super) state: AppState,
    pub(super) router: Router,
    pub(super) worker: Arc<WorkerContext>,
    pub(super) outbox: Outbox,
    pub(super) usage: Usage,
}

/// Reads the presets of files, on a thread that may wait for that.
pub(super) async fn preset_files(config: &Config) -> Result<PresetFiles, StartError> {
    let Some(directory) = config.presets_dir.clone() else { return Ok(PresetFiles::default()) };
    let (limits, addresses) = (config.spec, AddressPolicy::new(config.callback.allow.clone()));
    let read = spawn_blocking(move || {
        let files = PresetFiles::read(&directory, limits, &addresses)?;
        info!(presets_dir = %directory.display(), presets = files.len(), "presets of files read");
        Ok(files)
    });
    read.await?
}

/// What is told of everything, and what handlers add to it.
struct Told {
    metrics: Metrics,
    http_metrics: HttpMetrics,
}

impl ServerParts {
    /// `program` is the binary that a job's child process runs.
    pub(super) async fn build(
        config: &Config,
        options: ServeOptions,
        persistent: PersistentState,
        shared: Option<&SharedState>,
        preset_files: PresetFiles,
        clock: &SharedClock,
        program: &Path,
    ) -> Result<Self, StartError> {
        preset_files.check_stores(&persistent.register)?;
        let presets = Presets::new(preset_files, Arc::clone(&persistent.register));
        let active_jobs = ActiveJobs::new(persistent.queue.events().clone());
        let worker_metrics = WorkerMetrics::default();
        let renderer = renderer(config, clock, program, worker_metrics.steps()).await?;
        let erasures = ErasureSignals::default();
        let outbox = outbox(config, &persistent, clock, erasures.clone(), shared.is_some())?;
        let DirectHost { store, files, private_files } =
            DirectHost::open(config, &persistent.server, &persistent.disks, shared)?;
        let worker =
            worker_context(config, &persistent, clock, store, renderer, active_jobs, erasures, worker_metrics)?;
        let (http_metrics, usage) = (HttpMetrics::default(), Usage::default());
        let sources = Sources {
            worker: &worker,
            http: &http_metrics,
            callbacks: outbox.metrics(),
            usage: &usage,
            nodes: shared.map(|shared| shared.nodes.status()),
        };
        let told = Told { metrics: metrics(&sources), http_metrics };
        let node = shared.map(|shared| node_health(config, shared));
        let takes_requests = node.as_ref().is_none_or(|node| node.roles.api);
        let examined = examined(config, program, &persistent, &worker);
        let limits = SpecLimits { no_private_files: private_files.is_none(), ..config.spec };
        let state = app_state(config, options, persistent, presets, limits, node, clock, &worker, told, examined);
        if !takes_requests {
            let router = worker_router(state.clone());
            return Ok(Self { state, router, worker: Arc::new(worker), outbox, usage });
        }
        let router = router(state.clone(), files, private_files, callback::described());
        Ok(Self { state, router, worker: Arc::new(worker), outbox, usage })
    }
}

/// Where pixels are worked on.
async fn renderer(
    config: &Config,
    clock: &SharedClock,
    program: &Path,
    steps: &StepMetrics,
) -> Result<Renderer, StartError> {
    let mode = config.sandbox.sandbox;
    if mode == SandboxMode::Off {
        warn!("PIXERVE_WORKER_SANDBOX is off; jobs run in the server's own process");
        let registry = Registry::built_in().with(Arc::new(Avif::new(config.worker.avif_engine)));
        let engine = Engine::new(config.worker.encode_threads, config.pixels, registry).map_err(StartError::Engine)?;
        let timer = StepClock { clock: Arc::clone(clock), steps: steps.clone() };
        let engine = engine.timed_by(Arc::new(timer));
        return Ok(Renderer::InProcess(Arc::new(engine), Arc::clone(clock)));
    }
    let sandbox = Sandbox::new(program.to_owned(), config.sandbox.clone(), steps.clone());
    match sandbox.probe().await.map_err(StartError::Sandbox)?.gaps() {
        Some(gaps) if mode == SandboxMode::Strict => return Err(StartError::Confinement(gaps)),
        Some(gaps) => warn!(gaps, "child processes of jobs are not fully confined on this system"),
        None => {}
    }
    Ok(Renderer::Sandboxed(Arc::new(sandbox)))
}

/// Times the steps of an engine in this process.
#[derive(Debug)]
struct StepClock {
    clock: SharedClock,
    steps: StepMetrics,
}

impl StepTimer for StepClock {
    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn took(&self, step: RenderStep, time: Duration) {
        self.steps.observe(step, time);
    }
}

fn outbox(
    config: &Config,
    persistent: &PersistentState,
    clock: &SharedClock,
    erasures: ErasureSignals,
    is_shared: bool,
) -> Result<Outbox, StartError> {
    let sealed = Arc::new(SealedCallbacks(Arc::clone(&persistent.sealer)));
    let secrets = Arc::new(CallbackSecrets {
        register: Arc::clone(&persistent.register),
        keys: persistent.keys_secret.clone(),
        clock: Arc::clone(clock),
    });
    let erased = ErasedOutbox::new(
        Arc::clone(&persistent.ledger),
        sealed.clone(),
        erasures,
        Arc::clone(clock),
        persistent.clock_trust.clone(),
        is_shared,
    );
    let client = WebhookClient::new(&config.callback, Arc::new(SystemResolver), sealed, secrets, Arc::clone(clock))
        .map_err(StartError::Callback)?;
    Ok(Outbox::new(persistent.queue.clone(), client, &config.callback, Arc::clone(clock)).with_erased(erased))
}

#[expect(clippy::too_many_arguments, reason = "a worker has so many parts")]
fn worker_context(
    config: &Config,
    persistent: &PersistentState,
    clock: &SharedClock,
    direct: DirectStore,
    renderer: Renderer,
    active_jobs: ActiveJobs,
    erasures: ErasureSignals,
    metrics: WorkerMetrics,
) -> Result<WorkerContext, StartError> {
    let memory_budget = memory_budget(config);
    if memory_budget < JOB_BYTES_MIN {
        return Err(StartError::MemoryBudget { bytes: memory_budget });
    }
    let memory_limit = MemoryLimit {
        // Never more than all of them.
        bytes_max: config.worker.memory_max.min(memory_budget),
        threads: config.worker.encode_threads,
        pixels: config.pixels,
    };
    Ok(WorkerContext {
        queue: Arc::clone(&persistent.queue),
        spool: persistent.spool.clone(),
        ledger: Arc::clone(&persistent.ledger),
        erasures,
        disks: persistent.disks.clone(),
        active_jobs,
        renderer,
        stores: StoreClients::new(direct, Arc::clone(&persistent.register), config.stores, Arc::clone(clock)),
        memory_limit,
        memory: MemoryBudget::new(memory_budget),
        shortage: Shortage::default(),
        metrics,
        clock: Arc::clone(clock),
        clock_trust: persistent.clock_trust.clone(),
        settings: config.worker.clone(),
    })
}

/// The stores of jobs, as the routes see them.
struct StoredPlaces(StoreClients);

#[async_trait]
impl PlaceReader for StoredPlaces {
    async fn read(&self, place: &Place, owner: &Owner, bytes_max: u64) -> Result<Option<ObjectBytes>, WriteError> {
        self.0.get(place, owner, bytes_max).await
    }
}

/// What tells whether this node can be used.
fn node_health(config: &Config, shared: &SharedState) -> NodeHealth {
    let bucket = Arc::clone(&shared.bucket.last_probe);
    NodeHealth { roles: config.node.roles, nodes: shared.nodes.status(), bucket }
}

/// What the server looks at to see whether all is well.
fn examined(config: &Config, program: &Path, persistent: &PersistentState, worker: &WorkerContext) -> Examined {
    let stores = worker.stores.clone();
    Examined {
        premises: config.premises(),
        sandbox: (config.sandbox.clone(), program.to_owned()),
        clock_trust: persistent.clock_trust.clone(),
        store_outages: Arc::new(move || stores.outages().to_vec()),
        examining: Mutex::default(),
    }
}

#[expect(clippy::too_many_arguments, reason = "it is where everything comes together")]
fn app_state(
    config: &Config,
    options: ServeOptions,
    persistent: PersistentState,
    presets: Presets,
    spec_limits: SpecLimits,
    node: Option<NodeHealth>,
    clock: &SharedClock,
    worker: &WorkerContext,
    told: Told,
    examined: Examined,
) -> AppState {
    AppState::new(AppParts {
        intake: persistent.queue.clone(),
        requests: persistent.queue.clone(),
        records: persistent.queue.clone(),
        deliveries: persistent.queue,
        spool: persistent.spool,
        disks: persistent.disks,
        active_jobs: worker.active_jobs.clone(),
        canceller: worker.canceller(),
        ledger: persistent.ledger,
        erasures: worker.erasures.clone(),
        erase: config.erase,
        gc: GcSignals::default(),
        register: persistent.register,
        presets,
        sealer: persistent.sealer,
        auth: Authenticator::new(persistent.keys, config.auth.clone()),
        clock: Arc::clone(clock),
        http: config.server.http.clone(),
        rates: Arc::new(Rates::new(config.server.rates.clone())),
        cross_origin: Arc::new(CrossOrigin::new(config.server.http.cors_origins.clone())),
        http_metrics: told.http_metrics,
        metrics: told.metrics,
        metrics_token: config.metrics.token.clone(),
        watched_jobs: WatchedJobs::default(),
        streams: Watchers::new(STREAMS_MAX, STREAMS_PER_ADDRESS_MAX),
        waiters: Watchers::new(WAITERS_MAX, WAITERS_PER_ADDRESS_MAX),
        spec_limits,
        pixel_limits: config.pixels,
        memory_limit: worker.memory_limit,
        callback_addresses: Arc::new(AddressPolicy::new(config.callback.allow.clone())),
        store_timeouts: config.stores.timeouts,
        stored: Arc::new(StoredPlaces(worker.stores.clone())),
        readiness: Readiness::new(config.paused),
        examined,
        node,
        is_demo: options.demo,
        started_at: clock.now(),
    })
}

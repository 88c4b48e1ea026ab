//! The parts of a running server, made from its settings and taken down in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::CLOSE_TIMEOUT;
use super::headers::SealedHeaders;
use super::listener::listen;
use crate::active_jobs::ActiveJobs;
use crate::auth::{Authenticator, KeyRing, KeyRingError};
use crate::callback::{Outbox, SystemResolver, WebhookClient};
use crate::clock::{SharedClock, System};
use crate::config::Config;
use crate::encoder::{Avif, Registry};
use crate::failpoint::{Step, reached};
use crate::pipeline::{Engine, MemoryLimit};
use crate::queue::{CrashAttribution, JobQueue, QueueError, SledQueue};
use crate::register::{self, Register, RegisterError, Sealer, SealingKeysError};
use crate::routes::{AppParts, AppState, Rates, Readiness, files, router};
use crate::sandbox::{Sandbox, SandboxMode};
use crate::spool::{Spool, SpoolError};
use crate::version::VERSION;
use crate::worker::{
    LeaseReaper, MemoryBudget, Pool, ReconcileError, ReconcileScope, RecordCleaner, Renderer, SpoolReconciler,
    StartedPool, StoreClients, WorkerContext, half_of_memory,
};
use crate::writer::{DirectServe, WriteError};

/// Why the server didn't start: what was attempted, on what, and what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("the directory {path} can't be used")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Keys(#[from] KeyRingError),
    #[error(transparent)]
    Register(#[from] RegisterError),
    #[error(transparent)]
    SealingKeys(#[from] SealingKeysError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error(transparent)]
    DirectServe(#[from] WriteError),
    #[error("callbacks can't be made: {0}")]
    Callback(String),
    #[error("the encoders can't be started: {0}")]
    Engine(String),
    #[error("can't listen on {addr}; is another server running there? PIXERVE_ADDR chooses another")]
    Listen { addr: SocketAddr, source: std::io::Error },
    #[error(
        "no child process can be started for jobs; PIXERVE_WORKER_SANDBOX=off does without, and without its protection"
    )]
    Sandbox(#[source] std::io::Error),
    #[error("this system can't keep a job's child process from {0}; PIXERVE_WORKER_SANDBOX=on starts all the same")]
    Confinement(String),
    #[error("a start-up task died: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A running server.
pub struct App {
    addr: SocketAddr,
    queue: Arc<dyn JobQueue>,
    state: AppState,
    pool: StartedPool,
    background: Vec<JoinHandle<()>>,
    stop_background: CancellationToken,
    server: JoinHandle<()>,
    stop_server: CancellationToken,
}

impl App {
    /// Starts everything. The port is bound last, when everything that was accepted before is accounted for.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        // Not by name: the file there may be another version's by now.
        Self::start_with(config, Path::new("/proc/self/exe")).await
    }

    /// Starts everything, with this binary for the children that work on pixels.
    pub async fn start_with(config: Config, program: &Path) -> Result<Self, StartError> {
        let clock: SharedClock = Arc::new(System::new());
        make_dir(&config.data_dir)?;
        make_dir(&config.serve_dir)?;
        warn_of_small_disk(&config);
        let OpenStores { queue, history_lost, register, sealer, spool } = open_stores(&config, &clock).await?;
        reached(Step::StartRecovered);
        // After the lock is ours: a second server in the wrong place must not leave a key file behind.
        let keys = load_keys(&config)?;
        let reconciler = SpoolReconciler::new(spool.clone(), Arc::clone(&queue), Arc::clone(&clock));
        if history_lost {
            reconciler.drop_jobs_missing_from_spool().await?;
        }
        reconciler.reconcile(ReconcileScope::AtStart).await?;
        reached(Step::StartReconciled);

        let active_jobs = ActiveJobs::default();
        let renderer = renderer(&config, &clock, program).await?;
        let memory_budget = config.worker.memory_budget.unwrap_or_else(half_of_memory);
        let memory_limit = MemoryLimit {
            // Never more than all of them.
            bytes_max: config.worker.memory_max.min(memory_budget),
            threads: config.worker.encode_threads,
            pixels: config.pixels,
        };
        let direct = DirectServe::open(&config.serve_dir)?;
        let context = Arc::new(WorkerContext {
            queue: Arc::clone(&queue),
            spool: spool.clone(),
            active_jobs: active_jobs.clone(),
            renderer,
            stores: StoreClients::new(Arc::new(direct), Arc::clone(&register), config.stores),
            memory_limit,
            memory: MemoryBudget::new(memory_budget),
            clock: Arc::clone(&clock),
            settings: config.worker.clone(),
        });
        let state = AppState::new(AppParts {
            intake: queue.clone(),
            records: queue.clone(),
            spool,
            active_jobs,
            register,
            sealer: Arc::clone(&sealer),
            auth: Authenticator::new(keys, config.auth.clone()),
            clock: Arc::clone(&clock),
            http: config.server.http.clone(),
            rates: Rates::new(config.server.rates.clone()),
            spec_limits: config.spec,
            pixel_limits: config.pixels,
            memory_limit,
            store_timeouts: config.stores.timeouts,
            readiness: Readiness::default(),
            started_at: clock.now(),
        });
        let client =
            WebhookClient::new(&config.callback, Arc::new(SystemResolver), Arc::new(SealedHeaders(sealer)), clock)
                .map_err(|error| StartError::Callback(error.to_string()))?;
        let outbox = Outbox::new(queue.clone(), client, &config.callback);

        let serve_dir = config.serve_dir.clone();
        let files = files::router(&serve_dir).map_err(|source| StartError::Directory { path: serve_dir, source })?;
        let listener =
            TcpListener::bind(config.addr).await.map_err(|source| StartError::Listen { addr: config.addr, source })?;
        let addr = listener.local_addr().map_err(|source| StartError::Listen { addr: config.addr, source })?;

        let stop_background = CancellationToken::new();
        let background = vec![
            tokio::spawn(LeaseReaper::new(Arc::clone(&context)).run(stop_background.clone())),
            tokio::spawn(RecordCleaner::new(Arc::clone(&context)).run(stop_background.clone())),
            tokio::spawn(reconciler.run(stop_background.clone())),
            tokio::spawn(outbox.run(stop_background.clone())),
        ];
        let pool = Pool::new(context).start();
        let stop_server = CancellationToken::new();
        let router = router(state.clone(), files);
        let (limits, clock) = (config.server.connections.clone(), Arc::clone(&state.clock));
        let server = tokio::spawn(listen(listener, router, limits, clock, stop_server.clone()));
        info!(%addr, version = VERSION.version, workers = config.worker.max_workers, "listening");
        Ok(Self { addr, queue, state, pool, background, stop_background, server, stop_server })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its handlers use.
    #[must_use]
    pub fn state(&self) -> &AppState {
        &self.state
    }

    /// Refuses new uploads, lets running jobs finish for `drain_timeout`, requeues the rest, closes.
    pub async fn stop(self, drain_timeout: Duration) {
        self.state.readiness.drain();
        // If the server is killed from here on, that is not attributed to the jobs in flight.
        if let Err(error) = self.queue.mark_draining().await {
            warn!(%error, "recording that the server is stopping failed");
        }
        reached(Step::StopDraining);
        self.pool.drain(drain_timeout).await;
        self.stop_background.cancel();
        for task in self.background {
            if let Err(error) = task.await {
                error!(%error, "background task failed");
            }
        }
        self.stop_server.cancel();
        if let Err(error) = self.server.await {
            error!(%error, "listener failed");
        }
        match tokio::time::timeout(CLOSE_TIMEOUT, self.queue.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(%error, "closing the queue failed"),
            Err(_) => error!("closing the queue timed out"),
        }
        if let Err(error) = self.state.register.close().await {
            error!(%error, "closing the register failed");
        }
    }
}

/// The file in the data directory that holds what seals credentials.
const SEALING_KEYS: &str = "vault.key";

/// Where pixels are worked on.
async fn renderer(config: &Config, clock: &SharedClock, program: &Path) -> Result<Renderer, StartError> {
    let mode = config.sandbox.sandbox;
    if mode == SandboxMode::Off {
        warn!("jobs run in the server's own process: PIXERVE_WORKER_SANDBOX is off");
        let registry = Registry::built_in().with(Arc::new(Avif::new(config.worker.avif_engine)));
        let engine = Engine::with_registry(config.worker.encode_threads, config.pixels, registry)
            .map_err(|error| StartError::Engine(error.to_string()))?;
        return Ok(Renderer::InProcess(Arc::new(engine), Arc::clone(clock)));
    }
    let sandbox = Sandbox::new(program.to_owned(), config.sandbox.clone());
    match sandbox.probe().await.map_err(StartError::Sandbox)?.gaps() {
        Some(gaps) if mode == SandboxMode::Strict => return Err(StartError::Confinement(gaps)),
        Some(gaps) => warn!("this system can't keep a job's child process from {gaps}"),
        None => {}
    }
    Ok(Renderer::Sandboxed(Arc::new(sandbox)))
}

/// What keeps state across restarts.
struct OpenStores {
    queue: Arc<dyn JobQueue>,
    /// Something that the queue knew is lost.
    history_lost: bool,
    register: Arc<Register>,
    sealer: Arc<Sealer>,
    spool: Spool,
}

/// Opens queue, register and spool, which wait for the disk.
async fn open_stores(config: &Config, clock: &SharedClock) -> Result<OpenStores, StartError> {
    let (data_dir, settings, clock) = (config.data_dir.clone(), config.queue.clone(), Arc::clone(clock));
    let attribution = match config.sandbox.sandbox {
        SandboxMode::Off => CrashAttribution::JobsInFlight,
        SandboxMode::On | SandboxMode::Strict => CrashAttribution::NoJob,
    };
    spawn_blocking(move || {
        // The queue first: its lock is what keeps a second server out of the directory.
        let queue = SledQueue::open(&data_dir.join("ConvertQueue.db"), settings, Arc::clone(&clock), attribution)?;
        for set_aside in queue.set_aside() {
            error!(
                path = %set_aside.path.display(), why = set_aside.why,
                "THE QUEUE'S DATABASE WAS DAMAGED and has been set aside; accepted uploads that had not ended are \
                 queued again from the spool; records of ended jobs are lost, all or some of them"
            );
        }
        let sealer = Arc::new(Sealer::open(&data_dir.join(SEALING_KEYS))?);
        let register::OpenedRegister { register, set_aside, unreadable } =
            Register::open(&data_dir, Arc::clone(&sealer), clock)?;
        for access_key in unreadable {
            error!(
                access_key,
                "this registration can't be unsealed: damaged, or its sealing key is gone; register it again"
            );
        }
        if let Some(set_aside) = set_aside {
            error!(
                path = %set_aside.path.display(), why = set_aside.why,
                "THE REGISTER'S DATABASE WAS DAMAGED and has been set aside; users and stores must be registered again"
            );
        }
        let spool = Spool::open(&data_dir)?;
        let history_lost = !queue.set_aside().is_empty();
        Ok(OpenStores { queue: Arc::new(queue), history_lost, register: Arc::new(register), sealer, spool })
    })
    .await?
}

/// A disk that can't have so much free space takes no upload, ever: better to hear of it at once.
fn warn_of_small_disk(config: &Config) {
    let (dir, floor) = (&config.data_dir, config.server.http.free_disk_min);
    let Ok(stat) = rustix::fs::statvfs(dir) else { return };
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    if total <= floor {
        warn!(
            dir = %dir.display(), total_bytes = total, floor_bytes = floor,
            "the disk of the data directory is smaller than the free space to keep there: every upload will be refused; \
             PIXERVE_STORAGE_FREE_DISK_MIN lowers that"
        );
    }
}

fn make_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Directory { path: path.to_owned(), source })
}

/// The keys of `jwt.json`, or of the environment, or new ones.
fn load_keys(config: &Config) -> Result<KeyRing, KeyRingError> {
    let path = &config.auth.jwt_file;
    if let Some(keys) = KeyRing::load(path, config.auth.jwt_secret.as_ref())? {
        return Ok(keys);
    }
    let keys = KeyRing::generate(path)?;
    warn!(path = %path.display(), "no signing key was configured; made one with a random secret. Back this file up");
    Ok(keys)
}

//! A running server: its parts put together, started, and taken down in order.

use std::net::SocketAddr;
use std::path::{Path, absolute};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::ServeOptions;
use super::background::{BackgroundTasks, TaskFailure};
use super::descriptors::connections_within_limit;
use super::listener::{ListenerStop, listen};
use super::parts::{ServerParts, preset_files};
use super::persistent_state::PersistentState;
use super::service_manager::lent_socket;
use super::shared_state::{Heartbeat, SharedState, sample};
use super::start_error::StartError;
use super::starting::StartingAnswers;
use crate::auth::{AuthSettings, KeyRing};
use crate::callback::{Outbox, OwedEventsMonitor};
use crate::clock::{SharedClock, System};
use crate::config::Config;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::State;
use crate::nodes::{Leadership, Nodes};
use crate::pipeline::MemoryLimit;
use crate::queue::{Filter, JobQueue, PAGE_MAX, Page, PageRequest};
use crate::routes::{AppState, metrics_router};
use crate::version::VERSION;
use crate::worker::{
    CancellationListener, ClockKeeper, Eraser, GarbageCollector, KeptOriginals, LeaseReaper, Pool, RecordCleaner,
    SpoolReconciler, StartedPool, WorkerContext,
};

// A stop takes at most `server.drain_timeout` and the following together, some 45 s: what workers take to give their jobs
// back (14 s, `worker::pool`), these, two seconds for traces and one for the log. The time-out of the unit in `deploy` is above that.

/// For the queue to note that the server stops. On a disk that hangs it can't.
const NOTE_TIMEOUT: Duration = Duration::from_secs(5);
/// For background tasks: each of them notices within the call that it makes.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(5);
/// For requests in flight when jobs took all of `server.drain_timeout`: those that ended get their answers.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(5);
/// For those that are cut then.
const CUT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the databases to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A running server.
pub struct App {
    addr: SocketAddr,
    queue: Arc<dyn JobQueue>,
    /// The others, where nodes share a queue.
    nodes: Option<Nodes>,
    /// Tells them of this one.
    heartbeat: Option<Heartbeat>,
    state: AppState,
    /// None while the server is paused, and of a node that takes no jobs.
    pool: Option<StartedPool>,
    background: BackgroundTasks,
    listening: BackgroundTasks,
    /// The socket outlives the server.
    is_lent: bool,
    /// Cuts requests in flight.
    cut: CancellationToken,
    auth: AuthSettings,
}

impl App {
    /// Starts everything. The port is bound last, when everything that was accepted before is accounted for; of many nodes each
    /// binds it first, and says there that it waits for Redis if it has to.
    pub async fn start(config: Config, options: ServeOptions) -> Result<Self, StartError> {
        // Not by name: the file there may be another version's by now.
        Self::start_with(config, options, Path::new("/proc/self/exe")).await
    }

    /// Starts everything, with this binary for the children that work on pixels.
    pub async fn start_with(config: Config, options: ServeOptions, program: &Path) -> Result<Self, StartError> {
        let clock: SharedClock = Arc::new(System::new());
        let preset_files = preset_files(&config).await?;
        let lent = lent_socket(config.addr)?;
        let is_lent = lent.is_some();
        let starting = match &config.redis.url {
            // On a socket that is lent whoever comes waits.
            Some(_) if !is_lent => Some(StartingAnswers::begin(bind(config.addr).await?.0, &config, &clock)),
            _ => None,
        };
        let (mut persistent, disk_monitor) = PersistentState::open(&config, &clock).await?;
        reached(Step::StartRecovered);
        let shared = persistent.shared.take();
        // Of many nodes the leader does that, at once and then each minute.
        let reconciler = match &shared {
            Some(_) => persistent.reconciler(&clock),
            None => persistent.reconcile(&clock).await?,
        };
        reached(Step::StartReconciled);
        let queue = Arc::clone(&persistent.queue);
        let keys_secret = persistent.keys_secret.clone();
        let ServerParts { state, router, worker, outbox, usage } =
            ServerParts::build(&config, options, persistent, shared.as_ref(), preset_files, &clock, program).await?;
        if shared.is_none() {
            // Others may have more memory.
            warn_of_jobs_over_limits(&*queue, worker.memory_limit).await?;
        }
        let (listener, addr) = match (lent, starting) {
            (Some(lent), _) => lent,
            (None, Some(starting)) => with_addr(starting.end().await?, config.addr)?,
            (None, None) => bind(config.addr).await?,
        };
        let metrics_listener = match config.metrics.addr {
            Some(addr) => Some(bind(addr).await?),
            None => None,
        };

        let mut background = BackgroundTasks::new();
        background.spawn("disk monitor", |stop| disk_monitor.run(stop));
        background.spawn("callback secret", |stop| keys_secret.follow(stop));
        let (ledger, erasures) = (Arc::clone(&worker.ledger), worker.erasures.clone());
        let owed_events = OwedEventsMonitor::new(ledger, erasures, shared.is_some());
        background.spawn("owed events monitor", |stop| owed_events.run(stop));
        let (spool, data_dir) = (Arc::clone(&worker.spool), config.data_dir.clone());
        background.spawn("usage monitor", |stop| usage.follow(spool, data_dir, stop));
        if let Some((listener, addr)) = metrics_listener {
            info!(%addr, "metrics are told there");
            let router = metrics_router(state.metrics.clone());
            background.spawn("metrics listener", |stop| tell_metrics(listener, router, stop));
        }
        let leadership = shared.as_ref().map_or_else(Leadership::alone, |shared| Leadership::of(&shared.nodes));
        let nodes = shared.as_ref().map(|shared| shared.nodes.clone());
        let mut heartbeat = None;
        if let Some(shared) = shared {
            heartbeat = Some(start_sharing(&mut background, shared, &state));
        } else if !config.paused {
            let clock_keeper = ClockKeeper::new(&config.data_dir, Arc::clone(&clock), worker.clock_trust.clone());
            background.spawn("clock keeper", |stop| clock_keeper.run(stop));
        }
        let takes_jobs = !config.paused && (nodes.is_none() || config.node.roles.worker);
        if !config.paused {
            start_upkeep(&mut background, &worker, reconciler, &leadership);
            let sealer = Arc::clone(&state.sealer);
            let eraser = Eraser::new(Arc::clone(&worker), sealer, config.erase, leadership);
            background.spawn("eraser", |stop| eraser.run(stop));
            let own_bucket = config.spool.bucket.url.as_ref().map(|url| (url.bucket.clone(), url.prefix.clone()));
            let collector = GarbageCollector::new(Arc::clone(&worker), state.gc.clone(), own_bucket);
            background.spawn("garbage collector", |stop| collector.run(stop));
        }
        let pool = takes_jobs.then(|| {
            start_work(&mut background, &worker, outbox);
            Pool::new(Arc::clone(&worker)).start()
        });
        log_start(&config, addr, &worker);
        let mut listening = BackgroundTasks::new();
        let mut limits = config.server.connections;
        limits.connections_max = connections_within_limit(limits.connections_max);
        let (cut, shared) = (CancellationToken::new(), state.clone());
        listening.spawn("listener", |close| {
            let stop = ListenerStop { close, cut: cut.clone() };
            listen(listener, router, shared, limits, stop)
        });
        if let Some(nodes) = &nodes
            && !config.paused
        {
            nodes.join();
        }
        Ok(Self { addr, queue, nodes, heartbeat, state, pool, background, listening, is_lent, cut, auth: config.auth })
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

    /// Returns when a part of it has ended that should run as long as it does; `/health` is 503 from then on.
    pub async fn failed(&mut self) -> TaskFailure {
        let failure = tokio::select! {
            failure = self.background.failed() => failure,
            failure = self.listening.failed() => failure,
            how = worker_ended(self.pool.as_mut()) => TaskFailure::of_worker(how),
        };
        self.state.readiness.fail(failure.to_string());
        failure
    }

    /// Reads `jwt.json` again. Tokens of keys that are no longer there are refused from then on; a file that can't be used
    /// leaves everything as it is.
    pub async fn reload_keys(&self) {
        let AuthSettings { jwt_file, jwt_secret, .. } = self.auth.clone();
        if jwt_secret.is_some() {
            info!("signing keys come from PIXERVE_JWT_SECRET; there is no file to read again");
            return;
        }
        let path = jwt_file.clone();
        match spawn_blocking(move || KeyRing::load(&jwt_file, None)).await {
            Ok(Ok(Some(keys))) => {
                let count = keys.len();
                self.state.auth.replace_keys(keys);
                info!(path = %path.display(), keys = count, "signing keys read again");
            }
            Ok(Ok(None)) => error!(path = %path.display(), "signing keys are gone; the old ones stay in use"),
            Ok(Err(error)) => {
                error!(error = %ErrorChain(&error), "signing keys can't be used; the old ones stay in use");
            }
            Err(error) => error!(error = %ErrorChain(&error), "reading signing keys failed; the old ones stay in use"),
        }
    }

    /// Refuses new uploads, lets running jobs and requests in flight finish for `drain_timeout`, requeues and cuts the
    /// rest, closes. Every step has an end, whatever the disk does.
    pub async fn stop(self, drain_timeout: Duration) {
        let drained_by = Instant::now() + drain_timeout;
        if self.is_lent {
            // What comes waits for the next server; what was accepted already is taken, and safe.
            self.listening.tell_to_stop();
            self.state.readiness.drain_taking_uploads();
        } else {
            self.state.readiness.drain();
        }
        if let Some(nodes) = &self.nodes {
            nodes.drain();
        }
        // If the server is killed from here on, that is not attributed to the jobs in flight.
        match timeout(NOTE_TIMEOUT, self.queue.mark_draining()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %ErrorChain(&error), "queue could not be marked as draining"),
            Err(_) => warn!(timeout_s = NOTE_TIMEOUT.as_secs(), "marking the queue as draining timed out"),
        }
        reached(Step::StopDraining);
        if let Some(pool) = self.pool {
            pool.drain(drain_timeout).await;
        }
        self.background.stop(BACKGROUND_TIMEOUT).await;
        stop_listening(self.listening, &self.cut, drained_by).await;
        // As long as it answers, the others have to wait for it.
        if let Some(heartbeat) = self.heartbeat {
            heartbeat.end().await;
        }
        tokio::join!(
            close("queue", self.queue.shutdown()),
            close("register", self.state.register.close()),
            close("ledger", self.state.ledger.close())
        );
    }
}

async fn worker_ended(pool: Option<&mut StartedPool>) -> String {
    match pool {
        Some(pool) => pool.worker_ended().await,
        None => std::future::pending().await,
    }
}

/// Accepts nothing more, waits for the requests in flight until `drained_by`, and cuts the rest.
async fn stop_listening(mut listening: BackgroundTasks, cut: &CancellationToken, drained_by: Instant) {
    let left = drained_by.saturating_duration_since(Instant::now()).max(REQUESTS_TIMEOUT);
    if !listening.stop_within(left).await {
        warn!("requests in flight cut by the stop");
        cut.cancel();
        listening.stop(CUT_TIMEOUT).await;
    }
}

async fn close<E: std::error::Error>(what: &'static str, closing: impl Future<Output = Result<(), E>>) {
    match timeout(CLOSE_TIMEOUT, closing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!(what, error = %ErrorChain(&error), "database could not be closed"),
        Err(_) => error!(what, timeout_s = CLOSE_TIMEOUT.as_secs(), "closing a database timed out"),
    }
}

/// Says where everything is, for who looks into a log of a server that is not theirs.
fn log_start(config: &Config, addr: SocketAddr, worker: &WorkerContext) {
    let shown = |path: &Path| absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
    let jwt_file = config.auth.jwt_secret.is_none().then(|| shown(&config.auth.jwt_file));
    info!(
        %addr,
        version = VERSION.version,
        workers = config.worker.max_workers,
        paused = config.paused,
        data_dir = shown(&config.data_dir),
        serve_dir = config.served_dir().map(shown),
        private_dir = config.private_files_dir().map(shown),
        jwt_file,
        vault_key_file = shown(&config.key_file()),
        memory_budget_bytes = worker.memory.bytes(),
        memory_max_bytes = worker.memory_limit.bytes_max,
        "listening"
    );
}

/// Jobs that were accepted under larger limits are made all the same, one at a time if need be: better said at start.
async fn warn_of_jobs_over_limits(queue: &dyn JobQueue, limit: MemoryLimit) -> Result<(), StartError> {
    let filter = Filter::in_state(State::Pending);
    let (mut over, mut most, mut cursor) = (0_usize, 0, None);
    loop {
        let Page { jobs, next } = queue.list(&filter, PageRequest { limit: PAGE_MAX, cursor }).await?;
        for memory in jobs.iter().filter_map(|job| job.record.memory).filter(|memory| *memory > limit.bytes_max) {
            over += 1;
            most = most.max(memory);
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    if over > 0 {
        warn!(
            jobs = over,
            bytes_most = most,
            memory_max_bytes = limit.bytes_max,
            "accepted jobs take more memory than a job may have now; each is made once that much is free, or all there is"
        );
    }
    Ok(())
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listener = TcpListener::bind(addr).await.map_err(|source| StartError::Listen { addr, source })?;
    with_addr(listener, addr)
}

/// A listener that was bound to `addr`, and where that is: the port may have been chosen by the system.
fn with_addr(listener: TcpListener, addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = listener.local_addr().map_err(|source| StartError::Listen { addr, source })?;
    Ok((listener, bound))
}

/// Answers scrapers until `stop`. They are the operator's own: nothing bounds what they ask.
async fn tell_metrics(listener: TcpListener, router: Router, stop: CancellationToken) {
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = serving.await {
        error!(error = %ErrorChain(&error), "metrics listener failed");
    }
}

/// Starts what is done beside the jobs by whoever takes them.
fn start_work(background: &mut BackgroundTasks, worker: &Arc<WorkerContext>, outbox: Outbox) {
    background.spawn("lease reaper", |stop| LeaseReaper::new(Arc::clone(worker)).run(stop));
    background.spawn("cancellation listener", |stop| CancellationListener::new(Arc::clone(worker)).run(stop));
    background.spawn("outbox", |stop| outbox.run(stop));
}

/// Starts what is done once for everybody: by this server if it is alone, or by the node that leads.
fn start_upkeep(
    background: &mut BackgroundTasks,
    worker: &Arc<WorkerContext>,
    reconciler: SpoolReconciler,
    leadership: &Leadership,
) {
    let (cleaner, leads) = (RecordCleaner::new(Arc::clone(worker), leadership.clone()), leadership.clone());
    background.spawn("record cleaner", |stop| cleaner.run(stop));
    let kept = KeptOriginals::new(Arc::clone(worker), leadership.clone());
    background.spawn("kept originals", |stop| kept.run(stop));
    background.spawn("spool reconciler", |stop| reconciler.run(leads, stop));
}

/// Starts what a node does because there are others; its heartbeat goes on until nothing is answered any more.
fn start_sharing(background: &mut BackgroundTasks, shared: SharedState, state: &AppState) -> Heartbeat {
    let SharedState { nodes, bucket, queue, heartbeat } = shared;
    let shared_queue = Arc::clone(&queue);
    let status = nodes.status();
    background.spawn("sampler", |stop| sample(queue, status, stop));
    background.spawn("bucket prober", |stop| (bucket.keep_probing)(stop));
    let register = Arc::clone(&state.register);
    background.spawn("register follower", |stop| async move { register.follow(stop).await });
    let (rates, mut status) = (Arc::clone(&state.rates), nodes.status());
    background.spawn("sharer", |stop| async move {
        let share = async {
            loop {
                if let Some(heard) = &status.borrow_and_update().heard {
                    rates.share_among(heard.api_nodes);
                    shared_queue.share_among(heard.workers);
                }
                if status.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        stop.run_until_cancelled(share).await;
    });
    heartbeat
}

//! A running server: its parts put together, started, and taken down in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::descriptors::connections_within_limit;
use super::listener::{ListenerStop, listen};
use super::parts::ServerParts;
use super::persistent_state::PersistentState;
use super::start_error::StartError;
use crate::callback::Outbox;
use crate::clock::{SharedClock, System};
use crate::config::Config;
use crate::disks::DiskMonitor;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::queue::JobQueue;
use crate::routes::AppState;
use crate::version::VERSION;
use crate::worker::{LeaseReaper, Pool, RecordCleaner, SpoolReconciler, StartedPool, WorkerContext};

// A stop takes at most `server.drain_timeout` and the following together, below 45 s: what workers take to give their jobs
// back (14 s, `worker::pool`), these, and a second for the log. The time-out of the unit in README is above that.

/// For background tasks: each of them notices within the call that it makes.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(5);
/// For requests in flight when jobs took all of `server.drain_timeout`: those that ended get their answers.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(5);
/// For the queue's database to close.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the register's.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server.
pub struct App {
    addr: SocketAddr,
    queue: Arc<dyn JobQueue>,
    state: AppState,
    pool: StartedPool,
    background: Vec<JoinHandle<()>>,
    stop_background: CancellationToken,
    server: JoinHandle<()>,
    stop_server: ListenerStop,
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
        let (persistent, disk_monitor) = PersistentState::open(&config, &clock).await?;
        reached(Step::StartRecovered);
        let reconciler = persistent.reconcile(&clock).await?;
        reached(Step::StartReconciled);
        let queue = Arc::clone(&persistent.queue);
        let ServerParts { state, router, worker, outbox } =
            ServerParts::build(&config, persistent, &clock, program).await?;
        let (listener, addr) = bind(config.addr).await?;

        let stop_background = CancellationToken::new();
        let background = start_background(&worker, disk_monitor, reconciler, outbox, &stop_background);
        let pool = Pool::new(worker).start();
        let stop_server = ListenerStop::default();
        let mut limits = config.server.connections;
        limits.connections_max = connections_within_limit(limits.connections_max);
        let rates = Arc::clone(&state.rates);
        let server = tokio::spawn(listen(listener, router, limits, rates, clock, stop_server.clone()));
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

    /// Refuses new uploads, lets running jobs and requests in flight finish for `drain_timeout`, requeues and cuts the
    /// rest, closes.
    pub async fn stop(self, drain_timeout: Duration) {
        let drained_by = Instant::now() + drain_timeout;
        self.state.readiness.drain();
        // If the server is killed from here on, that is not attributed to the jobs in flight.
        if let Err(error) = self.queue.mark_draining().await {
            warn!(error = %ErrorChain(&error), "queue could not be marked as draining");
        }
        reached(Step::StopDraining);
        self.pool.drain(drain_timeout).await;
        self.stop_background.cancel();
        join_background(self.background).await;
        stop_listening(self.server, &self.stop_server, drained_by).await;
        match timeout(QUEUE_TIMEOUT, self.queue.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(error = %ErrorChain(&error), "queue could not be closed"),
            Err(_) => error!(timeout_s = QUEUE_TIMEOUT.as_secs(), "closing the queue timed out"),
        }
        match timeout(REGISTER_TIMEOUT, self.state.register.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(error = %ErrorChain(&error), "register could not be closed"),
            Err(_) => error!(timeout_s = REGISTER_TIMEOUT.as_secs(), "closing the register timed out"),
        }
    }
}

async fn join_background(tasks: Vec<JoinHandle<()>>) {
    let ended_by = Instant::now() + BACKGROUND_TIMEOUT;
    for task in tasks {
        match timeout_at(ended_by, task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(error = %ErrorChain(&error), "background task failed"),
            Err(_) => error!(timeout_s = BACKGROUND_TIMEOUT.as_secs(), "background task did not end"),
        }
    }
}

/// Accepts nothing more, waits for the requests in flight until `drained_by`, and cuts the rest.
async fn stop_listening(mut server: JoinHandle<()>, stop: &ListenerStop, drained_by: Instant) {
    stop.close.cancel();
    let ended_by = drained_by.max(Instant::now() + REQUESTS_TIMEOUT);
    let ended = if let Ok(ended) = timeout_at(ended_by, &mut server).await {
        ended
    } else {
        warn!("requests in flight cut by the stop");
        stop.cut.cancel();
        server.await
    };
    if let Err(error) = ended {
        error!(error = %ErrorChain(&error), "listener failed");
    }
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen_error = |source| StartError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(listen_error)?;
    let bound = listener.local_addr().map_err(listen_error)?;
    Ok((listener, bound))
}

/// Starts what is done beside the jobs.
fn start_background(
    worker: &Arc<WorkerContext>,
    disk_monitor: DiskMonitor,
    reconciler: SpoolReconciler,
    outbox: Outbox,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(disk_monitor.run(stop.clone())),
        tokio::spawn(LeaseReaper::new(Arc::clone(worker)).run(stop.clone())),
        tokio::spawn(RecordCleaner::new(Arc::clone(worker)).run(stop.clone())),
        tokio::spawn(reconciler.run(stop.clone())),
        tokio::spawn(outbox.run(stop.clone())),
    ]
}

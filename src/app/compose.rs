//! A running server: its parts put together, started, and taken down in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::listener::listen;
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

/// How long the queue's database may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

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
        let stop_server = CancellationToken::new();
        let server = tokio::spawn(listen(listener, router, config.server.connections, clock, stop_server.clone()));
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
            warn!(error = %ErrorChain(&error), "queue could not be marked as draining");
        }
        reached(Step::StopDraining);
        self.pool.drain(drain_timeout).await;
        self.stop_background.cancel();
        for task in self.background {
            if let Err(error) = task.await {
                error!(error = %ErrorChain(&error), "background task failed");
            }
        }
        self.stop_server.cancel();
        if let Err(error) = self.server.await {
            error!(error = %ErrorChain(&error), "listener failed");
        }
        match tokio::time::timeout(CLOSE_TIMEOUT, self.queue.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(error = %ErrorChain(&error), "queue could not be closed"),
            Err(_) => error!(timeout_s = CLOSE_TIMEOUT.as_secs(), "closing the queue timed out"),
        }
        if let Err(error) = self.state.register.close().await {
            error!(error = %ErrorChain(&error), "register could not be closed");
        }
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

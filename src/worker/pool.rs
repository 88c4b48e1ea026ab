//! The workers: each has the variants of one job made at a time, until the server stops. What is made is stored by tasks
//! beside them, as many as there are. One worker more than is set is there for who has nothing under way.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::attempt::StopSignals;
use super::budget::MemoryShare;
use super::place::PlaceGuard;
use super::{WorkerContext, attempt};
use crate::disks::RootKind;
use crate::error_chain::ErrorChain;
use crate::job::{ErrorCode, JobError};
use crate::queue::{Claim, ClaimRequest, Place, QueueError, Retry, Settlement};

/// For workers to cancel writes to stores and to release their jobs when the server stops.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(8);
/// A worker that waits for memory asks the queue again after this long: the job that needs it may be cancelled, or has
/// let others pass for long enough.
const MEMORY_POLL: Duration = Duration::from_secs(1);
/// Made jobs claimed in one batch, which costs one sync.
const RESUMED_AT_ONCE: usize = 32;
/// Between tries to claim from a queue that fails.
const CLAIM_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The pool of workers.
pub struct Pool {
    context: Arc<WorkerContext>,
}

impl Pool {
    /// A pool that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>) -> Self {
        Self { context }
    }

    /// Starts every worker. They run until [`StartedPool::drain`].
    pub fn start(self) -> StartedPool {
        let mut workers = JoinSet::new();
        let (attempts, signals) = (TaskTracker::new(), StopSignals::default());
        let claiming = Arc::new(Mutex::new(()));
        let regular_free = Arc::new(watch::Sender::new(self.context.settings.max_workers));
        let regular = (0..self.context.settings.max_workers).map(|_| Place::Regular);
        for place in regular.chain([Place::Spare]) {
            let worker = Worker {
                context: Arc::clone(&self.context),
                place,
                regular_free: Arc::clone(&regular_free),
                claiming: Arc::clone(&claiming),
                attempts: attempts.clone(),
                signals: signals.clone(),
            };
            workers.spawn(worker.run());
        }
        let resumer = Resumer { context: self.context, attempts: attempts.clone(), signals: signals.clone() };
        workers.spawn(resumer.run());
        attempts.close();
        StartedPool { workers, attempts, signals }
    }
}

/// A pool whose workers run.
pub struct StartedPool {
    workers: JoinSet<()>,
    attempts: TaskTracker,
    signals: StopSignals,
}

impl StartedPool {
    /// Stops claiming, lets running jobs finish for `drain_timeout`, then releases the rest. Jobs that wait for a store
    /// that can't be reached are released at once.
    pub async fn drain(mut self, drain_timeout: Duration) {
        self.signals.draining.cancel();
        if timeout(drain_timeout, self.all_ended()).await.is_err() {
            self.signals.release.cancel();
            if timeout(RELEASE_TIMEOUT, self.all_ended()).await.is_err() {
                warn!("running jobs could not be released in time; the next start requeues them");
            }
        }
    }

    /// Returns when a worker has ended, which it does only when it is told to: how.
    pub async fn worker_ended(&mut self) -> String {
        match self.workers.join_next().await {
            Some(Ok(())) => "ended".to_owned(),
            Some(Err(panic)) => format!("failed: {}", ErrorChain(&panic)),
            None => std::future::pending().await,
        }
    }

    async fn all_ended(&mut self) {
        while self.workers.join_next().await.is_some() {}
        self.attempts.wait().await;
    }
}

/// What a claim came to.
enum Next {
    Claimed(Box<Claim>, MemoryShare),
    /// There is none for this place.
    Idle,
    /// It is not yet this place's turn.
    RegularIsFree,
    /// There is one that takes so many bytes.
    WaitForMemory(u64),
}

struct Worker {
    context: Arc<WorkerContext>,
    place: Place,
    /// How many regular places are free. Only when none is, may the spare one be taken: or else whoever comes first could
    /// take both kinds.
    regular_free: Arc<watch::Sender<usize>>,
    /// Held while claiming: nobody else reserves the memory that a claim counts on.
    claiming: Arc<Mutex<()>>,
    attempts: TaskTracker,
    signals: StopSignals,
}

impl Worker {
    async fn run(self) {
        let _counted = self.context.active_jobs.add_worker();
        // What is made has to go somewhere. What is made already is stored meanwhile.
        let room = async || {
            self.context.disks.wait_room().await;
            self.context.shortage.wait().await;
        };
        while self.signals.draining.run_until_cancelled(room()).await.is_some() {
            match self.next().await {
                Ok(Next::Claimed(claim, memory)) => self.make(*claim, memory).await,
                Ok(Next::Idle) => self.idle(self.nothing_to_do()).await,
                Ok(Next::RegularIsFree) => self.idle(self.regular_all_taken()).await,
                Ok(Next::WaitForMemory(bytes)) => {
                    // Meanwhile the place is no use to anyone: the spare one is, for who needs less.
                    self.count_regular(|free| *free -= 1);
                    self.idle(self.wait_for_memory(bytes)).await;
                    self.count_regular(|free| *free += 1);
                }
                Err(error) => {
                    error!(error = %ErrorChain(&error), "jobs can't be claimed; will be retried");
                    self.idle(tokio::time::sleep(CLAIM_RETRY_DELAY)).await;
                }
            }
        }
    }

    /// The next job and its share of memory. It is claimed only once that is free, so that a job that waits for memory is
    /// pending: it can be cancelled like any other, no attempt has begun, and it keeps its place in the queue.
    async fn next(&self) -> Result<Next, QueueError> {
        let WorkerContext { queue, memory, settings, .. } = &*self.context;
        let _claiming = self.claiming.lock().await;
        if self.place == Place::Spare && *self.regular_free.borrow() > 0 {
            return Ok(Next::RegularIsFree);
        }
        let memory_left = match self.place {
            Place::Regular => memory.left_beside_reserve(),
            Place::Spare => memory.left(),
        };
        let request = ClaimRequest { max: 1, place: self.place, memory: memory_left, lease: settings.lease };
        let mut claimed = queue.claim(request).await?;
        if let Some(claim) = claimed.claims.pop() {
            let share = memory.take(claim.job.record.memory.unwrap_or(0));
            self.count_regular(|free| *free -= 1);
            return Ok(Next::Claimed(Box::new(claim), share));
        }
        Ok(claimed.next_takes.map_or(Next::Idle, Next::WaitForMemory))
    }

    fn count_regular(&self, change: impl FnOnce(&mut usize)) {
        if self.place == Place::Regular {
            self.regular_free.send_modify(change);
        }
    }

    async fn nothing_to_do(&self) {
        let queue = &self.context.queue;
        queue.wait_ready(self.place, queue.idle_poll()).await;
    }

    async fn regular_all_taken(&self) {
        // The sender lives as long as this.
        let _ = self.regular_free.subscribe().wait_for(|free| *free == 0).await;
    }

    /// Until there is so much, or a job may be claimed that takes less: one that has just come, or that may pass.
    async fn wait_for_memory(&self, bytes: u64) {
        let memory = &self.context.memory;
        let reserve = if self.place == Place::Regular { memory.reserve() } else { 0 };
        tokio::select! {
            () = memory.wait_for(bytes.saturating_add(reserve)) => {}
            () = self.context.queue.wait_ready(self.place, MEMORY_POLL) => {}
        }
    }

    async fn idle(&self, wait: impl Future<Output = ()>) {
        tokio::select! {
            () = wait => {}
            () = self.signals.draining.cancelled() => {}
        }
    }

    /// Begins an attempt, and returns when its variants are made.
    async fn make(&self, claim: Claim, memory: MemoryShare) {
        let (place, freed) = PlaceGuard::new(&self.context.active_jobs, memory);
        self.attempts.spawn(attempt(Arc::clone(&self.context), claim, Some(place), self.signals.clone()));
        // It is dropped, not sent to.
        let _ = freed.await;
        self.count_regular(|free| *free += 1);
    }
}

/// Goes on with jobs of which all is made and that wait again, as after a restart: they need nothing but their stores, so
/// neither a busy server nor one whose disk is nearly full keeps them from leaving it.
struct Resumer {
    context: Arc<WorkerContext>,
    attempts: TaskTracker,
    signals: StopSignals,
}

impl Resumer {
    async fn run(self) {
        let WorkerContext { queue, disks, shortage, settings, .. } = &*self.context;
        let usable = async || {
            disks.wait_writable(RootKind::Data).await;
            shortage.wait().await;
        };
        while self.signals.draining.run_until_cancelled(usable()).await.is_some() {
            let wait: Pin<Box<dyn Future<Output = ()> + Send + '_>> =
                match queue.claim_made(RESUMED_AT_ONCE, settings.lease).await {
                    Ok(claims) if claims.is_empty() => queue.wait_made(queue.idle_poll()),
                    Ok(claims) => {
                        for claim in claims {
                            let attempt = attempt(Arc::clone(&self.context), claim, None, self.signals.clone());
                            self.attempts.spawn(attempt);
                        }
                        continue;
                    }
                    Err(error) => {
                        error!(error = %ErrorChain(&error), "jobs to be stored can't be claimed; will be retried");
                        Box::pin(tokio::time::sleep(CLAIM_RETRY_DELAY))
                    }
                };
            self.signals.draining.run_until_cancelled(wait).await;
        }
    }
}

/// One attempt, in a task of its own: should it panic, it costs this job an attempt and the pool nothing.
async fn attempt(context: Arc<WorkerContext>, claim: Claim, place: Option<PlaceGuard>, signals: StopSignals) {
    let lease = claim.lease.clone();
    let attempts = claim.job.attempts;
    let record = claim.job.record.clone();
    let attempt = attempt::run(Arc::clone(&context), claim, place, signals);
    let Err(panic) = tokio::spawn(attempt).await else { return };
    error!(job_id = %lease.id, error = %ErrorChain(&panic), "attempt panicked");
    let error = JobError::new(ErrorCode::Internal, "the attempt panicked; this is a bug in Pixerve, see its log");
    let retry = Retry::After(context.settings.backoff.wait_after(attempts));
    context.spool.attempt_ended(lease.id).await;
    // What it stored before it panicked is in the journal, and belongs into the record should this have been its last.
    let files = attempt::journaled(&context, &record).await;
    match context.queue.settle(&lease, Settlement::Failed { error, files, retry }).await {
        Ok(_) => {}
        Err(error) => warn!(
            job_id = %lease.id, error = %ErrorChain(&error),
            "job can't be settled; its lease will expire"
        ),
    }
}

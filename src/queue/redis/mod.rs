//! The queue on Redis or Valkey, which any number of nodes share.
//!
//! What is decided by the order of jobs (who is next, who waits for whom) is decided in Lua, in one step; what is decided on
//! a job's record alone is decided by the same rules as on one machine (`rules`), and applied if nobody has changed the job
//! meanwhile. Every job has a revision for that, and every change a name, so that one whose answer was lost does no harm when it
//! comes again. `keys.md` beside this file lists the keys.

mod change;
mod deliveries;
mod fields;
mod journal;
mod records;
mod requests;
mod scripts;
mod transfer;
mod waiting;
mod work;

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{FromRedisValue, Value};
use tokio::sync::mpsc;
use tracing::warn;

pub use self::scripts::TimeSource;
use self::scripts::{RELEASE_HELD, Scripts};
use self::waiting::{Waiting, WorkKind};
use super::{Backlog, Counts, IDLE_POLL, JobQueue, Lease, QueueError, QueueMetrics, QueueSettings, Settlement};
use crate::clock::SharedClock;
use crate::error_chain::ErrorChain;
use crate::events::JobEvents;
use crate::job::JobId;
use crate::queue::JobWork;
use crate::redis_client::{RedisClient, RedisError};

/// However many nodes there are, an idle one asks for work that often: some of it only few may take.
const IDLE_POLL_MAX: Duration = Duration::from_mins(1);

/// What a node brings to the queue that it shares.
#[derive(Clone, Debug)]
pub struct RedisQueueOptions {
    /// What all keys begin with: `{px0}:`. The braces keep them together in a cluster.
    pub prefix: String,
    /// Bytes of memory that all jobs of this node together may take. One that takes more is left to others.
    pub memory_total: u64,
    /// How old the counts may be that are answered; they are sampled more often. Zero: Redis is asked each time.
    pub counts_max_age: Duration,
    /// Whose time rules.
    pub time: TimeSource,
}

/// A node's part in the queue.
pub struct RedisQueue {
    scripts: Scripts,
    settings: QueueSettings,
    options: RedisQueueOptions,
    clock: SharedClock,
    events: JobEvents,
    metrics: QueueMetrics,
    waiting: [Waiting; 4],
    /// The leases that this node holds, which it gives back when it stops.
    held: Arc<Mutex<HashMap<JobId, Lease>>>,
    sampled: Mutex<Option<Sampled>>,
    is_closed: AtomicBool,
    /// How many nodes take work from it.
    nodes: AtomicU32,
    /// Jobs that other nodes were asked to cancel.
    stops: tokio::sync::Mutex<mpsc::UnboundedReceiver<JobId>>,
    listener: tokio::task::JoinHandle<()>,
}

/// How many jobs there were.
#[derive(Clone, Copy, Debug)]
struct Sampled {
    at: Duration,
    counts: Counts,
    backlog: Backlog,
}

impl RedisQueue {
    /// The queue in the Redis that `client` reaches. Belongs on a runtime.
    ///
    /// # Errors
    /// Redis'.
    pub async fn open(
        client: RedisClient,
        settings: QueueSettings,
        options: RedisQueueOptions,
        clock: SharedClock,
    ) -> Result<Self, QueueError> {
        let scripts = Scripts::new(client, options.prefix.clone(), Arc::clone(&clock), options.time);
        let events = JobEvents::default();
        let held: Arc<Mutex<HashMap<JobId, Lease>>> = Arc::default();
        let (stop, stops) = mpsc::unbounded_channel();
        let stop_held = {
            let held = Arc::clone(&held);
            move |id| {
                if held.lock().contains_key(&id) {
                    // Nobody stops what a closed queue holds.
                    let _ = stop.send(id);
                }
            }
        };
        let listener = tokio::spawn(waiting::listen(scripts.clone(), events.clone(), stop_held));
        let waiting = WorkKind::ALL
            .map(|kind| Waiting::new(scripts.clone(), kind, Arc::clone(&clock), settings.realtime_run_max));
        let queue = Self {
            scripts,
            settings,
            options,
            clock,
            events,
            metrics: QueueMetrics::default(),
            waiting,
            held,
            sampled: Mutex::default(),
            is_closed: AtomicBool::new(false),
            nodes: AtomicU32::new(1),
            stops: tokio::sync::Mutex::new(stops),
            listener,
        };
        while queue.scripts.run::<u64>(&RELEASE_HELD, &[""; 0]).await.map_err(QueueError::from)? > 0 {}
        Ok(queue)
    }

    /// Says how many nodes take work from it, this one included: idle ones ask for some no more often together than one would
    /// alone, so that what they cost doesn't grow with their number.
    pub fn share_among(&self, nodes: u32) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    fn poll_among_nodes(&self) -> Duration {
        IDLE_POLL.saturating_mul(self.nodes.load(Ordering::Relaxed)).min(IDLE_POLL_MAX)
    }

    fn usable(&self) -> Result<(), QueueError> {
        if self.is_closed.load(Ordering::Acquire) { Err(QueueError::closed()) } else { Ok(()) }
    }

    fn waiting(&self, kind: WorkKind) -> &Waiting {
        &self.waiting[kind as usize]
    }
}

impl Drop for RedisQueue {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[async_trait]
impl JobQueue for RedisQueue {
    /// Nothing: on many nodes jobs are worked on in children alone, and the death of a node is attributed to no job.
    async fn mark_draining(&self) -> Result<(), QueueError> {
        self.usable()
    }

    /// Nothing of it is on this machine's disk; Redis' own file is rewritten as its settings say.
    async fn rewrite(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), QueueError> {
        // This node's alone: the others go on.
        let held: Vec<Lease> = self.held.lock().drain().map(|(_, lease)| lease).collect();
        for lease in held {
            if let Err(error) = self.settle(&lease, Settlement::Released).await {
                warn!(job_id = %lease.id, error = %ErrorChain(&error), "job not given back; it is once its lease lapses");
            }
        }
        self.is_closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl From<RedisError> for QueueError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Full { .. } => Self::StorageFull,
            error => Self::Unavailable { what: "Redis failed".to_owned(), source: Some(Box::new(error)) },
        }
    }
}

/// A record or an answer that can't be written or read.
fn unreadable(what: &'static str, error: impl Error + Send + Sync + 'static) -> QueueError {
    QueueError::Unavailable { what: format!("{what} failed"), source: Some(Box::new(error)) }
}

/// A part of a script's answer that is this.
fn answered<T: FromRedisValue>(value: &Value) -> Result<T, QueueError> {
    redis::from_redis_value_ref(value).map_err(|error| unreadable("reading Redis' answer", error))
}

/// A number that nobody else has.
fn random() -> Result<u64, QueueError> {
    getrandom::u64().map_err(|error| unreadable("making a random number", error))
}

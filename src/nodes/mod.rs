//! What the nodes that share one Redis know of each other: who lives, who leads, what they read, and whether all know the
//! newest register.
//!
//! Each node beats once a second (of many: every two) under a random name that it has only while it runs: a name that came back would hide what
//! its former owner left behind. A beat is one script, which tells what this node is and answers what there is to know. That
//! is published as a [`NodesStatus`], for which nobody waits; a beat that fails leaves it as it was, and older.
//!
//! Only Redis' clock counts. When nobody was heard for a while, it was Redis that was away, and no node is gone for that.

mod check;
mod description;
mod error;
mod heartbeat;
mod info;
mod leadership;
mod register;
mod settings;
mod status;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::{Script, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use check::{Finding, Severity};
pub use description::{LiveNode, NodeDescription, NodeId, NodeRoles};
pub use error::NodesError;
pub use leadership::Leadership;
pub use register::HeldLock;
pub use settings::NodeSettings;
pub use status::{ClockState, HeartbeatAnswer, NodesStatus, RedisMemory};

use crate::clock::SharedClock;
use crate::redis_client::RedisClient;

/// The layout of everything that nodes keep in Redis. It rises when an older version would misread it.
pub const SCHEMA: u32 = 1;

/// What a node tells the others, and how.
#[derive(Clone)]
pub struct NodeOptions {
    /// What it takes.
    pub roles: NodeRoles,
    /// Bytes of memory that its jobs may take together.
    pub memory_budget: u64,
    /// The oldest and the newest format of job records that it reads.
    pub record_formats: (u32, u32),
    /// Tells this installation from others; the same on all of its nodes, and none of its secrets.
    pub installation: String,
    /// How far the clocks of who makes tokens and who takes them may be apart (`auth.leeway`).
    pub clock_leeway: Duration,
    /// What all keys begin with, such as `{px0}:`; the braces keep them in one slot.
    pub key_prefix: String,
    /// How often it beats, and what follows from silence.
    pub timing: NodeTiming,
    /// The clock that scripts go by instead of Redis' own, for tests.
    pub script_clock: Option<SharedClock>,
}

/// How often nodes beat, and what follows from silence. The same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeTiming {
    /// Between two beats of one of few nodes; of many each beats [less often](NodesStatus::interval).
    pub beat_every: Duration,
    /// A node that was silent for longer is gone.
    pub gone_after: Duration,
    /// A leader that was silent for so long leads no more.
    pub lead_for: Duration,
    /// Between two looks at Redis' memory of one of few nodes.
    pub memory_every: Duration,
    /// Between two tries to reach Redis at the start.
    pub retry_every: Duration,
}

impl Default for NodeTiming {
    fn default() -> Self {
        Self {
            beat_every: Duration::from_secs(1),
            gone_after: Duration::from_secs(5),
            lead_for: Duration::from_secs(15),
            memory_every: Duration::from_secs(10),
            retry_every: Duration::from_secs(1),
        }
    }
}

/// This node among the others. Clones are one.
#[derive(Clone)]
pub struct Nodes(Arc<Inner>);

struct Inner {
    redis: RedisClient,
    clock: SharedClock,
    options: NodeOptions,
    id: NodeId,
    scripts: Scripts,
    status: watch::Sender<NodesStatus>,
    is_draining: AtomicBool,
    /// The version of the register that this node shows.
    shown: AtomicU64,
    /// There is something new to tell.
    news: Notify,
}

struct Scripts {
    beat: Script,
    live: Script,
    lock: Script,
    unlock: Script,
    publish: Script,
    slower: Script,
}

impl Nodes {
    /// This node under a fresh name. Nobody hears of it before [`Nodes::run`].
    #[must_use]
    pub fn new(redis: RedisClient, clock: SharedClock, options: NodeOptions) -> Self {
        let id = NodeId::random();
        let status = NodesStatus::new(id.clone(), options.timing, Arc::clone(&clock));
        let scripts = Scripts {
            beat: Script::new(include_str!("scripts/beat.lua")),
            live: Script::new(include_str!("scripts/live.lua")),
            lock: Script::new(include_str!("scripts/lock.lua")),
            unlock: Script::new(include_str!("scripts/unlock.lua")),
            publish: Script::new(include_str!("scripts/publish.lua")),
            slower: Script::new(include_str!("scripts/slower.lua")),
        };
        Self(Arc::new(Inner {
            redis,
            clock,
            options,
            id,
            scripts,
            status: watch::Sender::new(status),
            is_draining: AtomicBool::new(false),
            shown: AtomicU64::new(0),
            news: Notify::new(),
        }))
    }

    /// This node's name.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.0.id
    }

    /// What is known of the nodes and of Redis, as of the last beat.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<NodesStatus> {
        self.0.status.subscribe()
    }

    /// Looks at Redis before anything is kept there: everything that is wrong with it, or may become so. Waits until it can be
    /// reached, with a line in the log each minute; none if `stop` comes first.
    pub async fn check(&self, stop: &CancellationToken) -> Option<Vec<Finding>> {
        stop.run_until_cancelled(check::check(&self.0)).await
    }

    /// Beats until `stop`, then says goodbye.
    pub async fn run(self, stop: CancellationToken) {
        heartbeat::run(&self.0, &stop).await;
    }

    /// Takes uploads or jobs from now on, and may lead: before, a node only listens. The others hear of it at once.
    pub fn join(&self) {
        self.0.is_draining.store(false, Ordering::Relaxed);
        self.0.news.notify_one();
    }

    /// Takes no uploads or jobs any more, and doesn't lead. The others hear of it at once.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
        self.0.news.notify_one();
    }

    /// All nodes that were heard of lately, this one too once it has beaten.
    ///
    /// # Errors
    /// Redis'.
    pub async fn live(&self) -> Result<Vec<LiveNode>, NodesError> {
        let call = self.0.call(&self.0.scripts.live);
        let answer: Vec<(String, u64, String)> = self.0.redis.run("asking who lives", &call).await?;
        Ok(answer.into_iter().map(|(id, age_ms, text)| LiveNode::read(id, age_ms, &text)).collect())
    }
}

impl Inner {
    /// A call of `script` with what all have: what keys begin with, and the time, which is empty for Redis' own.
    fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let time = self.options.script_clock.as_ref().map(|clock| clock.now().as_millis().to_string());
        let mut call = script.key(&self.options.key_prefix);
        call.arg(time.unwrap_or_default());
        call
    }

    /// A key of ours.
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.options.key_prefix)
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes")
            .field("id", &self.0.id)
            .field("status", &*self.0.status.borrow())
            .finish_non_exhaustive()
    }
}

//! Nodes that share one Redis: what each knows of the others.

/// Runs every test named here on Redis and on Valkey.
macro_rules! every_redis {
    ($($name:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(site) = crate::nodes::Site::shared(crate::harness::redis::Flavour::Redis).await else { return };
                super::$name(site).await;
            })*
        }
        mod valkey {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(site) = crate::nodes::Site::shared(crate::harness::redis::Flavour::Valkey).await else { return };
                super::$name(site).await;
            })*
        }
    };
}

mod check;
mod cost;
mod life;
mod outage;
mod register;

use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::{Manual, Timestamp};
use pixerve::nodes::{NodeOptions, NodeRoles, NodeTiming, Nodes, NodesStatus};
use pixerve::redis_client::RedisClient;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::harness::app::WAIT_MAX;
use crate::harness::redis::{Appendfsync, Flavour, RedisServer, key_prefix, shared};

const BOTH: NodeRoles = NodeRoles { api: true, worker: true };
const API: NodeRoles = NodeRoles { api: true, worker: false };
const WORKER: NodeRoles = NodeRoles { api: false, worker: true };

/// Where nodes meet: a Redis, what their keys begin with, and a clock that stands still, which all of them go by.
struct Site {
    url: String,
    key_prefix: String,
    clock: Arc<Manual>,
}

impl Site {
    /// On the server of all tests.
    async fn shared(flavour: Flavour) -> Option<Self> {
        Some(Self::at(shared(flavour, Appendfsync::Everysec).await?.url()))
    }

    /// On a server of the test's own.
    fn on(server: &RedisServer) -> Self {
        Self::at(server.url())
    }

    fn at(url: String) -> Self {
        let clock = Arc::new(Manual::at(Timestamp::from_millis(1_767_225_600_000)));
        Self { url, key_prefix: key_prefix(), clock }
    }

    /// What nodes here are like. They beat as fast as that goes, but every other time is the clock's.
    fn options(&self, roles: NodeRoles) -> NodeOptions {
        let (beat_every, retry_every) = (Duration::from_millis(10), Duration::from_millis(10));
        NodeOptions {
            roles,
            memory_budget: 3 << 30,
            record_formats: (1, 2),
            installation: "ours".to_owned(),
            clock_leeway: Duration::from_secs(5),
            key_prefix: self.key_prefix.clone(),
            timing: NodeTiming { beat_every, retry_every, ..NodeTiming::default() },
            script_clock: Some(Arc::clone(&self.clock) as _),
        }
    }

    fn client(&self) -> RedisClient {
        RedisClient::new(&self.url, &[], Arc::clone(&self.clock) as _).expect("an address")
    }

    /// A node that hasn't begun to beat.
    fn silent(&self, options: NodeOptions) -> Nodes {
        Nodes::new(self.client(), Arc::clone(&self.clock) as _, options)
    }

    /// A node that beats, and has been answered.
    async fn node(&self, roles: NodeRoles) -> Node {
        self.node_with(self.options(roles)).await
    }

    async fn node_with(&self, options: NodeOptions) -> Node {
        let node = Node::run(self.silent(options));
        node.sees(|status| status.heard.is_some()).await;
        node
    }

    /// Lets time pass, second by second, in each of which these nodes beat.
    async fn pass(&self, time: Duration, beating: &[&Node]) {
        for _ in 0..time.as_secs() {
            self.clock.advance(Duration::from_secs(1));
            for node in beating {
                node.beats().await;
            }
        }
    }
}

/// A node that beats until it is stopped or killed, or the test ends.
struct Node {
    nodes: Nodes,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Node {
    fn run(nodes: Nodes) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(nodes.clone().run(stop.clone()));
        Self { nodes, stop, task }
    }

    fn status(&self) -> NodesStatus {
        self.nodes.status().borrow().clone()
    }

    /// Waits until its status is so.
    async fn sees(&self, is_so: impl Fn(&NodesStatus) -> bool) -> NodesStatus {
        let mut status = self.nodes.status();
        let seen = timeout(WAIT_MAX, status.wait_for(is_so)).await.map(|seen| seen.expect("it is there").clone());
        seen.unwrap_or_else(|_| panic!("not seen: {:#?}", self.status()))
    }

    /// Waits until it sees so many nodes, takers of uploads and takers of jobs.
    async fn counts(&self, nodes: u32, api_nodes: u32, workers: u32) {
        let counted = (nodes, api_nodes, workers);
        let is_so = |status: &NodesStatus| {
            status.heard.as_ref().is_some_and(|heard| (heard.nodes, heard.api_nodes, heard.workers) == counted)
        };
        self.sees(is_so).await;
    }

    /// Waits until it has been answered once more, to a beat that began after this was called.
    async fn beats(&self) -> NodesStatus {
        let mut status = self.nodes.status();
        let mut answered = async || {
            status.mark_unchanged();
            loop {
                status.changed().await.expect("it is there");
                if status.borrow_and_update().trouble.is_none() {
                    return;
                }
            }
        };
        let twice = async {
            answered().await;
            answered().await;
        };
        timeout(WAIT_MAX, twice).await.unwrap_or_else(|_| panic!("no answer: {:#?}", self.status()));
        self.status()
    }

    /// Ends it as a kill does.
    async fn kill(self) -> Nodes {
        self.task.abort();
        let _ = self.task.await;
        self.nodes
    }

    /// Stops it in order.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }
}

/// How many of them lead.
fn leaders(nodes: &[&Node]) -> usize {
    nodes.iter().filter(|node| node.status().is_leader()).count()
}

//! Nodes that are killed, stopped and cut off, and a Redis that dies and forgets: whatever was accepted ends once, and its caller
//! is told.

mod cancels;
mod store;
mod upgrade;

use std::collections::HashSet;
use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::figure;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::{BUCKET, Cluster};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::receiver::Receiver;
use crate::harness::redis::{Appendfsync, Flavour};
use crate::harness::token::Claims;

/// How long it goes on; `PIXERVE_NODES_SECONDS` says otherwise.
const SECONDS: u64 = 600;
const NODES: usize = 6;

#[expect(clippy::disallowed_methods, reason = "how long it takes is the environment's to say")]
fn seconds() -> Duration {
    let given = std::env::var("PIXERVE_NODES_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(SECONDS))
}

/// What happens to a node, or to Redis.
#[derive(Clone, Copy, Debug)]
enum Misfortune {
    NodeKilled,
    NodeStopped(Duration),
    RedisKilled,
    RedisEmptied,
    RedisPaused(Duration),
}

/// Three nodes that take uploads and three that make them, each in a process of its own.
struct Fleet {
    cluster: Cluster,
    homes: Vec<Home>,
    running: Vec<Option<ServerProcess>>,
    receiver: Receiver,
    accepted: Vec<Value>,
    refused: usize,
    seed: u32,
}

impl Fleet {
    async fn start(flavour: Flavour, appendfsync: Appendfsync) -> Option<Self> {
        let cluster = Cluster::start_on(flavour, appendfsync).await?;
        let roles = ["api", "api", "api", "worker", "worker", "worker"];
        let workers = ("PIXERVE_MAX_WORKERS", "1");
        let homes: Vec<_> = roles.iter().map(|role| cluster.home(&[("PIXERVE_NODE_ROLES", role), workers])).collect();
        let mut running = Vec::new();
        for home in &homes {
            running.push(Some(home.start().await));
        }
        let receiver = Receiver::start().await;
        Some(Self { cluster, homes, running, receiver, accepted: Vec::new(), refused: 0, seed: 0 })
    }

    /// Uploads to every node that takes some. Only a 200 promises anything.
    async fn upload(&mut self) {
        let mut uploads = JoinSet::new();
        for home in &self.homes[..3] {
            for _ in 0..4 {
                self.seed += 1;
                let job = json!({
                    "directHost": true, "completionCallback": self.receiver.url,
                    "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[24]] } }
                });
                let (token, seed) = (Claims::of(&format!("sub-{}", self.seed % 7)).job(job).sign(), self.seed);
                let mut api = crate::harness::api::Api::default();
                api.at(home.addr);
                uploads.spawn(async move { api.try_upload(&token, "photo.jpg", jpeg(48, 40, seed)).await });
            }
        }
        while let Some(answer) = uploads.join_next().await {
            match answer.expect("no panic") {
                Some((StatusCode::OK, body)) => self.accepted.push(body),
                _ => self.refused += 1,
            }
        }
    }

    async fn suffer(&mut self, misfortune: Misfortune, nth: usize) {
        let node = nth % NODES;
        match misfortune {
            Misfortune::NodeKilled => {
                if let Some(process) = self.running[node].take() {
                    process.kill();
                }
                self.running[node] = Some(self.homes[node].start().await);
            }
            Misfortune::NodeStopped(time) => {
                let process = self.running[node].as_ref().expect("it runs");
                process.signal(Signal::STOP);
                tokio::time::sleep(time).await;
                process.signal(Signal::CONT);
            }
            Misfortune::RedisKilled => {
                self.cluster.redis.kill();
                self.cluster.redis.restart().await;
            }
            Misfortune::RedisEmptied => self.cluster.redis.command::<()>(&["FLUSHALL"]).await,
            Misfortune::RedisPaused(time) => {
                self.cluster.redis.pause();
                tokio::time::sleep(time).await;
                self.cluster.redis.resume();
            }
        }
    }

    /// Waits until everything has ended: how many jobs were lost, and how many callers were never told.
    async fn reckon(&self) -> (usize, usize) {
        let mut told: HashSet<String> = HashSet::new();
        let mut lost = 0;
        let mut api = crate::harness::api::Api::default();
        api.at(self.homes[0].addr);
        for accepted in &self.accepted {
            let id = accepted["job_id"].as_str().expect("an id");
            let started = Instant::now();
            loop {
                let answer = api.get(&format!("/status?job_id={id}")).await;
                let status: Value = answer.json().await.expect("JSON");
                match status["state"].as_str() {
                    Some("completed") => break,
                    Some("failed" | "cancelled") => panic!("{status}"),
                    // An emptied Redis forgets what had ended; its original is gone then, or comes again.
                    None if !self.is_in_bucket(id).await && told.contains(id) => break,
                    _ => {}
                }
                while let Some(call) = self.receiver.unexpected().await {
                    told.insert(call.body["job_id"].as_str().expect("an id").to_owned());
                }
                if started.elapsed() > WAIT_MAX {
                    println!("lost: {id}: {status}");
                    lost += 1;
                    break;
                }
                poll_delay().await;
            }
        }
        let ids: HashSet<String> =
            self.accepted.iter().map(|job| job["job_id"].as_str().expect("an id").into()).collect();
        let started = Instant::now();
        while ids.difference(&told).next().is_some() && started.elapsed() < WAIT_MAX {
            while let Some(call) = self.receiver.unexpected().await {
                told.insert(call.body["job_id"].as_str().expect("an id").to_owned());
            }
            poll_delay().await;
        }
        (lost, ids.difference(&told).count())
    }

    async fn is_in_bucket(&self, id: &str) -> bool {
        self.cluster.s3.keys(BUCKET).await.iter().any(|key| key.ends_with(id))
    }
}

async fn misfortunes_cost_nothing(
    flavour: Flavour,
    appendfsync: Appendfsync,
    misfortunes: &[Misfortune],
    time: Duration,
) {
    let Some(mut fleet) = Fleet::start(flavour, appendfsync).await else { return };
    let (began, mut suffered) = (Instant::now(), 0);
    while began.elapsed() < time {
        fleet.upload().await;
        fleet.suffer(misfortunes[suffered % misfortunes.len()], suffered).await;
        suffered += 1;
    }
    fleet.upload().await;
    let (lost, untold) = fleet.reckon().await;
    figure(
        "nodes",
        format!(
            "{flavour:?} {appendfsync:?}: {suffered} of {misfortunes:?} in {} s; {} jobs accepted, {} refused; lost {lost}, \
             callers untold {untold}",
            time.as_secs(),
            fleet.accepted.len(),
            fleet.refused
        ),
    );
    assert!(fleet.accepted.len() > suffered, "hardly anything was taken");
    assert_eq!((lost, untold), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_lose_nothing() {
    misfortunes_cost_nothing(Flavour::Redis, Appendfsync::Everysec, &[Misfortune::NodeKilled], Duration::from_secs(12))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn nodes_that_are_killed_for_long_lose_nothing() {
    for (flavour, appendfsync) in [(Flavour::Redis, Appendfsync::Always), (Flavour::Valkey, Appendfsync::Everysec)] {
        misfortunes_cost_nothing(flavour, appendfsync, &[Misfortune::NodeKilled], seconds()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn nodes_and_a_redis_that_suffer_everything_lose_nothing() {
    let all = [
        Misfortune::NodeKilled,
        Misfortune::NodeStopped(Duration::from_secs(10)),
        Misfortune::RedisKilled,
        Misfortune::RedisPaused(Duration::from_secs(5)),
        Misfortune::NodeKilled,
        Misfortune::RedisEmptied,
    ];
    for (flavour, appendfsync) in [(Flavour::Redis, Appendfsync::Always), (Flavour::Valkey, Appendfsync::Everysec)] {
        misfortunes_cost_nothing(flavour, appendfsync, &all, seconds()).await;
    }
}

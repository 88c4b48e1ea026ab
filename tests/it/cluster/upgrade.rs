//! Two releases side by side, as while one node after the other is upgraded.

use std::ops::Range;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::small_job;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::{Cluster, OLDER};
use crate::harness::picture;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::receiver::Receiver;

const API: (&str, &str) = ("PIXERVE_NODE_ROLES", "api");
const WORKER: (&str, &str) = ("PIXERVE_NODE_ROLES", "worker");

/// A node in a process of its own, which dies before its directories go.
struct Node {
    process: ServerProcess,
    home: Home,
}

impl Node {
    async fn start(cluster: &Cluster, settings: &[(&str, &str)]) -> Self {
        let home = cluster.home(settings);
        Self { process: home.start().await, home }
    }

    /// Uploads a picture of an owner's own: behind a job that is left alone, its owner's others wait.
    async fn upload(&self, seed: u32) -> Value {
        let owner = format!("sub-{seed}");
        self.process.accepted(&owner, small_job(), "photo.png", picture::png(60, 40, seed)).await
    }

    async fn upload_all(&self, seeds: Range<u32>) -> Vec<Value> {
        let mut accepted = Vec::new();
        for seed in seeds {
            accepted.push(self.upload(seed).await);
        }
        accepted
    }

    /// Uploads until a job is accepted in this format: those that were not, and that one.
    async fn upload_until(&self, cluster: &Cluster, format: u32, seed: u32) -> (Vec<Value>, Value) {
        let (started, mut before) = (Instant::now(), Vec::new());
        for seed in seed.. {
            let accepted = self.upload(seed).await;
            if cluster.record_format(&accepted).await == format {
                return (before, accepted);
            }
            before.push(accepted);
            assert!(started.elapsed() < WAIT_MAX, "no job is accepted in format {format}");
            poll_delay().await;
        }
        unreachable!("there are more numbers than that")
    }

    async fn stop(&mut self) {
        self.process.terminate();
        assert!(self.process.exited().await.success(), "{}", self.home.terminal());
    }

    /// Whether everything that it came upon was as it should be.
    fn complained(&self) -> Vec<String> {
        let log = self.home.log();
        let is_complaint =
            |line: &&str| ["unreadable", "can't be read", "damaged"].iter().any(|word| line.contains(word));
        log.lines().filter(is_complaint).map(str::to_owned).collect()
    }
}

async fn all_are_of(cluster: &Cluster, jobs: &[Value], format: u32) {
    for job in jobs {
        assert_eq!(cluster.record_format(job).await, format, "{job}");
        assert_eq!(cluster.manifest_format(job).await, format, "{job}");
    }
}

async fn all_are_completed(node: &Node, jobs: &[Value]) {
    for job in jobs {
        let status = node.process.ended(job).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_accepted_in_what_the_older_of_two_releases_reads_as_long_as_it_lives() {
    let Some(cluster) = Cluster::start().await else { return };
    let receiver = Receiver::start().await;
    let mut older = [Node::start(&cluster, &[API, OLDER]).await, Node::start(&cluster, &[WORKER, OLDER]).await];
    let mut jobs = older[0].upload_all(0..10).await;
    let newer = [Node::start(&cluster, &[API]).await, Node::start(&cluster, &[WORKER]).await];
    jobs.extend(older[0].upload_all(10..20).await);
    jobs.extend(newer[0].upload_all(20..30).await);
    all_are_of(&cluster, &jobs, 1).await;
    // What that can't say is left to who reads it: its secrets are sealed.
    let job = json!({
        "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[64]] } }
    });
    let secret = newer[0].process.accepted("somebody", job, "photo.png", picture::png(60, 40, 30)).await;
    assert_eq!(cluster.record_format(&secret).await, 2);
    // Nor can it say that names are to last, files private or a manifest wanted, and a node that passed that over would serve them to
    // anyone, or end a job without what it promised.
    let mut lasting = Vec::new();
    for (seed, field) in (40..).zip(["unique", "private", "manifest"]) {
        let mut job = small_job();
        job[field] = json!(true);
        let accepted =
            newer[0].process.accepted(&format!("sub-{seed}"), job, "photo.png", picture::png(60, 40, seed)).await;
        assert_eq!(cluster.record_format(&accepted).await, 2, "{field}");
        lasting.push(accepted);
    }
    for node in [&older[0], &newer[0]] {
        all_are_completed(node, &jobs).await;
    }
    all_are_completed(&newer[0], &lasting).await;
    let [unique, private, manifest] = &lasting[..] else { panic!("three") };
    let [unique, private] = [newer[0].process.ended(unique).await, newer[0].process.ended(private).await];
    let files = newer[0].process.ended(manifest).await["files"].clone();
    assert_eq!(files.as_array().and_then(|files| files.last()).expect("files")["kind"], "manifest");
    assert!(unique["files"][0]["name"].as_str().expect("text").starts_with(unique["job_id"].as_str().expect("an id")));
    for file in private["files"].as_array().expect("files") {
        assert!(file["stored"][0]["location"].as_str().expect("text").starts_with("/private/"), "{file}");
    }
    assert_eq!(newer[0].process.ended(&secret).await["state"], "completed");
    assert_eq!(receiver.call().await.body["job_id"], secret["job_id"]);

    for node in &mut older {
        node.stop().await;
    }
    let (before, first) = newer[0].upload_until(&cluster, 2, 31).await;
    let mut after = newer[0].upload_all(100..110).await;
    after.push(first);
    all_are_of(&cluster, &after, 2).await;
    for jobs in [&jobs, &before, &after] {
        all_are_completed(&newer[0], jobs).await;
    }
    for node in older.iter().chain(&newer) {
        assert_eq!(node.complained(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_node_that_joins_late_takes_what_it_reads_and_leaves_the_rest() {
    let Some(cluster) = Cluster::start().await else { return };
    let api = Node::start(&cluster, &[API]).await;
    let mut left = api.upload_all(0..8).await;
    all_are_of(&cluster, &left, 2).await;

    let late = Node::start(&cluster, &[WORKER, OLDER]).await;
    assert!(late.home.log().contains("write job records of format 2"), "{}", late.home.log());
    let (before, first) = api.upload_until(&cluster, 1, 8).await;
    left.extend(before);
    let mut taken = api.upload_all(100..110).await;
    taken.push(first);
    all_are_of(&cluster, &taken, 1).await;
    all_are_completed(&api, &taken).await;
    for job in &left {
        let status = api.process.get_json(job["status_url"].as_str().expect("a URL")).await;
        assert_eq!(status["state"], "pending", "{status}");
    }

    let newer = Node::start(&cluster, &[WORKER]).await;
    all_are_completed(&api, &left).await;
    for node in [&api, &late, &newer] {
        assert_eq!(node.complained(), [""; 0]);
    }
}

//! Nodes that die, and a Redis that forgets.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{small_job, store_that_is_away, until_answered};
use crate::harness::app::{TestApp, WAIT_MAX, poll_delay};
use crate::harness::cluster::Cluster;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture;
use crate::harness::receiver::Receiver;
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_killed_node_is_done_by_another() {
    let Some(cluster) = Cluster::start().await else { return };
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let home = cluster.home(&[("PIXERVE_NODE_ROLES", "worker")]);
    let doomed = home.start().await;
    let (store, key) = store_that_is_away(&cluster, &api).await;
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[64]] } } });
    let accepted = api.accepted("somebody", job, "photo.png", picture::png(60, 40, 1)).await;
    api.processing(&accepted).await;
    doomed.kill();
    store.script(|_| Fault::Pass);
    let other = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    let status = api.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_costs_no_picture_and_no_callback() {
    let Some(cluster) = Cluster::start_on(Flavour::Valkey, Appendfsync::Everysec).await else { return };
    let receiver = Receiver::start().await;
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let job =
        json!({ "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[64]] } } });
    let mut waiting = Vec::new();
    for n in 0..8 {
        waiting.push(api.accepted("somebody", job.clone(), "photo.png", picture::png(60, 40, n)).await);
    }
    cluster.redis.command::<()>(&["FLUSHALL"]).await;
    // Nobody knows of them until the leader has compared, which it does as soon as it notices.
    let worker = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    for accepted in &waiting {
        let id = accepted["job_id"].as_str().expect("an id");
        until_answered(&api, &format!("/status?job_id={id}"), StatusCode::OK).await;
        assert_eq!(api.ended(accepted).await["state"], "completed");
    }
    for _ in &waiting {
        assert_eq!(receiver.call().await.body["status"], "completed");
    }
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_makes_uploads_fail_soon_and_loses_none_that_was_accepted() {
    let Some(cluster) = Cluster::start_on(Flavour::Redis, Appendfsync::Always).await else { return };
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let accepted = api.accepted("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
    cluster.redis.kill();
    let token = Claims::of("somebody").job(small_job()).sign();
    let refused = api.upload(&token, "photo.png", picture::png(60, 40, 2)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    until_answered(&api, "/health", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(api.get("/health/live").await.status(), StatusCode::OK);
    cluster.redis.restart().await;
    until_answered(&api, "/health", StatusCode::OK).await;
    let worker = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    assert_eq!(api.ended(&accepted).await["state"], "completed");
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_last_seconds_costs_no_picture_and_no_callback() {
    let Some(cluster) = Cluster::start().await else { return };
    let receiver = Receiver::start().await;
    let mut api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let mut accepted = upload_some(&api, &receiver, 0).await;
    let mark = cluster.redis.logged();
    let lost = upload_some(&api, &receiver, 1).await;
    api.stop(Duration::ZERO).await;
    cluster.redis.kill();
    assert!(cluster.redis.lose_log_since(&mark) > 0);
    cluster.redis.restart().await;
    assert_eq!((known(&cluster.redis, &accepted).await, known(&cluster.redis, &lost).await), (JOBS, 0));
    accepted.extend(lost);
    all_are_made(&cluster, &receiver, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_lost_behind_a_cut_link_costs_no_picture_and_no_callback() {
    let replicated = Cluster::start_replicated(Flavour::Redis, Appendfsync::Everysec).await;
    let Some((mut cluster, mut pair)) = replicated else { return };
    let receiver = Receiver::start().await;
    let mut api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let mut accepted = upload_some(&api, &receiver, 0).await;
    pair.caught_up(&cluster.redis).await;
    // The primary takes these while its replica hears nothing.
    pair.cut_off_replica();
    let lost = upload_some(&api, &receiver, 1).await;
    pair.lose(&mut cluster.redis).await;
    assert_eq!((known(&cluster.redis, &accepted).await, known(&cluster.redis, &lost).await), (JOBS, 0));
    // This node finds the new one by itself, where the old one was.
    until_answered(&api, "/health", StatusCode::OK).await;
    accepted.extend(upload_some(&api, &receiver, 2).await);
    accepted.extend(lost);
    api.stop(Duration::ZERO).await;
    all_are_made(&cluster, &receiver, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_waits_for_a_redis_that_is_away_and_says_so_to_whoever_asks() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.redis.kill();
    let home = cluster.home(&[]);
    let mut node = home.spawn(&[]);
    while node.request(Method::GET, "/health/live").send().await.is_err() {
        assert!(node.ended_already().is_none(), "{}", home.terminal());
        poll_delay().await;
    }
    assert_eq!(node.get_json("/health/live").await["status"], "alive");
    for path in ["/health", "/upload", "/files/a.jpg"] {
        let answer = node.request(Method::GET, path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "unavailable", "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("Redis")), "{problem}");
    }
    cluster.redis.restart().await;
    home.answers(&mut node).await;
    node.done("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_lost_while_a_node_starts_is_waited_for() {
    let Some(cluster) = Cluster::start().await else { return };
    let bucket = FaultProxy::start(cluster.s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    // The bucket is asked once Redis has been found good, and before the register is opened.
    bucket.script(|_| Fault::Late(Duration::from_secs(2)));
    let home = cluster.home(&[("PIXERVE_SPOOL_ENDPOINT", &bucket.endpoint())]);
    let mut node = home.spawn(&[]);
    while bucket.asked().is_empty() {
        poll_delay().await;
    }
    cluster.redis.kill();
    bucket.script(|_| Fault::Pass);
    while !home.log().contains("begins again") {
        assert!(node.ended_already().is_none(), "{}", home.terminal());
        poll_delay().await;
    }
    cluster.redis.restart().await;
    home.answers(&mut node).await;
    node.done("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_for_longer_than_its_lease_ends_nothing_when_it_goes_on() {
    let Some(cluster) = Cluster::start().await else { return };
    let receiver = Receiver::start().await;
    let api = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    // It waits for its store until its node hangs.
    let (store, key) = store_that_is_away(&cluster, &api).await;
    let home = cluster.home(&[("PIXERVE_NODE_ROLES", "worker")]);
    let hangs = home.start().await;
    let formats = json!({ "jpg": { "sizes": [[64]] } });
    let job = json!({ "storageKeys": { "s3": key }, "completionCallback": receiver.url, "formats": formats });
    let accepted = api.accepted("somebody", job, "photo.png", picture::png(60, 40, 1)).await;
    // Not between its claim and its attempt: there is nothing of it to be fenced yet.
    while !home.log().contains("attempt started") {
        poll_delay().await;
    }
    hangs.signal(Signal::STOP);
    store.script(|_| Fault::Pass);
    let other = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    let status = api.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    hangs.signal(Signal::CONT);
    let is_fenced =
        || ["attempt is given up", "attempt stopped", "lease lost"].iter().any(|said| home.log().contains(said));
    let started = Instant::now();
    while !is_fenced() {
        assert!(started.elapsed() < WAIT_MAX, "it goes on: {}", home.log());
        poll_delay().await;
    }
    // It is well, and takes jobs.
    drop(other);
    api.done("somebody", small_job(), "other.png", picture::png(60, 40, 2)).await;
    assert_eq!(api.ended(&accepted).await["files"], status["files"]);
    assert_eq!(receiver.call().await.body["job_id"], accepted["job_id"]);
    assert!(receiver.unexpected().await.is_none(), "it ended twice");
}

const JOBS: usize = 6;

/// Uploads, of which nobody has made anything before all are in.
async fn upload_some(api: &TestApp, receiver: &Receiver, round: u32) -> Vec<Value> {
    let job =
        json!({ "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[64]] } } });
    let mut accepted = Vec::new();
    for n in 0..u32::try_from(JOBS).expect("few") {
        accepted.push(api.accepted("somebody", job.clone(), "photo.png", picture::png(60, 40, 100 * round + n)).await);
    }
    accepted
}

/// How many of these jobs Redis knows.
async fn known(redis: &RedisServer, accepted: &[Value]) -> usize {
    let keys = accepted.iter().map(|job| format!("{{px0}}:job:{}", job["job_id"].as_str().expect("an id")));
    let words: Vec<String> = std::iter::once("EXISTS".to_owned()).chain(keys).collect();
    redis.command(&words.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// A node that has just come finds in the bucket what Redis doesn't know.
async fn all_are_made(cluster: &Cluster, receiver: &Receiver, accepted: &[Value]) {
    // What is younger may be on its way still.
    cluster.age_spooled(Duration::from_mins(1)).await;
    let node = cluster.node(&[]).await;
    for accepted in accepted {
        let id = accepted["job_id"].as_str().expect("an id");
        until_answered(&node, &format!("/status?job_id={id}"), StatusCode::OK).await;
        assert_eq!(node.ended(accepted).await["state"], "completed");
    }
    let mut told: Vec<String> = Vec::new();
    for _ in accepted {
        let call = receiver.call().await;
        assert_eq!(call.body["status"], "completed");
        told.push(call.body["job_id"].as_str().expect("an id").to_owned());
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), accepted.len());
}

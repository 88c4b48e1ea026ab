//! A Redis that Sentinel watches: whichever is the primary holds the queue.

use std::net::{Ipv4Addr, TcpListener};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use super::{small_job, until_answered};
use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::Cluster;
use crate::harness::picture;
use crate::harness::process::reserve_port;
use crate::harness::redis::{Appendfsync, Flavour, RedisServer};
use crate::harness::token::Claims;

const SERVICE: &str = "pictures";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_primary_that_sentinel_names() {
    let Some(primary) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let port = primary.port().to_string();
    let of_primary = ["--replicaof", "127.0.0.1", &port];
    let replica = RedisServer::start_with(Flavour::Redis, Appendfsync::Everysec, &of_primary).await;
    let replica = replica.expect("Redis is installed");
    let sentinel = RedisServer::sentinel_of(&primary, SERVICE).await.expect("Redis is installed");
    until_says(&sentinel, &["SENTINEL", "MASTER", SERVICE], &["num-slaves", "1"]).await;
    until_says(&replica, &["INFO", "replication"], &["master_link_status:up"]).await;

    // Some of the Sentinels are gone, as machines may be that they shared with a Redis: of one the port is closed, of the others
    // nothing is ever heard, for longer together than anybody waits.
    let silent: [TcpListener; 4] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let gone = silent.iter().map(|listener| listener.local_addr().expect("an address")).chain([reserve_port()]);
    let sentinels: Vec<_> = gone.map(|addr| format!("redis://{addr}")).chain([sentinel.url()]).collect();
    let sentinels = sentinels.join(",");
    let cluster = Cluster::of(primary, format!("redis://{SERVICE}/0")).await;
    let node = cluster.node(&[("PIXERVE_QUEUE_SENTINELS", &sentinels)]).await;
    let before = node.accepted("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
    assert_eq!(node.ended(&before).await["state"], "completed");
    assert_eq!(cluster.redis.command::<u64>(&["WAIT", "1", "60000"]).await, 1);

    cluster.redis.kill();
    until_says(&replica, &["INFO", "replication"], &["role:master"]).await;
    let after = accepted_again(&node).await;
    until_answered(&node, "/health", StatusCode::OK).await;
    assert_eq!(node.ended(&after).await["state"], "completed");
    let id = after["job_id"].as_str().expect("an id");
    assert!(replica.command::<bool>(&["EXISTS", &format!("{{px0}}:job:{id}")]).await, "it is where the primary is");
    // What the one before knew, its replica knows.
    let id = before["job_id"].as_str().expect("an id");
    assert_eq!(node.get(&format!("/status?job_id={id}")).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_sentinel_does_not_know_is_waited_for_and_named() {
    let Some(primary) = RedisServer::start(Flavour::Redis, Appendfsync::Everysec).await else { return };
    let sentinel = RedisServer::sentinel_of(&primary, SERVICE).await.expect("Redis is installed");
    let sentinels = sentinel.url();
    let cluster = Cluster::of(primary, "redis://other/0".to_owned()).await;
    let home = cluster.home(&[("PIXERVE_QUEUE_SENTINELS", &sentinels)]);
    let node = home.spawn(&[]);
    let started = Instant::now();
    while !home.terminal().contains("no Sentinel names a primary of \"other\"") {
        assert!(started.elapsed() < WAIT_MAX, "{}", home.terminal());
        poll_delay().await;
    }
    node.kill();
}

/// Uploads until it is accepted; meanwhile the node says that there is no queue.
async fn accepted_again(node: &Api) -> Value {
    let (token, started) = (Claims::of("somebody").job(small_job()).sign(), Instant::now());
    loop {
        let (status, answer) =
            node.try_upload(&token, "photo.png", picture::png(60, 40, 2)).await.expect("the node answers");
        if status == StatusCode::OK {
            return answer;
        }
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && started.elapsed() < WAIT_MAX, "{answer}");
        poll_delay().await;
    }
}

/// Waits until the answer to `command` has these words, one behind the other.
async fn until_says(server: &RedisServer, command: &[&str], words: &[&str]) {
    let started = Instant::now();
    loop {
        // A replica that becomes the primary cuts its connections.
        let answer = match server.try_command(command).await {
            Ok(redis::Value::Array(parts)) => parts.into_iter().map(text).collect::<Vec<_>>().join(" "),
            Ok(one) => text(one),
            Err(error) => error.to_string(),
        };
        if answer.contains(&words.join(" ")) {
            return;
        }
        assert!(started.elapsed() < WAIT_MAX, "{command:?}: {answer}");
        poll_delay().await;
    }
}

fn text(value: redis::Value) -> String {
    redis::from_redis_value(value).expect("text")
}

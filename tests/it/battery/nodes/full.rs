//! A Redis whose memory is full.

use std::time::Duration;

use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use super::store::{API, WORKER, store};
use crate::battery::figure;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::Cluster;
use crate::harness::fault_proxy::Fault;
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::redis::RedisServer;
use crate::harness::token::Claims;

const RUNNING: u32 = 20;
const PENDING: u32 = 10;
/// Uploads are taken within this once there is space.
const BACK_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_lets_everything_end_and_takes_uploads_again_once_there_is_space() {
    let Some(cluster) = Cluster::start().await else { return };
    let (proxy, registration) = store(&cluster).await;
    let receiver = Receiver::start().await;
    let api = cluster.node(&[API]).await;
    let key = api.register(registration).await;
    // Nobody else is to have what it runs, however long it is stopped.
    let lease = ("PIXERVE_QUEUE_LEASE", "60s");
    let home = cluster.home(&[WORKER, lease]);
    let worker = home.start().await;
    let formats = json!({ "jpg": { "sizes": [[40], [20]] } });
    let stored = json!({ "storageKeys": { "s3": key }, "completionCallback": receiver.url, "formats": formats });
    let served = json!({ "directHost": true, "completionCallback": receiver.url, "formats": formats });

    // Some run, and wait for their store; some haven't begun.
    proxy.script(|_| Fault::s3_error(503, "SlowDown"));
    let mut accepted = Vec::new();
    for seed in 0..RUNNING {
        accepted.push(api.accepted("somebody", stored.clone(), "a.jpg", jpeg(60, 40, seed)).await);
    }
    for running in &accepted {
        api.processing(running).await;
    }
    worker.signal(Signal::STOP);
    for seed in RUNNING..RUNNING + PENDING {
        accepted.push(api.accepted("somebody", served.clone(), "a.jpg", jpeg(60, 40, seed)).await);
    }
    let used = used_memory(&cluster.redis).await;
    set_maxmemory(&cluster.redis, used / 2).await;
    let spooled = cluster.spooled().await.len();
    let token = Claims::of("somebody").job(served).sign();
    let refused = api.upload(&token, "a.jpg", jpeg(60, 40, 1_000)).await;
    assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(cluster.spooled().await.len(), spooled, "nothing stays of what was refused");

    worker.signal(Signal::CONT);
    proxy.script(|_| Fault::Pass);
    for accepted in &accepted {
        let status = api.ended(accepted).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
    for _ in &accepted {
        assert_eq!(receiver.call().await.body["status"], "completed");
    }
    let refused = api.upload(&token, "a.jpg", jpeg(60, 40, 1_001)).await;
    assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE, "it is full still");
    let full = Instant::now();
    while api.get_json("/health").await["checks"]["redis"]["status"] != "failing" {
        assert!(full.elapsed() < WAIT_MAX, "it doesn't say that Redis is full");
        poll_delay().await;
    }

    set_maxmemory(&cluster.redis, 4 * used).await;
    let space = Instant::now();
    let mut seed = 2_000;
    while api.upload(&token, "a.jpg", jpeg(60, 40, seed)).await.status() != StatusCode::OK {
        assert!(space.elapsed() < BACK_WITHIN, "uploads are refused still");
        seed += 1;
        poll_delay().await;
    }
    let back = space.elapsed();
    while api.get("/health").await.status() != StatusCode::OK {
        assert!(space.elapsed() < WAIT_MAX, "it is not healthy again");
        poll_delay().await;
    }
    figure(
        "nodes",
        format!(
            "a full Redis: {RUNNING} jobs that ran and {PENDING} that waited completed, and their callers were told; uploads 507, taken again \
             {} ms after there was space, healthy after {} s",
            back.as_millis(),
            space.elapsed().as_secs()
        ),
    );
}

async fn set_maxmemory(redis: &RedisServer, bytes: u64) {
    redis.command::<()>(&["CONFIG", "SET", "maxmemory", &bytes.to_string()]).await;
}

async fn used_memory(redis: &RedisServer) -> u64 {
    let info: String = redis.command(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it is said");
    used.trim().parse().expect("a number")
}

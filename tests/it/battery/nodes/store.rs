//! Stores that are slow or away, with several nodes that write to them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::seconds;
use crate::battery::figure;
use crate::harness::cluster::Cluster;
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture::jpeg;

const BUCKET: &str = "pictures";
pub(super) const API: (&str, &str) = ("PIXERVE_NODE_ROLES", "api");
pub(super) const WORKER: (&str, &str) = ("PIXERVE_NODE_ROLES", "worker");

/// A store of the cluster's S3, behind a proxy.
pub(super) async fn store(cluster: &Cluster) -> (FaultProxy, Value) {
    cluster.s3.create_bucket(BUCKET);
    let proxy = FaultProxy::start(cluster.s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = cluster.s3.registration(BUCKET);
    registration["endpoint"] = proxy.endpoint().into();
    (proxy, registration)
}

/// Six files for the store.
fn job(key: &str) -> Value {
    let formats =
        json!({ "jpg": { "sizes": [[40], [30], [20]] }, "webp": { "sizes": [[16], [10]] }, "png": { "sizes": [[8]] } });
    json!({ "storageKeys": { "s3": key }, "formats": formats })
}

/// Files a second that so many nodes write to a store that takes 150 ms for each, two at a time; none where nodes can't share
/// anything.
async fn files_a_second(workers: usize) -> Option<f64> {
    const JOBS: u32 = 60;
    let cluster = Cluster::start().await?;
    let (proxy, registration) = store(&cluster).await;
    let puts = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&puts);
    proxy.script(move |asked| {
        if asked.method != "PUT" {
            return Fault::Pass;
        }
        written.lock().expect("not poisoned").push(Instant::now());
        Fault::Late(Duration::from_millis(150))
    });
    let api = cluster.home(&[API]);
    let api = (api.start().await, api);
    let settings = [WORKER, ("PIXERVE_MAX_WORKERS", "2"), ("PIXERVE_STORES_CONCURRENCY", "2")];
    let homes: Vec<_> = (0..workers).map(|_| cluster.home(&settings)).collect();
    let mut running = Vec::new();
    for home in &homes {
        running.push(home.start().await);
    }
    let key = api.0.register(registration).await;
    let uploads = (0..JOBS).map(|seed| {
        let (api, key) = (&api.0, &key);
        async move { api.accepted(&format!("sub-{}", seed % 7), job(key), "a.jpg", jpeg(60, 40, seed)).await }
    });
    let accepted = futures_util::future::join_all(uploads).await;
    for accepted in &accepted {
        assert_eq!(api.0.ended(accepted).await["state"], "completed");
    }
    let puts = puts.lock().expect("not poisoned");
    let time = puts.last().expect("files").duration_since(puts[0]);
    Some(f64::from(u32::try_from(puts.len()).expect("few")) / time.as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn more_workers_write_more_where_a_store_is_slow() {
    let mut rates = Vec::new();
    for workers in 1..=3 {
        let Some(rate) = files_a_second(workers).await else { return };
        rates.push(rate);
    }
    let factors: Vec<_> = rates.iter().map(|rate| format!("{rate:.1} ({:.2})", rate / rates[0])).collect();
    figure(
        "nodes",
        format!(
            "files a second of 1, 2 and 3 workers, a store that takes 150 ms, two writes each: {}",
            factors.join(", ")
        ),
    );
    assert!(rates[1] > 1.4 * rates[0], "a second worker adds hardly anything: {factors:?}");
    assert!(rates[2] > 1.2 * rates[1], "a third worker adds hardly anything: {factors:?}");
    assert!(rates[2] >= 2.7 * rates[0], "three workers: {factors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn a_store_that_is_away_while_three_nodes_write_and_one_dies_gets_everything() {
    const JOBS: u32 = 200;
    let Some(cluster) = Cluster::start().await else { return };
    let (proxy, registration) = store(&cluster).await;
    let homes: Vec<_> = [API, WORKER, WORKER, WORKER].iter().map(|role| cluster.home(&[*role])).collect();
    let mut running = Vec::new();
    for home in &homes {
        running.push(home.start().await);
    }
    let key = running[0].register(registration).await;
    proxy.script(|_| Fault::s3_error(503, "SlowDown"));
    let mut accepted = Vec::new();
    for seed in 0..JOBS {
        let sub = format!("sub-{}", seed % 7);
        accepted.push(running[0].accepted(&sub, job(&key), "a.jpg", jpeg(60, 40, seed)).await);
    }
    let away = seconds() / 5;
    tokio::time::sleep(away / 2).await;
    running.pop().expect("a worker").kill();
    tokio::time::sleep(away / 2).await;
    let mut made = 0;
    for job in &accepted {
        let status = running[0].get_json(job["status_url"].as_str().expect("a URL")).await;
        made += usize::from(status["state"] == "processing");
        assert!(status["files"].as_array().is_none_or(Vec::is_empty), "nothing can be stored yet: {status}");
    }
    proxy.script(|_| Fault::Pass);
    let (mut attempts, began) = (0, Instant::now());
    for job in &accepted {
        let status = running[0]
            .wait_for(job, "to end", |status| matches!(status["state"].as_str(), Some("completed" | "failed")))
            .await;
        assert_eq!(status["state"], "completed", "{status}");
        attempts = attempts.max(status["attempt"].as_u64().expect("a number"));
        for file in status["files"].as_array().expect("files") {
            let name = file["name"].as_str().expect("a name");
            assert!(cluster.s3.object(BUCKET, name).await.is_some(), "{name}");
        }
    }
    figure(
        "nodes",
        format!(
            "a store away for {} s, one of three nodes killed: {made} of {JOBS} jobs were under way, all stored {} s after it came back, attempts at most {attempts}",
            away.as_secs(),
            began.elapsed().as_secs()
        ),
    );
    assert_eq!(running[0].get("/health").await.status(), StatusCode::OK);
}

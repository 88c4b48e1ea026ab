//! What is asked while every core encodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pixerve::job::ContentHash;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{NO_RATES, nth_percentile};
use crate::battery::figure;
use crate::harness::api::Api;
use crate::harness::app::{poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};

/// Users with a job under way each, all the time.
const USERS: u32 = 4;

/// What was measured, sorted, in the order of [`asked_while_every_core_encodes`]'s paths.
struct Measured {
    files: Vec<Duration>,
    health: Vec<Duration>,
    jobs: usize,
}

/// Asks for a stored file and for `/health`, `count` times each, while there is more to encode than cores. Each answer is
/// whole.
async fn asked_while_every_core_encodes(count: usize) -> Measured {
    let cores = std::thread::available_parallelism().expect("it is known").get();
    let home = Home::new(&[&NO_RATES[..], &[("PIXERVE_MAX_WORKERS", &cores.to_string())]].concat());
    let server = home.start().await;
    let status = server.done("me", small_job(), "a.jpg", jpeg(160, 120, 1)).await;
    let file = &status["files"][0];
    let location = file["stored"][0]["location"].as_str().expect("a location").to_owned();
    let (over, jobs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut users = JoinSet::new();
    for user in 0..USERS.max(2 * u32::try_from(cores).expect("few")) {
        users.spawn(encode(Api::clone(&server), user, Arc::clone(&over), Arc::clone(&jobs)));
    }
    let mut measured = Measured { files: Vec::new(), health: Vec::new(), jobs: 0 };
    for number in 0..count {
        if number % 50 == 0 {
            until_every_worker_is_busy(&server, cores, &mut users).await;
        }
        let began = Instant::now();
        let bytes = server.file(&location).await;
        measured.files.push(began.elapsed());
        assert_eq!(file["sha256"], ContentHash::of(&bytes).to_string());
        let began = Instant::now();
        let answer = server.get("/health").await;
        let (status, health) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        measured.health.push(began.elapsed());
        assert_eq!((status.as_u16(), &health["checks"]["workers"]["status"]), (200, &json!("ok")), "{health}");
    }
    over.store(true, Ordering::SeqCst);
    users.abort_all();
    measured.jobs = jobs.load(Ordering::SeqCst);
    measured.files.sort();
    measured.health.sort();
    measured
}

async fn until_every_worker_is_busy(server: &ServerProcess, workers: usize, users: &mut JoinSet<()>) {
    while server.get_json("/health").await["checks"]["workers"]["busy"] != workers {
        if let Some(ended) = users.try_join_next() {
            ended.expect("a user goes on");
        }
        poll_delay().await;
    }
}

/// One user's jobs, one after the other.
async fn encode(api: Api, user: u32, over: Arc<AtomicBool>, jobs: Arc<AtomicUsize>) {
    let job = json!({ "directHost": true, "formats": { "avif": { "sizes": [[160]] }, "webp": { "sizes": [[0, 0]] } } });
    for seed in 0.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let status =
            api.done(&format!("user-{user}"), job.clone(), "a.jpg", jpeg(640, 480, user * 10_000 + seed)).await;
        assert_eq!(status["state"], "completed", "{status}");
        jobs.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_health_are_answered_while_every_core_encodes() {
    let Measured { files, health, .. } = asked_while_every_core_encodes(100).await;
    figure("load", format!("every core encoding: {} files and {} /health, all whole", files.len(), health.len()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn files_and_health_are_answered_within_100_ms_while_every_core_encodes() {
    let Measured { files, health, jobs } = asked_while_every_core_encodes(1_000).await;
    for (what, took) in [("/files", &files), ("/health", &health)] {
        let [p50, p99] = [50, 99].map(|n| nth_percentile(took, n));
        let max = took.last().expect("some");
        let shown = format!(
            "{} GETs of {what} while {jobs} jobs encoded: p50 {p50:.1?}, p99 {p99:.1?}, at most {max:.1?}",
            took.len()
        );
        figure("load", &shown);
        assert!(p99 < Duration::from_millis(100), "{shown}");
    }
}

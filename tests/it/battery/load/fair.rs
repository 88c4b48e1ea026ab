//! One user floods the queue; another doesn't notice much of it.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Gate, NO_RATES, nth_percentile};
use crate::battery::figure;
use crate::harness::api::Api;
use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};

/// By places and not by the clock: the flooder's job holds the only worker, and another's job begins all the same.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_flood_another_users_job_begins_at_once() {
    const FLOOD: u32 = 24;
    let gate = Gate::shut();
    let child = gate.fake_child();
    let app = TestApp::start_on(child.path(), &[&NO_RATES[..], &[("PIXERVE_MAX_WORKERS", "1")]].concat()).await;
    let mut flood = Vec::new();
    for seed in 0..FLOOD {
        flood.push(app.accepted("flooder", small_job(), "a.jpg", jpeg(40, 30, seed)).await);
    }
    app.processing(&flood[0]).await;
    let other = app.accepted("other", small_job(), "a.jpg", jpeg(40, 30, 0)).await;
    app.processing(&other).await;
    for waiting in &flood[1..] {
        let status = app.get_json(waiting["status_url"].as_str().expect("a url")).await;
        assert_eq!(status["state"], "pending", "the spare place is not for who has a job under way: {status}");
    }
    gate.open();
    for job in flood.iter().chain([&other]) {
        assert_eq!(app.ended(job).await["state"], "completed");
    }
    figure("load", format!("one worker held by the first of {FLOOD} jobs of a flooder: another's job began beside it"));
}

/// One variant, so that a job has one core's work to do whether it is alone or not.
fn job() -> Value {
    json!({ "directHost": true, "formats": { "webp": { "sizes": [[320]] } } })
}

/// Uploads of one user, one after the other: from the first byte sent to the job's completion, sorted.
async fn one_after_the_other(server: &ServerProcess, count: u32, first_seed: u32) -> Vec<Duration> {
    let mut took = Vec::new();
    for seed in first_seed..first_seed + count {
        let picture = jpeg(640, 480, seed);
        let began = Instant::now();
        let status = server.done("other", job(), "a.jpg", picture).await;
        assert_eq!(status["state"], "completed", "{status}");
        took.push(began.elapsed());
    }
    took.sort();
    took
}

/// Keeps about as many jobs of one user in the queue as there are `pictures`. The pictures are ready made: nobody's time is taken by that.
async fn flood(api: Api, pictures: Vec<Vec<u8>>) {
    let waiting = pictures.len() - 1;
    let mut outstanding = VecDeque::new();
    // A picture's earlier job has ended when it comes again.
    for picture in pictures.iter().cycle() {
        outstanding.push_back(api.accepted("flooder", job(), "a.jpg", picture.clone()).await);
        if outstanding.len() > waiting {
            let oldest = outstanding.pop_front().expect("there is one");
            assert_eq!(api.ended(&oldest).await["state"], "completed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn one_users_flood_makes_anothers_p95_three_times_as_long_at_most() {
    const UPLOADS: u32 = 100;
    const WAITING: usize = 60;
    // One less than the cores, as by default where there are more than two: with all of them at work a job takes longer
    // than on an idle machine wherever it stands in the queue.
    let cores = std::thread::available_parallelism().expect("it is known").get();
    let workers = (cores - 1).max(1).to_string();
    let home = Home::new(&[&NO_RATES[..], &[("PIXERVE_MAX_WORKERS", &workers)]].concat());
    let server = home.start().await;
    // For warming up.
    one_after_the_other(&server, 5, 0).await;
    let idle = one_after_the_other(&server, UPLOADS, 1_000).await;
    let pictures = (0..=WAITING).map(|seed| jpeg(640, 480, 10_000 + u32::try_from(seed).expect("few"))).collect();
    let flood = tokio::spawn(flood(Api::clone(&server), pictures));
    let waits = async || server.get_json("/health").await["checks"]["queue"]["pending"].as_u64().expect("a number");
    while waits().await < WAITING as u64 / 2 {
        assert!(!flood.is_finished(), "the flood has ended");
        crate::harness::app::poll_delay().await;
    }
    let flooded = one_after_the_other(&server, UPLOADS, 2_000).await;
    let waiting = waits().await;
    assert!(!flood.is_finished() && waiting >= WAITING as u64 / 2, "only {waiting} were waiting");
    flood.abort();
    let (idle_p95, flooded_p95) = (nth_percentile(&idle, 95), nth_percentile(&flooded, 95));
    let (idle_p50, flooded_p50) = (nth_percentile(&idle, 50), nth_percentile(&flooded, 50));
    let shown = format!(
        "{UPLOADS} uploads to completion: p50 {idle_p50:.0?}, p95 {idle_p95:.0?} on an idle server; p50 {flooded_p50:.0?}, \
         p95 {flooded_p95:.0?} behind {waiting} waiting jobs of a flooder, {workers} workers: {:.1} times as long",
        flooded_p95.as_secs_f64() / idle_p95.as_secs_f64()
    );
    figure("load", &shown);
    assert!(flooded_p95 <= idle_p95 * 3, "{shown}");
}

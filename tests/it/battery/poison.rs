//! Poison: jobs that kill what works on them.
//!
//! Proved elsewhere: a job that kills its child three times fails for good and the others finish, and a child that runs
//! out of memory fails its job at once (`sandbox/deaths.rs`); a server's own death is attributed to no job with the sandbox, and what
//! was in flight without it (`restart/crashed.rs`, `queue/lease.rs`).

use std::fs::File;

use super::figure;
use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::{jpeg, png};
use crate::harness::process::Home;
use crate::sandbox::FakeChild;

/// A child that kills itself over a PNG; over anything else it first does `before`, and is a good one then.
fn dies_on_png(before: &str) -> FakeChild {
    let real = env!("CARGO_BIN_EXE_pixerve");
    FakeChild::new(&format!(
        "input=$(mktemp); cat >\"$input\"; if grep -qa IHDR \"$input\"; then rm \"$input\"; kill -9 $$; fi
         {before}
         {real} \"$@\" <\"$input\"; code=$?; rm \"$input\"; exit $code"
    ))
}

/// With a child of its own a suspect is alone wherever it runs: nothing that it takes down is anybody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_that_dies_beside_another_job_leaves_that_jobs_child_untouched() {
    let gate = tempfile::tempdir().expect("a directory");
    let gate = gate.path().join("open");
    let child = dies_on_png(&format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display()));
    let app = TestApp::start_on(child.path(), &[("PIXERVE_MAX_WORKERS", "2")]).await;
    let neighbour = app.accepted("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    app.processing(&neighbour).await;
    let status = app.done("me", small_job(), "a.png", png(40, 30, 1)).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &3.into()), "{status}");
    File::create(&gate).expect("the gate opens");
    let status = app.ended(&neighbour).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"completed".into(), &1.into()), "{status}");
    figure("poison", "3 deaths beside a running job: that one completed in its first attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn deaths_of_children_leave_the_pool_its_size() {
    children_that_die(12).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn a_hundred_deaths_of_children_leave_the_pool_its_size() {
    children_that_die(100).await;
}

async fn children_that_die(count: u32) {
    let settings = [
        ("PIXERVE_MAX_WORKERS", "2"),
        ("PIXERVE_QUEUE_CRASHES_MAX", "1"),
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"),
        ("PIXERVE_SERVER_RATE_PER_USER", "0"),
    ];
    let child = dies_on_png("");
    let app = TestApp::start_on(child.path(), &settings).await;
    let workers = app.get_json("/health").await["checks"]["workers"]["workers"].clone();
    assert_eq!(workers, 3, "two, and the spare one");
    let mut dying = Vec::new();
    for seed in 0..count {
        dying.push(app.accepted("me", small_job(), "a.png", png(40, 30, seed)).await);
    }
    for job in &dying {
        let status = app.ended(job).await;
        assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &1.into()), "{status}");
    }
    // They still take jobs.
    let good = [1, 2, 3, 4].map(|seed| app.done("me", small_job(), "a.jpg", jpeg(40, 30, seed)));
    for status in futures_util::future::join_all(good).await {
        assert_eq!(status["state"], "completed", "{status}");
    }
    assert_eq!(app.get_json("/health").await["checks"]["workers"]["workers"], workers);
    figure(
        "poison",
        format!("{count} deaths of children: each failed its own job, the pool still has {workers} workers"),
    );
}

/// A codec that panics is caught where it encodes; here in the server's own process, where nothing but that stands
/// between it and everybody's jobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_panics_of_encoders_leave_the_pool_its_size() {
    let home = Home::new(&[
        ("PIXERVE_MAX_WORKERS", "2"),
        ("PIXERVE_WORKER_SANDBOX", "off"),
        ("PIXERVE_QUEUE_ATTEMPTS_MAX", "1"),
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"),
        ("PIXERVE_SERVER_RATE_PER_USER", "0"),
    ]);
    let failpoints = format!("encoder::panic={PANICS}*panic");
    let api = home.start_with(&[("FAILPOINTS", &failpoints)]).await;
    let mut jobs = Vec::new();
    for seed in 0..PANICS {
        jobs.push(api.accepted("me", small_job(), "a.png", png(20, 10, seed)).await);
    }
    for job in &jobs {
        let status = api.ended(job).await;
        assert_eq!((&status["state"], &status["attempt"]), (&"failed".into(), &1.into()), "{status}");
        assert!(status["error"].as_str().is_some_and(|error| error.contains("can't be encoded")), "{status}");
    }
    let status = api.done("me", small_job(), "a.png", png(20, 10, PANICS)).await;
    assert_eq!(status["state"], "completed", "{status}");
    assert_eq!(api.get_json("/health").await["checks"]["workers"]["workers"], 3);
    figure(
        "poison",
        format!("{PANICS} panics of encoders in the server's own process: each failed its own job, then all went on"),
    );
}

const PANICS: u32 = 100;

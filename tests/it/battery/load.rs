//! Load: many clients at once, more than there is room for, and jobs called off while they start.
//!
//! Proved elsewhere: the order in which users and owners take turns (`queue/order.rs`, `queue/places.rs`), limits of rate
//! (`http/rate.rs`), a large job that smaller ones pass for a while only (`queue/places.rs`), the many-fold duplicate (`queue/dedupe.rs`).

mod fair;
mod responsive;
mod streams;

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::figure;
use crate::harness::app::{TestApp, files_below, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;
use crate::sandbox::FakeChild;

pub(super) const NO_RATES: [(&str, &str); 2] =
    [("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"), ("PIXERVE_SERVER_RATE_PER_USER", "0")];

/// Holds every child up until it is opened.
struct Gate(TempDir);

impl Gate {
    fn shut() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// What to start instead of the children's program.
    fn fake_child(&self) -> FakeChild {
        let real = env!("CARGO_BIN_EXE_pixerve");
        FakeChild::new(&format!("while [ ! -e {} ]; do sleep 0.05; done; exec {real} \"$@\"", self.key().display()))
    }

    fn open(&self) {
        File::create(self.key()).expect("the gate opens");
    }

    fn key(&self) -> PathBuf {
        self.0.path().join("open")
    }
}

/// The least of the `sorted` that at least `n` in a hundred of them don't exceed.
pub(super) fn nth_percentile(sorted: &[Duration], n: usize) -> Duration {
    sorted[(sorted.len() * n).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_meet_no_server_error_and_every_job_ends() {
    uploads_by_32_clients(64).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn five_hundred_uploads_by_32_clients_meet_no_server_error_and_every_job_ends() {
    uploads_by_32_clients(500).await;
}

async fn uploads_by_32_clients(count: u32) {
    let app = TestApp::start_with(&NO_RATES).await;
    let started = Instant::now();
    let upload = |seed: u32| {
        let app = &app;
        async move { app.accepted(&format!("client-{}", seed % 32), small_job(), "a.jpg", jpeg(40, 30, seed)).await }
    };
    let accepted: Vec<Value> = stream::iter(0..count).map(upload).buffer_unordered(32).collect().await;
    let taken = started.elapsed();
    for job in &accepted {
        let status = app.ended(job).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
    let files = files_below(&app.serve_dir()).len();
    assert_eq!(files, accepted.len());
    figure(
        "load",
        format!("{count} uploads by 32 clients: all 200 in {taken:.1?}, all completed in {:.1?}", started.elapsed()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_twice_the_queues_cap_is_refused_beyond_it_and_nothing_accepted_is_lost() {
    const CAP: usize = 20;
    // No job ends before the burst is over.
    let gate = Gate::shut();
    let child = gate.fake_child();
    let cap = CAP.to_string();
    let caps = [("PIXERVE_QUEUE_DEPTH_MAX", cap.as_str()), ("PIXERVE_QUEUE_OWNER_DEPTH_MAX", cap.as_str())];
    let app = TestApp::start_on(child.path(), &[&NO_RATES[..], &caps[..]].concat()).await;
    let upload = |seed: usize| {
        let (app, token) = (&app, Claims::of(&format!("client-{seed}")).job(small_job()).sign());
        async move { app.upload(&token, "a.jpg", jpeg(40, 30, u32::try_from(seed).expect("small"))).await }
    };
    let answers: Vec<_> = stream::iter(0..2 * CAP).map(upload).buffer_unordered(2 * CAP).collect().await;
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for answer in answers {
        if answer.status() == 200 {
            accepted.push(answer.json::<Value>().await.expect("JSON"));
        } else {
            assert!(matches!(answer.status().as_u16(), 429 | 503), "{}", answer.status());
            assert!(answer.headers().contains_key("retry-after"));
            refused += 1;
        }
    }
    assert_eq!((accepted.len(), refused), (CAP, CAP));
    gate.open();
    for job in &accepted {
        let status = app.ended(job).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
    assert_eq!(files_below(&app.serve_dir()).len(), CAP);
    figure(
        "load",
        format!("{} uploads at once for {CAP} places: {CAP} completed, {refused} refused with Retry-After", 2 * CAP),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_memory_has_not_begun_and_can_be_cancelled() {
    let gate = Gate::shut();
    let child = gate.fake_child();
    // Memory for one job, workers for two.
    let tight = [("PIXERVE_WORKER_MEMORY_BUDGET", "200MiB"), ("PIXERVE_MAX_WORKERS", "2")];
    let app = TestApp::start_on(child.path(), &tight).await;
    let first = app.accepted("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    app.processing(&first).await;
    let [second, third] = [
        app.accepted("me", small_job(), "b.jpg", jpeg(40, 30, 2)).await,
        app.accepted("me", small_job(), "c.jpg", jpeg(40, 30, 3)).await,
    ];
    // The worker that is free has asked for the second and been told what it takes.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for waiting in [&second, &third] {
        let status = app.wait_for(waiting, "of any state", |_| true).await;
        assert_eq!((&status["state"], &status["attempt"]), (&"pending".into(), &0.into()), "{status}");
    }
    let path = format!("/cancel?hash={}", second["hash"].as_str().expect("a hash"));
    let cancel = app.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign());
    assert_eq!(cancel.send().await.expect("an answer").status(), 204);
    gate.open();
    for (job, state) in [(&first, "completed"), (&second, "cancelled"), (&third, "completed")] {
        let status = app.ended(job).await;
        assert_eq!(status["state"], state, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_races_the_start_leaves_one_terminal_state() {
    cancels_racing_starts(60).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn a_thousand_cancels_that_race_starts_leave_one_terminal_state_each() {
    cancels_racing_starts(1000).await;
}

async fn cancels_racing_starts(count: u32) {
    let app = TestApp::start_with(&NO_RATES).await;
    let race = |seed: u32| {
        let app = &app;
        async move {
            let accepted = app.accepted("me", small_job(), "a.jpg", jpeg(40, 30, seed)).await;
            // Some are cancelled as they are accepted, some when a worker has them.
            if seed.is_multiple_of(2) {
                app.processing(&accepted).await;
            }
            let path = format!("/cancel?hash={}", accepted["hash"].as_str().expect("a hash"));
            let cancel = app.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign());
            let answer = cancel.send().await.expect("an answer").status().as_u16();
            let first = app.ended(&accepted).await;
            (accepted, answer, first)
        }
    };
    let raced: Vec<_> = stream::iter(0..count).map(race).buffer_unordered(8).collect().await;
    let mut cancelled = 0;
    for (accepted, answer, first) in &raced {
        let expected = if *answer == 204 { "cancelled" } else { "completed" };
        assert!(matches!(answer, 204 | 409), "{answer}");
        assert_eq!(first["state"], expected, "{answer}: {first}");
        // Long after all of them: the same end still.
        let last = app.ended(accepted).await;
        assert_eq!((&last["state"], &last["finished_at"]), (&first["state"], &first["finished_at"]));
        cancelled += usize::from(*answer == 204);
    }
    let completed = raced.len() - cancelled;
    assert!(cancelled > 0, "no cancel came in time: nothing was raced");
    figure("load", format!("{count} cancels racing starts: {cancelled} cancelled, {completed} completed, each once"));
}

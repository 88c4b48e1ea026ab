//! Children that wait for another job of their owner.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::children;
use crate::harness::api::Api;
use crate::harness::app::{poll_delay, small_job};
use crate::harness::picture::{jpeg, png};
use crate::harness::process::Home;

/// One worker, and children that wait longer than any test.
const ONE_IDLE: [(&str, &str); 2] = [("PIXERVE_MAX_WORKERS", "1"), ("PIXERVE_WORKER_SANDBOX_IDLE_TIMEOUT", "10m")];

async fn complete(server: &Api, sub: &str, seed: u32) {
    let status = server.done(sub, small_job(), "a.jpg", jpeg(40, 30, seed)).await;
    assert_eq!(status["state"], "completed", "{status}");
}

/// The one child that waits after a job, once those that were killed are gone.
async fn idle_child(server: u32) -> u32 {
    loop {
        if let [child] = children(server)[..] {
            return child;
        }
        poll_delay().await;
    }
}

fn kill(child: u32) {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw).expect("a process's id");
    kill_process(pid, Signal::KILL).expect("it lives");
}

/// A job that takes long enough for its child to be killed meanwhile.
fn job_of_a_while() -> Value {
    json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 2 }, "sizes": [[640]] } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_works_for_one_owner_again_and_never_for_another() {
    let home = Home::new(&ONE_IDLE);
    let server = home.start().await;
    complete(&server, "me", 1).await;
    let mine = idle_child(server.id()).await;
    for seed in 2..5 {
        complete(&server, "me", seed).await;
        assert_eq!(idle_child(server.id()).await, mine);
    }
    complete(&server, "somebody-else", 1).await;
    let theirs = idle_child(server.id()).await;
    assert_ne!(theirs, mine);
    complete(&server, "me", 9).await;
    assert_ne!(idle_child(server.id()).await, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_ends_when_no_job_comes_and_strictly_confined_ones_at_once() {
    for settings in [("PIXERVE_WORKER_SANDBOX_IDLE_TIMEOUT", "50ms"), ("PIXERVE_WORKER_SANDBOX", "strict")] {
        let home = Home::new(&[settings]);
        let server = home.start().await;
        complete(&server, "me", 1).await;
        while !children(server.id()).is_empty() {
            poll_delay().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_child_that_dies_costs_its_owners_next_job_nothing() {
    let home = Home::new(&ONE_IDLE);
    let server = home.start().await;
    complete(&server, "me", 1).await;
    // While it waits,
    kill(idle_child(server.id()).await);
    complete(&server, "me", 2).await;
    // and while it works.
    let idle = idle_child(server.id()).await;
    let accepted = server.accepted("me", job_of_a_while(), "a.png", png(640, 480, 1)).await;
    server.processing(&accepted).await;
    kill(idle);
    let status: Value = server.ended(&accepted).await;
    assert_eq!((&status["state"], &status["attempt"]), (&"completed".into(), &1.into()), "{status}");
}

//! Kills at each step of a comparison of stores with the ledger: begun again, it comes to the same.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pixerve::failpoint::GcStep;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::garbage::{plant, variant};
use crate::harness::app::{files_below, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;

const OLD: Duration = Duration::from_hours(48);

async fn compared(server: &ServerProcess) -> Option<Value> {
    let request = server.request(Method::POST, "/gc?adopt=true&delete=true");
    let answer = request.bearer_auth(Claims::of("operator").admin().sign()).send().await.ok()?;
    answer.json().await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_comparison_comes_to_the_same_whatever_step_the_server_dies_at() {
    let unknown_owner = format!("h-{}", "0".repeat(64));
    for step in GcStep::ALL {
        let home = Home::new(&[]);
        let points = format!("{}=return", step.name());
        let mut server = home.spawn(&[("FAILPOINTS", &points)]);
        home.answers(&mut server).await;
        server.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
        let dir = home.serve_dir();
        for seed in 0..3 {
            plant(&dir, &variant("me", seed), OLD);
            plant(&dir, &variant(&unknown_owner, seed), OLD);
        }
        let _ = compared(&server).await;
        let ended = server.exited().await;
        assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{} is not come by: {}", step.name(), home.terminal());
        drop(server);

        let server = home.start().await;
        let run = compared(&server).await.expect("an answer");
        assert_eq!(run["state"], "done", "{}: {run}", step.name());
        let there = files_below(&dir);
        assert_eq!(there.len(), 4, "{}: {there:?}", step.name());
        assert!(there.iter().all(|name| !name.contains(&unknown_owner)), "{}: {there:?}", step.name());
        let again = compared(&server).await.expect("an answer");
        assert_eq!(
            (&again["report"]["known"]["files"], &again["report"]["unknown"]["files"]),
            (&json!(4), &json!(0)),
            "{again}"
        );
        let erased = server.request(Method::DELETE, "/erase?sub=me").bearer_auth(Claims::of("o").admin().sign());
        let erased: Value = erased.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(erased["files"]["deleted"], 4, "{}: {erased}", step.name());
        server.kill();
    }
}

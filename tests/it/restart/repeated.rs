//! Uploads that are sent again with the same `Idempotency-Key`, to a server that died with the first.

use std::os::unix::process::ExitStatusExt;

use pixerve::failpoint::Step;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::Value;

use super::UPLOAD_STEPS;
use crate::harness::app::{assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;
use crate::http::idempotency::{KEY, accepted, json_of, upload};

async fn completed(server: &ServerProcess) -> Vec<Value> {
    let list = server.admin(Method::GET, "/success/list", None).await;
    let list = list.json::<Value>().await.expect("JSON");
    list["success_records"].as_array().expect("records").iter().map(|record| record["job_id"].clone()).collect()
}

/// Uploads with a key to a server that dies at `step`, and then again: there is one job, which is the first upload's if that had come
/// so far.
async fn dies_at(step: Step, has_come: bool) {
    let home = Home::new(&[]);
    // The batch that a start makes durable comes by first.
    let passed = u32::from(matches!(step, Step::QueueBeforeSync | Step::QueueAfterSync));
    let points = format!("{}={passed}*off->return", step.name());
    let mut server = home.start_with(&[("FAILPOINTS", &points)]).await;
    let token = Claims::of("me").job(small_job()).sign();
    let request = {
        let form = Form::new().part("file", Part::bytes(jpeg(40, 30, 1)).file_name("a.jpg"));
        let request = server.request(Method::POST, "/upload").bearer_auth(&token).header("idempotency-key", KEY);
        tokio::spawn(request.multipart(form).send())
    };
    assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", step.name());
    assert!(request.await.expect("it ends").is_err(), "nobody is told anything");

    let server = home.start().await;
    let answer = upload(&server, &token, KEY, "a.jpg", jpeg(40, 30, 1)).await;
    let (first, is_replayed) = accepted(answer).await;
    assert_eq!(is_replayed, has_come, "{}", step.name());
    assert_eq!(server.ended(&json_of(&first)).await["state"], "completed", "{}", step.name());
    assert_eq!(completed(&server).await, [json_of(&first)["job_id"].clone()], "{}: one job", step.name());
    let again = upload(&server, &token, KEY, "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(accepted(again).await, (first, true), "{}", step.name());
    let other = upload(&server, &token, KEY, "a.jpg", jpeg(40, 30, 2)).await;
    assert_problem(other, 422, "idempotency_key_reused").await;
    // Without a key it is another upload, as ever.
    assert_eq!(server.upload(&token, "a.jpg", jpeg(40, 30, 1)).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_an_upload_makes_no_second_job_of_the_one_that_is_sent_again() {
    for (step, has_come) in UPLOAD_STEPS {
        dies_at(step, has_come).await;
    }
}

//! Jobs that wait for another one, and servers that die meanwhile.

use std::os::unix::process::ExitStatusExt;

use pixerve::failpoint::Step;
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::app::{files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess, reserve_port};
use crate::harness::stores::s3_at;
use crate::harness::token::Claims;

/// The status of the newest job of this `ref`; nothing from a server that is dying.
async fn called(server: &ServerProcess, reference: &str) -> Value {
    let path = format!("/status?ref={reference}");
    let request = server.request(Method::GET, &path).bearer_auth(Claims::of("me").sign());
    let Ok(answer) = request.send().await else { return Value::Null };
    answer.json().await.unwrap_or_default()
}

/// Uploads, to a server that may die of it.
async fn upload(api: Api, job: Value) {
    let form = Form::new().part("file", Part::bytes(jpeg(60, 40, 1)).file_name("a.jpg"));
    let token = Claims::of("me").job(job).sign();
    let _ = api.request(Method::POST, "/upload").bearer_auth(token).multipart(form).send().await;
}

/// One job waits for its store, a second one for the first; the server dies at `step`, which it has come by so often before.
async fn dies_at(step: Step, passed: u32) {
    let home = Home::new(&[]);
    let addr = reserve_port();
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("waits");
    absent.stop().await;
    let server = home.start().await;
    let key = server.register(registration).await;
    server.kill();

    let points = format!("{}={passed}*off->return", step.name());
    let mut server = home.start_with(&[("FAILPOINTS", &points)]).await;
    let of = |reference: &str, mut job: Value| {
        job["ref"] = json!(reference);
        job["onDuplicate"] = json!("queue");
        job["formats"] = json!({ "jpg": { "sizes": [[32]] } });
        job
    };
    let (first, second) =
        (of("first", json!({ "storageKeys": { "s3": key } })), of("second", json!({ "directHost": true })));
    upload((*server).clone(), first).await;
    upload((*server).clone(), second).await;
    let mut s3 = None;
    if server.ended_already().is_none() && called(&server, "second").await["state"] == "pending" {
        // It is to die of the end of the first, or of the second.
        s3 = Some(s3_at(addr, &["waits"]).await);
    }
    assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", step.name());

    let server = home.start().await;
    let second = called(&server, "second").await;
    assert_eq!(second["hash"], called(&server, "first").await["hash"], "{}: both are known", step.name());
    let _s3 = match s3 {
        Some(s3) => s3,
        None => s3_at(addr, &["waits"]).await,
    };
    let mut ended = Vec::new();
    for reference in ["first", "second"] {
        let id = called(&server, reference).await["job_id"].as_str().expect("an id").to_owned();
        ended.push(server.ended(&json!({ "status_url": format!("/status?job_id={id}") })).await);
    }
    let [first, second] = ended.as_slice() else { unreachable!("there are two") };
    assert_eq!([&first["state"], &second["state"]], ["completed", "completed"], "{}: {first} {second}", step.name());
    let times = [&first["finished_at"], &second["started_at"]].map(|time| time.as_str().expect("a time").to_owned());
    assert!(times[0] <= times[1], "{}: one after the other: {first} {second}", step.name());
    while !files_below(&home.data_dir().join("spool")).is_empty() {
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_waits_for_another_is_lost_by_no_kill_and_overtakes_it_after_none() {
    for (step, passed) in [
        (Step::UploadAfterRename, 1),
        (Step::UploadBeforeEnqueue, 1),
        (Step::EnqueueApplied, 1),
        (Step::UploadAfterEnqueue, 1),
        (Step::SettleApplied, 0),
        (Step::SettleAfter, 0),
        (Step::ClaimApplied, 1),
        (Step::SettleApplied, 1),
    ] {
        dies_at(step, passed).await;
    }
}

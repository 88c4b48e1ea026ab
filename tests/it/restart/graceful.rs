//! A stop in good order, in this process.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::Held;
use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::jpeg;
use crate::harness::stores::{GIVES_UP_SOON, dead_store};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_waiting_processing_and_half_stored_all_complete_after_a_restart() {
    let mut held = Held::start(4).await;
    held.app.stop(Duration::ZERO).await;
    let s3 = held.store().await;
    held.app.restart().await;
    held.assert_all_complete(&s3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_can_finish_does_so_before_the_stop_and_one_that_cannot_loses_no_attempt() {
    let mut held = Held::start(0).await;
    let mut finishing = TestApp::start().await;
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[700], [600], [500]] }, "webp": {} } });
    let accepted = finishing.accepted("me", job, "a.jpg", jpeg(800, 800, 1)).await;
    finishing.processing(&accepted).await;
    finishing.stop(Duration::from_mins(1)).await;
    finishing.restart().await;
    let status = finishing.get_json(accepted["status_url"].as_str().expect("a url")).await;
    assert_eq!((&status["state"], &status["attempt"]), (&json!("completed"), &json!(1)), "{status}");

    held.app.stop(Duration::ZERO).await;
    held.app.restart().await;
    let status = held.app.processing(&held.accepted[0]).await;
    assert_eq!(status["attempt"], 1, "a release costs no attempt: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_the_same_after_a_clean_restart() {
    let settings: Vec<_> = GIVES_UP_SOON.into_iter().chain([("PIXERVE_MAX_WORKERS", "2")]).collect();
    let mut app = TestApp::start_with(&settings).await;
    let s3 = app.register(dead_store()).await;
    let failing = json!({ "directHost": true, "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } });
    let mut urls = Vec::new();
    for (job, seed) in [(small_job(), 1), (failing.clone(), 2), (small_job(), 3), (failing, 4)] {
        let status = app.done("me", job, "a.jpg", jpeg(30, 20, seed)).await;
        urls.push(format!("/status?job_id={}", status["job_id"].as_str().expect("an id")));
        urls.push(format!("/success?hash={}", status["hash"].as_str().expect("a hash")));
        urls.push(format!("/files/{}", status["files"][0]["name"].as_str().expect("a name")));
    }
    let before = everything(&app, &urls).await;
    assert!(before.iter().all(|(status, _)| *status == 200), "{before:?}");
    app.restart().await;
    assert_eq!(everything(&app, &urls).await, before);
}

/// Every answer that must outlive a restart.
async fn everything(app: &TestApp, urls: &[String]) -> Vec<(u16, Vec<u8>)> {
    let mut answers = Vec::new();
    for url in urls {
        let answer = app.get(url).await;
        answers.push((answer.status().as_u16(), answer.bytes().await.expect("a body").to_vec()));
    }
    for url in ["/success/list", "/failures/list", "/register"] {
        let answer = app.admin(Method::GET, url, None).await;
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("JSON");
        answers.push((status, body.to_string().into_bytes()));
    }
    answers
}

//! Uploads that are sent again with the same `Idempotency-Key`, to whichever node.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use pixerve::failpoint::Step;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::small_job;
use crate::harness::app::{WAIT_MAX, assert_problem};
use crate::harness::cluster::{BUCKET, Cluster};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;
use crate::http::idempotency::{KEY, accepted, assert_one_job, json_of, upload};
use crate::restart::again::{again, all_jobs, cancelled, waiting_job};

/// What the `Retry-After` of a request says that is under way.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_equal_uploads_at_once_with_one_key_to_two_nodes_are_one_job() {
    let Some(cluster) = Cluster::start().await else { return };
    let (one, other) = (cluster.node(&[]).await, cluster.node(&[]).await);
    let token = Claims::of("me").job(small_job()).sign();
    assert_one_job(&[&one, &other], &token, 25).await;
    let list = one.admin(Method::GET, "/success/list", None).await;
    assert_eq!(list.json::<Value>().await.expect("JSON")["count"], 1);
    let wrong = upload(&other, &token, KEY, "b.jpg", jpeg(200, 150, 3)).await;
    assert_problem(wrong, 422, "idempotency_key_reused").await;
}

/// A node takes an upload and dies at `step`; it is sent again to another. The first one's original, if it came so far, is the only
/// one, and its job the only job.
async fn dies_at(step: Step, has_come: bool, is_replayed: bool) {
    let Some(cluster) = Cluster::start().await else { return };
    let home = cluster.home(&[("PIXERVE_NODE_ROLES", "api")]);
    let points = format!("{}=return", step.name());
    let mut dying = home.start_with(&[("FAILPOINTS", &points)]).await;
    let other = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    let token = Claims::of("me").job(small_job()).sign();
    let first = {
        let form = Form::new().part("file", Part::bytes(jpeg(40, 30, 1)).file_name("a.jpg"));
        let request = dying.request(Method::POST, "/upload").bearer_auth(&token).header("idempotency-key", KEY);
        tokio::spawn(request.multipart(form).send())
    };
    assert_eq!(dying.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", step.name());
    assert!(first.await.expect("it ends").is_err(), "nobody is told anything");
    let spooled = async || -> Vec<String> {
        cluster.s3.keys(BUCKET).await.into_iter().filter(|key| key.contains("/spool/")).collect()
    };
    let before = spooled().await;
    assert_eq!(before.len(), usize::from(has_come), "{}: {before:?}", step.name());

    // Until the node is known to be gone, its request is under way.
    let started = Instant::now();
    let answer = loop {
        let answer = upload(&other, &token, KEY, "a.jpg", jpeg(40, 30, 1)).await;
        if answer.status() != StatusCode::CONFLICT {
            break answer;
        }
        assert_problem(answer, 409, "idempotency_in_flight").await;
        assert!(started.elapsed() < WAIT_MAX, "{}: the key is never free", step.name());
        // As it was told: who asks without a pause has soon no request left.
        sleep(IN_FLIGHT_RETRY).await;
    };
    let (text, replayed) = accepted(answer).await;
    assert_eq!(replayed, is_replayed, "{}", step.name());
    let id = json_of(&text)["job_id"].as_str().expect("an id").to_owned();
    let after = spooled().await;
    assert!(after.len() == 1 && after[0].ends_with(&id), "{}: {after:?}", step.name());
    assert!(before.is_empty() || before == after, "{}: {before:?} {after:?}", step.name());
    let again = upload(&other, &token, KEY, "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(accepted(again).await, (text.clone(), true), "{}", step.name());

    let worker = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    assert_eq!(other.ended(&json_of(&text)).await["state"], json!("completed"), "{}", step.name());
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_died_with_its_node_before_the_queue_knew_it_is_the_same_job_when_another_gets_it() {
    dies_at(Step::UploadBeforeEnqueue, true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_node_died_before_it_answered_is_answered_by_another() {
    dies_at(Step::UploadAfterEnqueue, true, true).await;
}

/// A node is asked to run a job again, or to make another of its bytes, and dies at `step`; another one is asked the same. There is one.
async fn dies_at_again(step: Step, route: &str, is_replayed: bool) {
    let Some(cluster) = Cluster::start().await else { return };
    let home = cluster.home(&[("PIXERVE_NODE_ROLES", "api")]);
    let points = format!("{}=return", step.name());
    let mut dying = home.start_with(&[("FAILPOINTS", &points)]).await;
    let other = cluster.node(&[("PIXERVE_NODE_ROLES", "api")]).await;
    cluster.s3.create_bucket("later");
    let token = waiting_job(&other.register(cluster.s3.registration("later")).await);
    let old = cancelled(&dying, &token).await;
    assert!(again(&dying, route, &old, &token, Some(KEY)).send().await.is_err(), "nobody is told anything");
    assert_eq!(dying.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", step.name());

    let started = Instant::now();
    let answer = loop {
        let answer = again(&other, route, &old, &token, Some(KEY)).send().await.expect("an answer");
        if answer.status() != StatusCode::CONFLICT {
            break answer;
        }
        assert_problem(answer, 409, "idempotency_in_flight").await;
        assert!(started.elapsed() < WAIT_MAX, "{}: the key is never free", step.name());
        sleep(IN_FLIGHT_RETRY).await;
    };
    let (text, replayed) = accepted(answer).await;
    assert_eq!(replayed, is_replayed, "{}", step.name());
    let repeated = again(&other, route, &old, &token, Some(KEY)).send().await.expect("an answer");
    assert_eq!(accepted(repeated).await, (text.clone(), true), "{}", step.name());
    assert_eq!(all_jobs(&other, &token).await, [json_of(&text)["job_id"].clone(), json!(old)], "{}", step.name());
    let worker = cluster.node(&[("PIXERVE_NODE_ROLES", "worker")]).await;
    assert_eq!(other.ended(&json_of(&text)).await["state"], json!("completed"), "{}", step.name());
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_whose_node_died_is_the_same_job_when_another_gets_it() {
    dies_at_again(Step::RetrySpooled, "/retry", false).await;
    dies_at_again(Step::RetryEnqueued, "/retry", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_on_known_bytes_whose_node_died_is_the_same_job_when_another_gets_it() {
    dies_at_again(Step::ReprocessSpooled, "/reprocess", false).await;
    dies_at_again(Step::ReprocessEnqueued, "/reprocess", true).await;
}

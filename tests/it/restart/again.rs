//! Jobs that are run again, or made of another's bytes, by a server that dies of it: there is one, whoever asks how often.

use std::os::unix::process::ExitStatusExt;

use pixerve::failpoint::Step;
use reqwest::{Method, RequestBuilder, StatusCode};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::app::assert_problem;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::stores::s3;
use crate::harness::token::Claims;
use crate::http::idempotency::{KEY, accepted, json_of};

/// Tried again soon.
pub(crate) const SOON: [(&str, &str); 2] =
    [("PIXERVE_STORES_BACKOFF_MIN", "100ms"), ("PIXERVE_STORES_BACKOFF_MAX", "500ms")];

/// A job that waits for its store's bucket, and a token for another one like it.
pub(crate) fn waiting_job(store: &str) -> Claims {
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } });
    Claims::of("me").with("scope", json!("manage")).job(job)
}

/// Uploads a job and cancels it: its id.
pub(crate) async fn cancelled(api: &Api, token: &Claims) -> String {
    let uploaded = api.upload(&token.sign(), "a.jpg", jpeg(40, 30, 1)).await;
    let id = uploaded.json::<Value>().await.expect("JSON")["job_id"].as_str().expect("an id").to_owned();
    let cancel = api.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(token.sign());
    assert_eq!(cancel.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
    id
}

pub(crate) fn again(api: &Api, route: &str, id: &str, token: &Claims, key: Option<&str>) -> RequestBuilder {
    let request = api.request(Method::POST, &format!("{route}?job_id={id}")).bearer_auth(token.sign());
    key.into_iter().fold(request, |request, key| request.header("idempotency-key", key))
}

/// The ids of all jobs, the newest first.
pub(crate) async fn all_jobs(api: &Api, token: &Claims) -> Vec<Value> {
    let jobs = api.request(Method::GET, "/jobs").bearer_auth(token.sign()).send().await.expect("an answer");
    let jobs: Value = jobs.json().await.expect("JSON");
    jobs["jobs"].as_array().expect("jobs").iter().map(|job| job["job_id"].clone()).collect()
}

async fn dies_at(step: Step, route: &str, key: Option<&str>) {
    let (home, s3, name) = (Home::new(&SOON), s3().await, step.name());
    let points = format!("{name}=return");
    let mut server = home.start_with(&[("FAILPOINTS", &points)]).await;
    let token = waiting_job(&server.register(s3.registration("later")).await);
    let old = cancelled(&server, &token).await;
    assert!(again(&server, route, &old, &token, key).send().await.is_err(), "{name}: nobody is told anything");
    assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{name}");

    let server = home.start().await;
    let send = async || again(&server, route, &old, &token, key).send().await.expect("an answer");
    let job = if key.is_some() {
        let (text, is_replayed) = accepted(send().await).await;
        assert!(is_replayed, "{name}: it had come");
        assert_eq!(accepted(send().await).await, (text.clone(), true), "{name}");
        json_of(&text)["job_id"].clone()
    } else {
        assert_problem(send().await, 409, "duplicate_job").await["job_id"].clone()
    };
    assert_eq!(all_jobs(&server, &token).await, [job.clone(), json!(old)], "{name}: one job more");
    s3.create_bucket("later");
    let status_url = format!("/status?job_id={}", job.as_str().expect("an id"));
    let ended = server.ended(&json!({ "status_url": status_url })).await;
    let named = if route == "/retry" { &ended["retry_of"] } else { &ended["reprocess_of"] };
    assert_eq!((&ended["state"], named), (&json!("completed"), &json!(old)), "{name}: {ended}");
    assert_eq!(s3.keys("later").await.len(), 1, "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_running_a_job_again_leaves_one_job_whoever_asks_again() {
    for (step, route) in [
        (Step::RetrySpooled, "/retry"),
        (Step::RetryEnqueued, "/retry"),
        (Step::ReprocessSpooled, "/reprocess"),
        (Step::ReprocessEnqueued, "/reprocess"),
    ] {
        for key in [None, Some(KEY)] {
            dies_at(step, route, key).await;
        }
    }
}

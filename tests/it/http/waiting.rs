//! Uploads that wait, instead of being refused, while the same bytes are worked on.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, files_below, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::{Claims, now};

fn waiting(mut job: Value) -> Value {
    job["onDuplicate"] = json!("queue");
    job
}

/// A job that lives until it is cancelled.
async fn lasting(app: &TestApp) -> Value {
    let s3 = app.register(dead_store()).await;
    waiting(json!({ "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } }))
}

async fn accepted(answer: Response) -> Value {
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.expect("JSON")
}

async fn cancel(app: &TestApp, job: &Value) {
    let path = format!("/cancel?job_id={}", job["job_id"].as_str().expect("an id"));
    let answer = app.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign()).send().await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::NO_CONTENT);
}

async fn state(app: &TestApp, job: &Value) -> Value {
    app.get_json(job["status_url"].as_str().expect("an address")).await["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_for_something_else_waits_for_the_live_one_and_then_runs() {
    let mut app = TestApp::start().await;
    let picture = jpeg(60, 40, 1);
    let live = app.accepted("me", lasting(&app).await, "a.jpg", picture.clone()).await;
    app.wait_for(&live, "to wait for its store", |status| status["waiting_for"].is_array()).await;
    let later = app.accepted("me", waiting(small_job()), "a.jpg", picture.clone()).await;
    assert_ne!(later["job_id"], live["job_id"]);
    assert_eq!(later.get("duplicate"), None);
    // What comes behind it shows that its turn would have come.
    assert_eq!(app.done("me", small_job(), "b.jpg", jpeg(60, 40, 2)).await["state"], "completed");
    assert_eq!(state(&app, &later).await, "pending");
    app.restart().await;
    assert_eq!(app.done("me", small_job(), "b.jpg", jpeg(60, 40, 3)).await["state"], "completed");
    assert_eq!(state(&app, &later).await, "pending");
    cancel(&app, &live).await;
    assert_eq!(app.ended(&later).await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_equal_upload_is_answered_with_the_live_job() {
    let app = TestApp::start().await;
    let (picture, job) = (jpeg(60, 40, 1), lasting(&app).await);
    let first = app.accepted("me", job.clone(), "a.jpg", picture.clone()).await;
    assert_eq!(first.get("duplicate"), None);
    // The same job, written in another order, in a token of another time.
    let mut fields: Vec<_> = job.as_object().expect("an object").clone().into_iter().collect();
    fields.reverse();
    let job = Value::Object(fields.into_iter().collect());
    let token = Claims::of("me").job(job).with("iat", json!(now() - 7)).with("exp", json!(now() + 70)).sign();
    let mut second = accepted(app.upload(&token, "a.jpg", picture).await).await;
    assert_eq!(second.as_object_mut().expect("an object").remove("duplicate"), Some(json!(true)));
    assert_eq!(second, first);
    let spool = app.data_dir().join("spool/jobs");
    assert_eq!(std::fs::read_dir(spool).expect("a directory").count(), 1, "nothing else is kept");
    cancel(&app, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_differs_in_a_secret_or_its_name_is_no_equal_one() {
    let app = TestApp::start().await;
    let picture = jpeg(60, 40, 1);
    let mut job = lasting(&app).await;
    job["completionCallback"] = json!("https://hook.example/path");
    job["callbackHeaders"] = json!({ "X-Key": "one" });
    let mut ids = HashSet::new();
    let changed = |field: &str, value: Value| {
        let mut job = job.clone();
        job[field] = value;
        job
    };
    for (job, name) in [
        (job.clone(), "a.jpg"),
        (job.clone(), "b.jpg"),
        (changed("callbackHeaders", json!({ "X-Key": "two" })), "a.jpg"),
        (changed("completionCallback", json!("https://hook.example/other")), "a.jpg"),
        (changed("ref", json!("order-42")), "a.jpg"),
        (changed("priority", json!(1)), "a.jpg"),
    ] {
        let answer = app.accepted("me", job, name, picture.clone()).await;
        assert!(ids.insert(answer["job_id"].clone()), "{answer}");
    }
    for file in files_below(&app.data_dir().join("spool")).iter().filter(|file| file.ends_with("manifest.json")) {
        let manifest = std::fs::read_to_string(app.data_dir().join("spool").join(file)).expect("a manifest");
        assert!(!manifest.contains("\"one\"") && !manifest.contains("X-Key"), "{manifest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_uploads_at_once_are_one_job() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(lasting(&app).await).sign();
    let picture = jpeg(60, 40, 1);
    let answers = join_all((0..12).map(|_| app.upload(&token, "a.jpg", picture.clone()))).await;
    let (mut ids, mut duplicates) = (HashSet::new(), 0);
    for answer in answers {
        let answer = accepted(answer).await;
        duplicates += usize::from(answer["duplicate"] == json!(true));
        ids.insert(answer["job_id"].clone());
    }
    assert_eq!((ids.len(), duplicates), (1, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_to_wait_is_refused_as_ever() {
    let app = TestApp::start().await;
    let picture = jpeg(60, 40, 1);
    let live = app.accepted("me", lasting(&app).await, "a.jpg", picture.clone()).await;
    let refusing = |word: Value| {
        let mut job = small_job();
        job["onDuplicate"] = word;
        Claims::of("me").job(job).sign()
    };
    for word in [Value::Null, json!("refuse")] {
        let problem =
            assert_problem(app.upload(&refusing(word), "a.jpg", picture.clone()).await, 409, "duplicate_job").await;
        assert_eq!(problem["job_id"], live["job_id"]);
    }
    for word in [json!("wait"), json!(true)] {
        let problem =
            assert_problem(app.upload(&refusing(word), "a.jpg", picture.clone()).await, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/job/onDuplicate");
    }
}

//! `ref`: what a caller calls a job in its own words.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

fn job_called(reference: &str) -> Value {
    let mut job = small_job();
    job["ref"] = json!(reference);
    job
}

async fn status_of(app: &TestApp, reference: &str, token: &str) -> Response {
    let request = app.request(Method::GET, "/status").query(&[("ref", reference)]);
    request.bearer_auth(token).send().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_comes_back_in_the_answer_status_callback_events_and_record() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = job_called("order 42 / ä");
    job["completionCallback"] = json!(receiver.url);
    let accepted = app.accepted("me", job, "a.jpg", jpeg(80, 60, 1)).await;
    assert_eq!(accepted["ref"], "order 42 / ä");
    assert_eq!(app.ended(&accepted).await["ref"], "order 42 / ä");
    assert_eq!(receiver.call().await.body["ref"], "order 42 / ä");
    let id = accepted["job_id"].as_str().expect("an id");
    assert_eq!(app.get_json(&format!("/success?job_id={id}")).await["ref"], "order 42 / ä");
    let events = app.get(&format!("/events?job_id={id}")).await.text().await.expect("a stream that ends");
    assert!(events.contains(r#""ref":"order 42 / ä""#), "{events}");

    let failed = job_called("order 43");
    let mut cut = jpeg(80, 60, 2);
    cut.truncate(cut.len() / 2);
    let failed = app.done("me", failed, "a.jpg", cut).await;
    assert_eq!((&failed["state"], &failed["ref"]), (&json!("failed"), &json!("order 43")));
    let record = app.get_json(&format!("/failures?job_id={}", failed["job_id"].as_str().expect("an id"))).await;
    assert_eq!(record["ref"], "order 43");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_ref_has_no_such_field_anywhere() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    let accepted = app.accepted("me", job, "a.jpg", jpeg(80, 60, 1)).await;
    let status = app.ended(&accepted).await;
    let record = app.get_json(&format!("/success?job_id={}", accepted["job_id"].as_str().expect("an id"))).await;
    for answer in [accepted, status, record, receiver.call().await.body] {
        assert!(answer.as_object().expect("an object").keys().all(|key| key != "ref"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_stands_for_the_owners_newest_job_of_that_ref() {
    let app = TestApp::start().await;
    let token = Claims::of("me").sign();
    for seed in 1..=3 {
        let accepted = app.accepted("me", job_called("order-42"), "a.jpg", jpeg(40, 30, seed)).await;
        app.ended(&accepted).await;
        let status: Value = status_of(&app, "order-42", &token).await.json().await.expect("JSON");
        assert_eq!((&status["job_id"], &status["state"]), (&accepted["job_id"], &json!("completed")));
    }
    // A `ref` that the other begins with is another one.
    assert_problem(status_of(&app, "order-4", &token).await, 404, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_ref_looks_like_an_unknown_one_and_nobody_asks_without_a_token() {
    let app = TestApp::start().await;
    let theirs = app.done("them", job_called("order-42"), "a.jpg", jpeg(40, 30, 1)).await;
    let mine = app.done("me", job_called("order-42"), "a.jpg", jpeg(40, 30, 1)).await;
    for (sub, job) in [("them", &theirs), ("me", &mine)] {
        let status: Value = status_of(&app, "order-42", &Claims::of(sub).sign()).await.json().await.expect("JSON");
        assert_eq!(status["job_id"], job["job_id"]);
    }
    let stranger = Claims::of("stranger").sign();
    let foreign = assert_problem(status_of(&app, "order-42", &stranger).await, 404, "not_found").await;
    let unknown = assert_problem(status_of(&app, "order-99", &stranger).await, 404, "not_found").await;
    assert_eq!(foreign["detail"], unknown["detail"]);
    assert_problem(app.get("/status?ref=order-42").await, 401, "unauthorized").await;
    let by_id = app.get_json(&format!("/status?job_id={}&ref=order-99", mine["job_id"].as_str().expect("an id"))).await;
    assert_eq!(by_id["job_id"], mine["job_id"], "an id says more than a ref");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ref_of_more_than_256_bytes_or_that_is_no_text_is_a_422() {
    let app = TestApp::start().await;
    app.accepted("me", job_called(&"ä".repeat(128)), "a.jpg", jpeg(40, 30, 1)).await;
    for bad in [json!("ä".repeat(129)), json!(42), json!(["a"])] {
        let mut job = small_job();
        job["ref"] = bad;
        let answer = app.upload(&Claims::of("me").job(job).sign(), "a.jpg", jpeg(40, 30, 2)).await;
        let problem = assert_problem(answer, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/job/ref");
    }
}

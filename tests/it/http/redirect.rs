//! Forms without JavaScript, which are sent on.

use reqwest::header::{ACCEPT, CACHE_CONTROL, LOCATION};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::upload_refused::assert_nothing_is_left;
use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

/// What a browser asks for when it goes to a page.
const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn sent_to(address: &str) -> Value {
    let mut job = small_job();
    job["redirect"] = json!(address);
    job
}

/// Sends a form as a browser does: the token is one of its fields.
async fn submit(app: &TestApp, token: &str, accept: &str, bytes: Vec<u8>) -> Response {
    let form = Form::new().text("token", token.to_owned()).part("file", Part::bytes(bytes).file_name("a.jpg"));
    app.request(Method::POST, "/upload").header(ACCEPT, accept).multipart(form).send().await.expect("an answer")
}

fn location(answer: &Response) -> &str {
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[CACHE_CONTROL]),
        (303, &"no-store".parse().expect("a value"))
    );
    answer.headers()[LOCATION].to_str().expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_sent_on_with_its_job_behind_what_the_address_has() {
    let app = TestApp::start().await;
    for (seed, address, before, after) in [
        (1, "https://shop.example/done", "https://shop.example/done?", ""),
        (2, "https://shop.example/done?order=42&x=%20#top", "https://shop.example/done?order=42&x=%20&", "#top"),
        (3, "http://127.0.0.1:5173", "http://127.0.0.1:5173/?", ""),
    ] {
        let token = Claims::of("me").job(sent_to(address)).sign();
        let answer = submit(&app, &token, PAGE, jpeg(40, 30, seed)).await;
        let location = location(&answer);
        let id = location.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).expect(location);
        let id = id.strip_prefix("job_id=").and_then(|rest| rest.strip_suffix("&state=accepted")).expect(location);
        let job = json!({ "status_url": format!("/status?job_id={id}") });
        assert_eq!(app.ended(&job).await["state"], "completed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_refused_is_sent_on_with_the_code_once_its_token_is_good() {
    let app = TestApp::start().await;
    let job = sent_to("https://shop.example/done");
    let with = |field: &str, value: Value| {
        let mut job = job.clone();
        job[field] = value;
        Claims::of("me").job(job).sign()
    };
    for (token, bytes, code) in [
        (with("priority", json!(0)), b"no picture".to_vec(), "unsupported_image"),
        (with("maxBytes", json!(1000)), vec![7; 3 << 20], "too_large"),
        (with("typo", json!(1)), jpeg(8, 8, 1), "invalid_fields"),
        (with("storageKeys", json!({ "s3": "pxs_unknown" })), jpeg(8, 8, 1), "invalid_fields"),
    ] {
        let answer = submit(&app, &token, PAGE, bytes).await;
        assert_eq!(location(&answer), format!("https://shop.example/done?code={code}"));
    }
    assert_nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_may_say_where_a_form_is_sent() {
    let app = TestApp::start().await;
    let put = app.admin(Method::PUT, "/presets/form", Some(sent_to("https://shop.example/done"))).await;
    assert_eq!(put.status(), 201);
    let token = |job: Value| Claims::of("me").job(job).sign();
    let answer = submit(&app, &token(json!({ "preset": "form" })), PAGE, jpeg(40, 30, 1)).await;
    assert!(location(&answer).starts_with("https://shop.example/done?job_id="));
    let answer = submit(&app, &token(json!({ "preset": "form", "typo": 1 })), PAGE, jpeg(40, 30, 2)).await;
    assert_eq!(location(&answer), "https://shop.example/done?code=invalid_fields");
    let elsewhere = json!({ "preset": "form", "redirect": null });
    assert_eq!(submit(&app, &token(elsewhere), PAGE, jpeg(40, 30, 3)).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_a_script_and_a_job_without_an_address_get_json() {
    let app = TestApp::start().await;
    let job = sent_to("https://shop.example/done");
    let good = Claims::of("me").job(job.clone()).sign();
    let forged = Claims::of("me").job(job.clone()).secret("another secret, which is as long as it must be").sign();
    assert_problem(submit(&app, &forged, PAGE, jpeg(8, 8, 1)).await, 401, "unauthorized").await;
    let plain = Claims::of("me").job(small_job()).sign();
    assert_problem(submit(&app, &plain, PAGE, b"no picture".to_vec()).await, 415, "unsupported_image").await;
    for accept in ["*/*", "application/json", "text/html;q=0, */*"] {
        assert_problem(submit(&app, &good, accept, b"no picture".to_vec()).await, 415, "unsupported_image").await;
    }
    let accepted = submit(&app, &good, "*/*", jpeg(40, 30, 1)).await;
    assert_eq!(accepted.status(), 200);
    assert!(accepted.json::<Value>().await.expect("JSON")["job_id"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_sent_to_no_address_that_others_could_read_on_the_way() {
    let app = TestApp::start().await;
    for address in ["http://shop.example/", "javascript:alert(1)", "/done", "https://me:pw@shop.example/"] {
        let token = Claims::of("me").job(sent_to(address)).sign();
        let problem = assert_problem(submit(&app, &token, PAGE, jpeg(8, 8, 1)).await, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/job/redirect", "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_address_records_show_no_more_than_the_origin() {
    let app = TestApp::start().await;
    let job = sent_to("https://shop.example/hidden-path?hidden=query");
    let status = app.done("me", job, "a.jpg", jpeg(40, 30, 1)).await;
    let record = app.get_json(&format!("/success?job_id={}", status["job_id"].as_str().expect("an id"))).await;
    let shown = record["job_data"].as_str().expect("JSON in a string");
    assert!(shown.contains("https://shop.example/[redacted]") && !shown.contains("hidden"), "{shown}");
}

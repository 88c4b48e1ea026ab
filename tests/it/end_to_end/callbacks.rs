//! What a callback says, and that it is delivered.

use std::path::PathBuf;
use std::time::Duration;

use pixerve::app::{App, ServeOptions};
use serde_json::{Value, json};
use url::Url;

use crate::harness::app::TestApp;
use crate::harness::picture::jpeg;
use crate::harness::receiver::{Call, Receiver};
use crate::harness::stores::{GIVES_UP_SOON, dead_store};
use crate::harness::token::now;

/// A small job that calls `receiver` back.
fn job(receiver: &Receiver) -> Value {
    json!({
        "directHost": true, "subDir": "tenant", "completionCallback": receiver.url,
        "callbackHeaders": { "Authorization": "Bearer for-your-eyes", "X-Shop": "17" },
        "formats": { "jpg": { "settings": { "quality": 70 }, "sizes": [[32], [16, 0]] } }
    })
}

/// The job as others may see it.
fn without_secrets(mut job: Value) -> Value {
    job.as_object_mut().expect("an object").remove("callbackHeaders");
    // A path may be as secret as a header: hooks of chat services have nothing else.
    let callback = Url::parse(job["completionCallback"].as_str().expect("a URL")).expect("a URL");
    job["completionCallback"] = json!(format!("{}/[redacted]", callback.origin().ascii_serialization()));
    if let Some(access_keys) = job.get_mut("storageKeys").and_then(Value::as_object_mut) {
        access_keys.values_mut().for_each(|access_key| *access_key = json!("[redacted]"));
    }
    job
}

/// Asserts that a call is the one about this job, and says what the contract says and nothing else.
fn assert_tells(call: &Call, status: &Value, job: &Value, since: u64) {
    for (name, value) in [
        ("authorization", "Bearer for-your-eyes"),
        ("x-shop", "17"),
        ("webhook-id", status["job_id"].as_str().expect("an id")),
        ("user-agent", concat!("Pixerve/", env!("CARGO_PKG_VERSION"))),
        ("content-type", "application/json"),
    ] {
        assert_eq!(call.headers[name], value, "{name}");
    }
    let timestamp = call.body["timestamp"].as_u64().expect("a number of seconds");
    assert!((since..=now()).contains(&timestamp), "{timestamp}");
    let mut expected = json!({
        "hash": status["hash"], "job_id": status["job_id"], "status": status["state"],
        "file_count": status["files"].as_array().expect("files").len(), "timestamp": timestamp,
        "files": status["files"], "job_data": without_secrets(job.clone()),
        "type": format!("job.{}", status["state"].as_str().expect("a state")), "ended_at": status["finished_at"],
    });
    if status["state"] == "failed" {
        expected["error"] = status["error"].clone();
        expected["error_code"] = status["error_code"].clone();
    }
    if let Some(placeholder) = status.get("placeholder") {
        expected["placeholder"] = placeholder.clone();
    }
    assert_eq!(call.body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_job_says_what_it_made_and_brings_its_headers() {
    let (app, receiver, since) = (TestApp::start().await, Receiver::start().await, now());
    let job = job(&receiver);
    let status = app.done("me", job.clone(), "a.jpg", jpeg(60, 40, 1)).await;
    assert_eq!(status["state"], "completed");
    assert_tells(&receiver.call().await, &status, &job, since);
    assert!(receiver.unexpected().await.is_none(), "one call is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_says_why_and_what_it_stored_all_the_same() {
    let app = TestApp::start_with(&GIVES_UP_SOON).await;
    let (receiver, since) = (Receiver::start().await, now());
    let mut job = job(&receiver);
    job["storageKeys"]["s3"] = json!(app.register(dead_store()).await);
    let status = app.done("me", job.clone(), "a.jpg", jpeg(60, 40, 1)).await;
    assert_eq!((&status["state"], status["files"].as_array().map(Vec::len)), (&json!("failed"), Some(2)), "{status}");
    assert_tells(&receiver.call().await, &status, &job, since);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_failed_is_retried_with_the_same_body_and_headers() {
    let (app, receiver, since) = (TestApp::start().await, Receiver::start().await, now());
    receiver.answer(500);
    let job = job(&receiver);
    let status = app.done("me", job.clone(), "a.jpg", jpeg(60, 40, 1)).await;
    let first = receiver.call().await;
    receiver.answer(200);
    let second = receiver.call().await;
    assert_tells(&first, &status, &job, since);
    assert_tells(&second, &status, &job, since);
    assert!(receiver.unexpected().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_owed_survives_a_restart() {
    let (mut app, receiver, since) = (TestApp::start().await, Receiver::start().await, now());
    receiver.answer(503);
    let job = job(&receiver);
    let status = app.done("me", job.clone(), "a.jpg", jpeg(60, 40, 1)).await;
    let refused = receiver.call().await;
    app.stop(std::time::Duration::ZERO).await;
    receiver.answer(200);
    app.restart().await;
    let taken = receiver.call().await;
    assert_tells(&refused, &status, &job, since);
    assert_tells(&taken, &status, &job, since);
}

/// A server that has stopped and owes a callback, which its receiver would take now, and its file of sealing keys.
async fn stopped_and_owing() -> (TestApp, Receiver, Value, Value, PathBuf) {
    let (mut app, receiver) = (TestApp::start().await, Receiver::start().await);
    receiver.answer(503);
    let job = job(&receiver);
    let status = app.done("me", job.clone(), "a.jpg", jpeg(60, 40, 1)).await;
    receiver.call().await;
    app.stop(Duration::ZERO).await;
    receiver.answer(200);
    let keys = app.data_dir().join("vault.key");
    (app, receiver, job, status, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_keys_that_sealed_a_callback_no_new_ones_are_made() {
    let (mut app, receiver, job, status, keys) = stopped_and_owing().await;
    let lost = keys.with_extension("lost");
    std::fs::rename(&keys, &lost).expect("moved");
    let refused = App::start_with(app.config(), ServeOptions::default(), env!("CARGO_BIN_EXE_pixerve").as_ref()).await;
    let refused = refused.map(drop).expect_err("it must not start").to_string();
    assert!(refused.contains("vault.key") && refused.contains("restore it"), "{refused}");
    assert!(!keys.exists());
    std::fs::rename(&lost, &keys).expect("restored");
    app.restart().await;
    assert_tells(&receiver.call().await, &status, &job, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "keys that a test makes up need not be durable")]
async fn a_callback_sealed_with_a_key_that_is_lost_is_delivered_once_that_is_back() {
    let (mut app, receiver, job, status, keys) = stopped_and_owing().await;
    let old = std::fs::read_to_string(&keys).expect("the keys");
    // Rotated by half: the new key is there, and the old one is gone too soon.
    let new = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    std::fs::write(&keys, &new).expect("written");
    app.restart().await;
    // Another's is sealed with the new key. When it has been delivered, the first has been looked at.
    let next = app.done("me", self::job(&receiver), "a.jpg", jpeg(60, 40, 2)).await;
    assert_eq!(receiver.call().await.body["job_id"], next["job_id"]);
    app.stop(Duration::ZERO).await;
    std::fs::write(&keys, format!("{old}{new}\n")).expect("written");
    app.restart().await;
    assert_tells(&receiver.call().await, &status, &job, 0);
    assert!(receiver.unexpected().await.is_none());
}

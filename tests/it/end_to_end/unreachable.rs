//! Stores that are down, come back, or were deregistered: what is told, and what isn't done twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::reserve_port;
use crate::harness::receiver::Receiver;
use crate::harness::stores::{S3Server, dead_store, gcs, s3_at};
use crate::http::events::Stream;

/// Each file below `dir`, by what changes when it is written again.
fn identities(dir: &Path) -> BTreeMap<String, (u64, i64, i64)> {
    let identity = |name: &String| {
        let meta = std::fs::metadata(dir.join(name)).expect("it exists");
        (meta.ino(), meta.mtime(), meta.mtime_nsec())
    };
    files_below(dir).into_iter().map(|name| (name.clone(), identity(&name))).collect()
}

fn backends(file: &Value) -> Vec<&str> {
    file["stored"].as_array().expect("places").iter().filter_map(|place| place["backend"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_which_one_store_is_down_fails_and_names_what_the_others_hold() {
    // Time enough for the other, which all tests share.
    let app = TestApp::start_with(&[("PIXERVE_STORES_GIVE_UP_AFTER", "20s")]).await;
    let (gcs, receiver) = (gcs().await, Receiver::start().await);
    gcs.create_bucket("beside-a-dead-store").await;
    let gcs_key = app.register(gcs.registration("beside-a-dead-store")).await;
    let s3_key = app.register(dead_store()).await;
    let job = json!({
        "directHost": true, "storageKeys": { "s3": s3_key, "gcs": gcs_key }, "keepOriginal": true,
        "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[8]] } }
    });
    let status = app.done("me", job, "a.jpg", jpeg(40, 30, 1)).await;

    assert_eq!(status["state"], "failed", "{status}");
    assert_eq!(status["progress"], json!({ "done": 0, "total": 4 }), "none of them is everywhere");
    let files = status["files"].as_array().expect("files");
    assert_eq!(files.len(), 4, "{status}");
    assert!(files.iter().all(|file| backends(file) == ["directHost", "gcs"]), "{status}");
    for file in files {
        app.file(file["stored"][0]["location"].as_str().expect("a location")).await;
    }
    assert_eq!(gcs.keys("beside-a-dead-store").await.len(), 4);
    let error = status["error"].as_str().expect("an error");
    assert!(error.contains("bucket `nowhere`") && error.contains("Connection refused"), "{error}");

    let call = receiver.call().await.body;
    assert_eq!(
        (&call["status"], &call["files"], &call["error"]),
        (&json!("failed"), &status["files"], &status["error"])
    );
    let record = app.get_json(&format!("/failures?hash={}", status["hash"].as_str().expect("a hash"))).await;
    for told in [&status, &call, &record] {
        assert_eq!(told["error_code"], "store_unreachable", "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_a_store_that_is_down_and_the_status_says_for_which_and_since_when() {
    let app = TestApp::start().await;
    let half = HalfStored::start(&app, "while-it-waits").await;
    let waits = |status: &Value| status["waiting_for"].is_array();
    let status = app.wait_for(&half.accepted, "to wait for a store", waits).await;
    let [outage] = status["waiting_for"].as_array().expect("stores").as_slice() else { panic!("one store: {status}") };
    assert_eq!(
        (&outage["backend"], &outage["access_key"], &outage["reason"]),
        (&json!("s3"), &json!(half.key), &json!("unreachable"))
    );
    assert!(outage["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{outage}");
    assert!(!status.to_string().contains(&half.addr.to_string()), "an address is the operator's: {status}");
    assert_eq!((&status["state"], &status["error"]), (&json!("processing"), &Value::Null), "{status}");
    assert_eq!(status["files"].as_array().map(Vec::len), Some(5), "what is stored is shown: {status}");
    // Neither a worker nor memory is kept for it.
    while app.get_json("/health").await["checks"]["workers"]["busy"] != 0 {
        poll_delay().await;
    }

    let before = identities(&app.serve_dir());
    let s3 = s3_at(half.addr, &[half.bucket]).await;
    let status = half.assert_completes(&app, &s3).await;
    assert_eq!(identities(&app.serve_dir()), before, "what was there was written again");
    assert_eq!((&status["attempt"], &status["waiting_for"]), (&json!(1), &Value::Null), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_a_job_hears_that_it_waits_for_a_store_and_that_it_no_longer_does() {
    let app = TestApp::start().await;
    let half = HalfStored::start(&app, "while-watched").await;
    let mut stream = Stream::of(&app, &half.accepted).await;
    while !stream.next().await.expect("it goes on").data["waiting_for"].is_array() {}
    let _s3 = s3_at(half.addr, &[half.bucket]).await;
    let events = stream.rest().await;
    let end = events.last().expect("the end");
    assert_eq!(
        (end.name.as_str(), &end.data["state"], &end.data["waiting_for"]),
        ("end", &json!("completed"), &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_is_gone_for_a_while_costs_a_waiting_job_nothing() {
    let app = TestApp::start().await;
    let half = HalfStored::start(&app, "without-a-spool").await;
    app.wait_for(&half.accepted, "to wait for a store", |status| status["waiting_for"].is_array()).await;
    let (jobs, away) = (app.data_dir().join("spool/jobs"), app.data_dir().join("spool/away"));
    std::fs::rename(&jobs, &away).expect("taken away");
    let s3 = s3_at(half.addr, &[half.bucket]).await;
    let status = app.wait_for(&half.accepted, "to miss the spool", |status| status["error"].is_string()).await;
    assert_eq!((&status["state"], &status["attempt"]), (&json!("pending"), &json!(0)), "{status}");
    std::fs::rename(&away, &jobs).expect("put back");
    let status = half.assert_completes(&app, &s3).await;
    assert_eq!(status["attempt"], 1, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_for_stores_keep_no_other_from_being_made() {
    let app = TestApp::start_with(&[("PIXERVE_MAX_WORKERS", "1")]).await;
    let dead = app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": dead }, "formats": { "jpg": { "sizes": [[16], [8]] } } });
    for seed in 0..12 {
        app.accepted("flood", job.clone(), "a.jpg", jpeg(20, 20, seed)).await;
    }
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[16]] } } });
    let status = app.done("me", job, "b.jpg", jpeg(20, 20, 100)).await;
    assert_eq!(status["state"], "completed", "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_a_restart_is_not_written_again_after_it() {
    let mut app = TestApp::start().await;
    let half = HalfStored::start(&app, "after-a-restart").await;
    app.stop(Duration::ZERO).await;
    let before = identities(&app.serve_dir());
    let s3 = s3_at(half.addr, &[half.bucket]).await;
    app.restart().await;
    let status = half.assert_completes(&app, &s3).await;
    assert_eq!(identities(&app.serve_dir()), before, "what was there was written again");
    assert_eq!(status["attempt"], 1, "an attempt that the server ended doesn't count");
}

/// A job that is stored in our own directory and waits for a store that is down.
struct HalfStored {
    accepted: Value,
    addr: SocketAddr,
    bucket: &'static str,
    key: String,
}

impl HalfStored {
    async fn start(app: &TestApp, bucket: &'static str) -> Self {
        let addr = reserve_port();
        let absent = s3_at(addr, &[]).await;
        let registration = absent.registration(bucket);
        absent.stop().await;
        let key = app.register(registration).await;
        let job = json!({
            "directHost": true, "storageKeys": { "s3": &key }, "keepOriginal": true,
            "formats": { "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[0, 0]] }, "png": { "sizes": [[8]] } }
        });
        let accepted = app.accepted("me", job, "a.jpg", jpeg(40, 30, 1)).await;
        // Not the files themselves: a write that was not noted before the stop is done again, which is harmless.
        while noted(&app.data_dir(), &accepted) < 5 {
            poll_delay().await;
        }
        Self { accepted, addr, bucket, key }
    }

    async fn assert_completes(&self, app: &TestApp, s3: &S3Server) -> Value {
        let status = app.ended(&self.accepted).await;
        assert_eq!((&status["state"], &status["error"]), (&json!("completed"), &Value::Null), "{status}");
        let files = status["files"].as_array().expect("files");
        assert_eq!(files.len(), 5, "{status}");
        for file in files {
            assert_eq!(backends(file), ["directHost", "s3"], "{status}");
            let name = file["name"].as_str().expect("a name");
            let object = s3.object(self.bucket, name).await.expect("it is in the store that came back");
            assert_eq!(object.bytes, app.file(&format!("/files/{name}")).await, "{name}");
        }
        status
    }
}

/// How many files the job has noted as stored.
fn noted(data_dir: &Path, accepted: &Value) -> usize {
    let id = accepted["job_id"].as_str().expect("an id");
    let journal = data_dir.join("spool/jobs").join(id).join("stored.jsonl");
    let lines = std::fs::read_to_string(journal).unwrap_or_default();
    lines.lines().filter(|line| line.contains("\"stored\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_deregistered_while_a_job_waits_for_it_fails_the_job_and_the_error_says_so() {
    let app = TestApp::start().await;
    let half = HalfStored::start(&app, "deregistered").await;
    app.wait_for(&half.accepted, "to wait for a store", |status| status["waiting_for"].is_array()).await;
    let path = format!("/register?access_key={}", half.key);
    let problem = assert_problem(app.admin(Method::DELETE, &path, None).await, 409, "store_in_use").await;
    assert_eq!(problem["jobs"], 1, "{problem}");
    assert_eq!(app.admin(Method::DELETE, &format!("{path}&force=true"), None).await.status(), 204);
    let s3 = s3_at(half.addr, &[half.bucket]).await;
    let status = app.ended(&half.accepted).await;

    assert_eq!((&status["state"], &status["attempt"]), (&json!("failed"), &json!(1)), "{status}");
    let error = status["error"].as_str().expect("an error");
    assert!(error.contains("s3") && error.contains("deregistered"), "{error}");
    assert!(!error.contains(&half.key), "an access key is the client's: {error}");
    assert_eq!(backends(&status["files"][0]), ["directHost"]);
    assert_eq!(s3.keys(half.bucket).await, Vec::<String>::new());
}

//! `DELETE /cancel` in every state, by everybody.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, files_below, small_job, spooled};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;
use crate::sandbox::FakeChild;

async fn cancel(app: &TestApp, sub: &str, of: &Value) -> Response {
    let path = format!("/cancel?hash={}", of["hash"].as_str().expect("a hash"));
    app.request(Method::DELETE, &path).bearer_auth(Claims::of(sub).sign()).send().await.expect("an answer")
}

/// A server with one worker, which waits a minute for a store that is not there.
async fn busy() -> (TestApp, String) {
    let app = TestApp::start_with(&[("PIXERVE_MAX_WORKERS", "1")]).await;
    let s3 = app.register(dead_store()).await;
    (app, s3)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pending_job_never_starts_and_makes_no_callback() {
    let never_done = FakeChild::new("sleep 600");
    let app = TestApp::start_on(never_done.path(), &[("PIXERVE_MAX_WORKERS", "1")]).await;
    let receiver = Receiver::start().await;
    let first = app.accepted("me", small_job(), "a.jpg", jpeg(16, 16, 1)).await;
    app.processing(&first).await;
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    let waiting = app.accepted("me", job, "b.jpg", jpeg(16, 16, 2)).await;

    assert_eq!(cancel(&app, "me", &waiting).await.status(), 204);
    let status = app.ended(&waiting).await;
    assert_eq!((&status["state"], &status["attempt"]), (&json!("cancelled"), &json!(0)));
    assert_eq!(cancel(&app, "me", &first).await.status(), 204);
    assert_eq!(files_below(&app.serve_dir()), Vec::<String>::new());
    assert_eq!(spooled(&app.data_dir()), Vec::<String>::new(), "the originals are where nobody looks for work");
    assert_eq!(files_below(&app.data_dir().join("spool/kept")).len(), 4, "of each its original and its manifest");
    assert!(receiver.unexpected().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processing_job_stops_and_what_was_stored_stays() {
    let (app, s3) = busy().await;
    let receiver = Receiver::start().await;
    let job = json!({
        "directHost": true, "storageKeys": { "s3": s3 }, "completionCallback": receiver.url,
        "formats": { "jpg": { "sizes": [[8], [16]] } }
    });
    let accepted = app.accepted("me", job.clone(), "a.jpg", jpeg(32, 32, 1)).await;
    app.processing(&accepted).await;
    while files_below(&app.serve_dir()).len() < 2 {
        crate::harness::app::poll_delay().await;
    }
    assert_eq!(cancel(&app, "me", &accepted).await.status(), 204);
    let status = app.ended(&accepted).await;
    assert_eq!(status["state"], "cancelled");
    assert_eq!(files_below(&app.serve_dir()).len(), 2);
    let named = status["files"].as_array().expect("files");
    assert_eq!(named.len(), 2, "the record names what is there: {status}");
    assert!(named.iter().all(|file| file["stored"][0]["backend"] == "directHost"), "{status}");
    assert!(receiver.unexpected().await.is_none());

    let again = app.accepted("me", job, "a.jpg", jpeg(32, 32, 1)).await;
    assert_ne!(again["job_id"], accepted["job_id"], "the same bytes may be uploaded again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_for_it_tells_that_it_was_cancelled_and_of_nothing_else() {
    let (app, s3) = busy().await;
    let receiver = Receiver::start().await;
    let mut job = json!({
        "storageKeys": { "s3": s3 }, "completionCallback": receiver.url, "callbackEvents": ["job.cancelled"],
        "formats": { "jpg": { "sizes": [[8]] } }
    });
    let accepted = app.accepted("me", job.clone(), "a.jpg", jpeg(32, 32, 1)).await;
    app.processing(&accepted).await;
    assert_eq!(cancel(&app, "me", &accepted).await.status(), 204);
    let status = app.ended(&accepted).await;

    let call = receiver.call().await;
    let id = accepted["job_id"].as_str().expect("an id");
    assert_eq!(call.headers["webhook-id"], format!("{id}_cancelled").as_str());
    let told = ["type", "status", "job_id", "hash", "ended_at"].map(|field| call.body[field].clone());
    let [hash, ended_at] = ["hash", "finished_at"].map(|field| status[field].clone());
    assert_eq!(told, [json!("job.cancelled"), json!("cancelled"), json!(id), hash, ended_at]);
    assert_eq!(call.body["files"], status["files"]);

    job["directHost"] = json!(true);
    job.as_object_mut().expect("an object").remove("storageKeys");
    app.done("me", job, "b.jpg", jpeg(32, 32, 2)).await;
    assert!(receiver.unexpected().await.is_none(), "it didn't ask to be told that it completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_job_is_a_409() {
    let app = TestApp::start().await;
    let status = app.done("me", small_job(), "a.jpg", jpeg(16, 16, 1)).await;
    assert_problem(cancel(&app, "me", &status).await, 409, "job_ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_owners_job_looks_like_an_unknown_one_but_an_admin_may() {
    let (app, s3) = busy().await;
    let job = json!({ "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[8]] } } });
    let accepted = app.accepted("me", job, "a.jpg", jpeg(16, 16, 1)).await;
    let foreign = assert_problem(cancel(&app, "eve", &accepted).await, 404, "not_found").await;
    let nothing = json!({ "hash": format!("{}_eve", "0".repeat(64)) });
    let unknown = assert_problem(cancel(&app, "eve", &nothing).await, 404, "not_found").await;
    assert_eq!(foreign["detail"], unknown["detail"]);
    let path = format!("/cancel?hash={}", accepted["hash"].as_str().expect("a hash"));
    assert_eq!(app.admin(Method::DELETE, &path, None).await.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_needs_a_token_and_a_hash() {
    let app = TestApp::start().await;
    let without = app.request(Method::DELETE, "/cancel?hash=x").send().await.expect("an answer");
    assert_problem(without, 401, "unauthorized").await;
    assert_problem(app.admin(Method::DELETE, "/cancel", None).await, 400, "bad_request").await;
}

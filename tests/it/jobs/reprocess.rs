//! `POST /reprocess`: another job on bytes that are there.

use std::fs::File;
use std::io::Write;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::home::{JobsHome, RegisteredUser, admin, get, text, with_scope};
use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::{jpeg, png};
use crate::harness::stores::{dead_store, gcs, s3};
use crate::harness::token::Claims;
use crate::http::idempotency::KEY;
use crate::http::once::once;

every_home! {
    bytes_that_are_kept_or_wait_are_worked_on_again,
    a_stored_original_is_worked_on_again_unless_it_was_replaced,
    what_is_wrong_with_the_job_is_said_before_that_the_bytes_are_gone,
    the_job_is_of_whoever_the_picture_is_of,
    a_repeated_request_is_answered_as_before,
    limits_of_an_upload_hold,
}

/// One with the original, whose files are served.
fn keeping() -> Value {
    json!({ "directHost": true, "keepOriginal": true, "formats": { "jpg": { "sizes": [[16]] } } })
}

/// Another one.
fn another() -> Value {
    json!({ "directHost": true, "formats": { "webp": { "sizes": [[24]] } } })
}

fn manager(job: Value) -> Claims {
    with_scope(&Claims::of("me"), "manage").job(job)
}

async fn reprocess(app: &TestApp, token: &Claims, query: &str) -> Response {
    let request = app.request(Method::POST, &format!("/reprocess?{query}")).bearer_auth(token.sign());
    request.send().await.expect("an answer")
}

/// The answer, and what the job came to.
async fn reprocessed(app: &TestApp, token: &Claims, query: &str) -> (Value, Value) {
    let response = reprocess(app, token, query).await;
    let status = response.status();
    let accepted: Value = response.json().await.expect("JSON");
    assert_eq!(status, StatusCode::OK, "{accepted}");
    let ended = app.ended(&accepted).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    (accepted, ended)
}

async fn cancel(app: &TestApp, id: &str) {
    let request = app.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(Claims::of("me").sign());
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
}

async fn bytes_that_are_kept_or_wait_are_worked_on_again(home: JobsHome) {
    let app = home.start(&[]).await;
    let store = app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } } });
    let live = app.accepted("me", job, "lamp.jpg", jpeg(40, 30, 1)).await;
    let query = format!("job_id={}", text(&live["job_id"]));
    let problem = assert_problem(reprocess(&app, &manager(another()), &query).await, 409, "duplicate_job").await;
    assert_eq!(problem["job_id"], live["job_id"]);
    // It waits for the end of the one whose bytes it has.
    let mut queued = another();
    queued["onDuplicate"] = json!("queue");
    let waiting: Value = reprocess(&app, &manager(queued.clone()), &query).await.json().await.expect("JSON");
    assert_eq!((&waiting["reprocess_of"], &waiting["hash"]), (&live["job_id"], &live["hash"]));
    let same: Value = reprocess(&app, &manager(queued), &query).await.json().await.expect("JSON");
    assert_eq!((&same["duplicate"], &same["job_id"]), (&json!(true), &waiting["job_id"]));
    cancel(&app, text(&live["job_id"])).await;
    let ended = app.ended(&waiting).await;
    assert_eq!((&ended["state"], &ended["reprocess_of"]), (&json!("completed"), &live["job_id"]));

    // The original of a cancelled job is kept.
    let (accepted, ended) = reprocessed(&app, &manager(keeping()), &query).await;
    assert_eq!((&accepted["reprocess_of"], &ended["reprocess_of"]), (&live["job_id"], &live["job_id"]));
    let names: Vec<_> = ended["files"].as_array().expect("files").iter().map(|file| &file["name"]).collect();
    assert_eq!(json!(names), accepted["expected_files"]);
    assert!(text(names[0]).contains("_lamp_"), "the file's name is the first one's: {names:?}");
    let record = app.get_json(&format!("/success?job_id={}", text(&accepted["job_id"]))).await;
    assert_eq!(record["reprocess_of"], live["job_id"]);
    let original = app.file(text(&ended["files"][1]["stored"][0]["location"])).await;
    assert_eq!(original, jpeg(40, 30, 1));
}

async fn a_stored_original_is_worked_on_again_unless_it_was_replaced(home: JobsHome) {
    let (app, s3) = (home.start(&[]).await, s3().await);
    s3.create_bucket("kept");
    let key = app.register(s3.registration("kept")).await;
    let mut job = keeping();
    job["storageKeys"] = json!({ "s3": key });
    let done = app.done("me", job, "lamp.jpg", jpeg(40, 30, 1)).await;
    home.leave_spool(&app, text(&done["job_id"])).await;
    let query = format!("hash={}", text(&done["hash"]));
    let (second, ended) = reprocessed(&app, &manager(another()), &query).await;
    assert_eq!((&second["reprocess_of"], &ended["files"][0]["width"]), (&done["job_id"], &json!(24)));
    home.leave_spool(&app, text(&second["job_id"])).await;
    // The newest of this hash has no original of its own, but that of the one whose bytes it was given.
    let (third, _) = reprocessed(&app, &manager(another()), &query).await;
    assert_eq!(third["reprocess_of"], second["job_id"]);

    let name = text(&done["files"][1]["name"]);
    let served = home.serve_dir(&app).join(name);
    File::create(served).and_then(|mut file| file.write_all(&png(40, 30, 2))).expect("written");
    let query = format!("job_id={}", text(&done["job_id"]));
    // From the other store, once the first has something else.
    reprocessed(&app, &manager(another()), &query).await;
    s3.put("kept", name, b"something else".to_vec()).await;
    assert_problem(reprocess(&app, &manager(another()), &query).await, 410, "original_gone").await;
    // One that can't be asked may have it.
    s3.stop().await;
    assert_problem(reprocess(&app, &manager(another()), &query).await, 503, "unavailable").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_original_is_read_from_every_kind_of_store() {
    let (app, s3, gcs) = (TestApp::start().await, s3().await, gcs().await);
    s3.create_bucket("originals");
    gcs.create_bucket("reprocessed-originals").await;
    let s3_key = app.register(s3.registration("originals")).await;
    let gcs_key = app.register(gcs.registration("reprocessed-originals")).await;
    for (seed, keys) in [(1, json!({ "s3": s3_key })), (2, json!({ "gcs": gcs_key }))] {
        let job = json!({ "storageKeys": keys, "subDir": "a/b", "keepOriginal": true, "formats": {} });
        let done = app.done("me", job, "lamp.jpg", jpeg(40, 30, seed)).await;
        assert_eq!(done["state"], "completed", "{done}");
        let (_, ended) = reprocessed(&app, &manager(keeping()), &format!("job_id={}", text(&done["job_id"]))).await;
        assert_eq!(app.file(text(&ended["files"][1]["stored"][0]["location"])).await, jpeg(40, 30, seed));
    }
}

async fn what_is_wrong_with_the_job_is_said_before_that_the_bytes_are_gone(home: JobsHome) {
    let app = home.start(&[]).await;
    let mut job = keeping();
    job["keepOriginal"] = json!(false);
    let done = app.done("me", job, "lamp.jpg", jpeg(40, 30, 1)).await;
    let query = format!("job_id={}", text(&done["job_id"]));
    home.leave_spool(&app, text(&done["job_id"])).await;
    let gone = assert_problem(reprocess(&app, &manager(another()), &query).await, 410, "original_gone").await;
    assert!(text(&gone["detail"]).contains("upload it again"), "{gone}");
    let too_wide = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[0, 40000]], "enlarge": true } } });
    for (job, pointer) in [
        (json!({ "directHost": true, "formats": { "bmp": {} } }), "/job/formats/bmp"),
        (json!({ "storageKeys": { "s3": "pxs_none" }, "formats": { "jpg": {} } }), "/job/storageKeys/s3"),
        (too_wide, "/job/formats"),
    ] {
        let problem = assert_problem(reprocess(&app, &manager(job), &query).await, 422, "invalid_fields").await;
        assert!(text(&problem["errors"][0]["pointer"]).starts_with(pointer), "{problem}");
    }
    let without = with_scope(&Claims::of("me"), "manage");
    assert_problem(reprocess(&app, &without, &query).await, 422, "invalid_fields").await;
    let mut small = another();
    small["maxBytes"] = json!(100);
    assert_problem(reprocess(&app, &manager(small), &query).await, 413, "too_large").await;
    let without_scope = Claims::of("me").job(another());
    assert_problem(reprocess(&app, &without_scope, &query).await, 403, "forbidden").await;
    let others = with_scope(&Claims::of("you"), "manage").job(another());
    assert_problem(reprocess(&app, &others, &query).await, 404, "not_found").await;
    assert_problem(reprocess(&app, &manager(another()), "").await, 400, "bad_request").await;
    assert_problem(reprocess(&app, &manager(another()), "job_id=1").await, 400, "bad_request").await;
}

async fn the_job_is_of_whoever_the_picture_is_of(home: JobsHome) {
    let app = home.start(&[]).await;
    let shop = RegisteredUser::register(&app, "shop").await;
    let mut registration = dead_store();
    registration["user"] = json!("shop");
    let store = app.register(registration).await;
    let customer = shop.claims("customer");
    let response = app.upload(&customer.clone().job(keeping()).sign(), "lamp.jpg", jpeg(40, 30, 1)).await;
    let uploaded = app.ended(&response.json().await.expect("JSON")).await;
    let query = format!("job_id={}", text(&uploaded["job_id"]));
    for token in [admin(), with_scope(&shop.claims("backend"), "manage-user")] {
        let (again, ended) = reprocessed(&app, &token.job(another()), &query).await;
        assert_eq!(again["hash"], uploaded["hash"]);
        assert!(text(&ended["files"][0]["name"]).starts_with(text(&uploaded["hash"])));
        let own = get(&app, &with_scope(&customer, "manage"), "/jobs").await;
        assert_eq!(own["jobs"][0]["job_id"], again["job_id"], "its owner sees it");
    }
    let of_store = json!({ "storageKeys": { "s3": store }, "formats": {}, "keepOriginal": true });
    let response = reprocess(&app, &admin().job(of_store), &query).await;
    assert_eq!(response.status(), StatusCode::OK, "its stores are those that the owner may use");
    let live: Value = response.json().await.expect("JSON");
    let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={}", text(&live["job_id"])));
    assert_eq!(cancel.bearer_auth(admin().sign()).send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
}

async fn a_repeated_request_is_answered_as_before(home: JobsHome) {
    let app = home.start(&[]).await;
    let done = app.done("me", keeping(), "lamp.jpg", jpeg(40, 30, 1)).await;
    let send = async |token: &Claims, query: &str, key: &str| {
        let request = app.request(Method::POST, &format!("/reprocess?{query}")).bearer_auth(token.sign());
        request.header("idempotency-key", key).send().await.expect("an answer")
    };
    let by_hash = format!("hash={}", text(&done["hash"]));
    let token = manager(another());
    let first = send(&token, &by_hash, KEY).await;
    assert!(!first.headers().contains_key("idempotency-replayed"));
    let first = first.text().await.expect("text");
    let accepted: Value = serde_json::from_str(&first).expect("JSON");
    // Also once the newest of this hash is another one, and it has ended.
    for _ in 0..2 {
        let again = send(&token, &by_hash, &format!("\"{KEY}\"")).await;
        assert_eq!(
            (again.status(), &again.headers()["idempotency-replayed"]),
            (StatusCode::OK, &"true".parse().expect("a value"))
        );
        assert_eq!(again.text().await.expect("text"), first);
        app.ended(&accepted).await;
    }
    let by_id = format!("job_id={}", text(&done["job_id"]));
    for (token, query) in [(&manager(keeping()), &by_hash), (&token, &by_id)] {
        assert_problem(send(token, query, KEY).await, 422, "idempotency_key_reused").await;
    }
    assert_problem(send(&token, &by_hash, "short").await, 400, "bad_idempotency_key").await;
    // A refusal leaves the key free.
    let key = "another-key-0123456789";
    assert_problem(send(&manager(json!({})), &by_hash, key).await, 422, "invalid_fields").await;
    assert_eq!(send(&token, &by_id, key).await.status(), StatusCode::OK);
    let jobs = get(&app, &with_scope(&Claims::of("me"), "manage"), "/jobs").await;
    assert_eq!(jobs["count"], 3, "{jobs}");
}

async fn limits_of_an_upload_hold(home: JobsHome) {
    let app = home.start(&[("PIXERVE_SERVER_RATE_PER_USER", "3")]).await;
    let done = app.done("me", keeping(), "lamp.jpg", jpeg(40, 30, 1)).await;
    let query = format!("job_id={}", text(&done["job_id"]));
    let token = with_scope(&once("me", "token-1"), "manage").job({
        let mut job = another();
        job["once"] = json!(true);
        job
    });
    let (used_by, _) = reprocessed(&app, &token, &query).await;
    let problem = assert_problem(reprocess(&app, &token, &query).await, 409, "token_used").await;
    assert_eq!(problem["job_id"], used_by["job_id"]);
    loop {
        let answer = reprocess(&app, &manager(another()), &query).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_problem(answer, 429, "too_many_requests").await;
            return;
        }
    }
}

//! `/status`, `/success`, `/failures` and their lists.

use pixerve::job::ContentHash;
use reqwest::Method;
use serde_json::{Value, json};

use super::upload::dead_store;
use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::stores::GIVES_UP_SOON;
use crate::harness::token::Claims;

fn hash(of: &Value) -> &str {
    of["hash"].as_str().expect("a hash")
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_a_job_by_hash_and_by_id() {
    let app = TestApp::start().await;
    let done = app.done("me", small_job(), "a.jpg", jpeg(100, 50, 1)).await;
    let by_hash = app.get_json(&format!("/status?hash={}", hash(&done))).await;
    assert_eq!(by_hash, done);
    for field in ["hash", "job_id", "created_at", "started_at", "finished_at"] {
        assert!(done[field].is_string(), "{field}: {done}");
    }
    assert_eq!((&done["priority"], &done["attempt"], &done["error"]), (&json!(0), &json!(1), &Value::Null));
    let file = &done["files"][0];
    assert_eq!((&file["format"], &file["width"], &file["height"]), (&json!("jpg"), &json!(64), &json!(32)));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_a_parameter_is_a_400_and_of_an_unknown_job_a_404() {
    let app = TestApp::start().await;
    assert_problem(app.get("/status").await, 400, "bad_request").await;
    assert_problem(app.get("/status?hash=").await, 400, "bad_request").await;
    assert_problem(app.get("/status?job_id=no-uuid").await, 400, "bad_request").await;
    assert_problem(app.get("/status?hash=nonsense").await, 404, "not_found").await;
    assert_problem(app.get(&format!("/status?hash={}_me", "a".repeat(64))).await, 404, "not_found").await;
    assert_problem(app.get("/status?job_id=01890a5d-ac96-774b-bcce-b302099a8057").await, 404, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn success_and_failures_tell_the_state_the_job_is_really_in() {
    let app = TestApp::start_with(&GIVES_UP_SOON).await;
    let s3 = app.register(dead_store()).await;
    let done = app.done("me", small_job(), "a.jpg", jpeg(64, 64, 1)).await;
    let job = json!({ "storageKeys": { "s3": s3 }, "callbackHeaders": { "X-Key": "canary-header" }, "formats": { "jpg": {} } });
    let failed = app.done("me", job, "b.jpg", jpeg(64, 64, 2)).await;
    assert_eq!(failed["state"], "failed");

    for route in ["success", "failures"] {
        let record = app.get_json(&format!("/{route}?hash={}", hash(&done))).await;
        assert_eq!(
            (&record["hash"], &record["status"], &record["file_count"]),
            (&done["hash"], &json!("success"), &json!(1))
        );
        assert_eq!(record["files"], done["files"]);
        assert!(record["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')), "{record}");
        let job_data: Value = serde_json::from_str(record["job_data"].as_str().expect("a string")).expect("of JSON");
        assert_eq!(job_data["directHost"], true);

        let record = app.get_json(&format!("/{route}?hash={}", hash(&failed))).await;
        assert_eq!(record["status"], "failed");
        assert_eq!(record["error"], failed["error"]);
        let text = record.to_string();
        assert!(!text.contains("canary-header") && !text.contains(&s3), "{text}");

        let unknown = format!("{}_me", "b".repeat(64));
        let response = app.get(&format!("/{route}?hash={unknown}")).await;
        assert_eq!(response.status(), 200);
        let record: Value = response.json().await.expect("JSON");
        assert_eq!((&record["hash"], &record["status"]), (&json!(unknown), &json!("not_found")));
        assert!(record["message"].is_string());
        assert_problem(app.get(&format!("/{route}")).await, 400, "bad_request").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_job_is_reported_as_it_is() {
    let app = TestApp::start().await;
    let s3 = app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": s3 }, "formats": { "jpg": {} } });
    let accepted = app.accepted("me", job, "b.jpg", jpeg(64, 64, 2)).await;
    app.processing(&accepted).await;
    let record = app.get_json(&format!("/success?hash={}", hash(&accepted))).await;
    assert_eq!(record["status"], "processing");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_is_stored_while_the_job_is_processing() {
    let app = TestApp::start().await;
    let s3 = app.register(dead_store()).await;
    let job = json!({
        "directHost": true, "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[16], [8]] }, "png": {} }
    });
    let accepted = app.accepted("me", job, "a.jpg", jpeg(32, 32, 1)).await;
    let all_served = |status: &Value| status["files"].as_array().is_some_and(|files| files.len() == 3);
    let status = app.wait_for(&accepted, "to have its files in one store", all_served).await;

    assert_eq!(status["state"], "processing", "{status}");
    assert_eq!(status["progress"], json!({ "done": 0, "total": 3 }), "none of them is in every store");
    let files = status["files"].as_array().expect("files");
    let names: Vec<_> = files.iter().map(|file| file["name"].clone()).collect();
    assert_eq!(json!(names), accepted["expected_files"], "in the order in which the job asked for them");
    for file in files {
        assert_eq!(file["stored"].as_array().map(Vec::len), Some(1), "the dead store holds nothing: {file}");
        assert_eq!(file["stored"][0]["backend"], "directHost");
        let served = app.file(file["stored"][0]["location"].as_str().expect("a location")).await;
        assert_eq!(file["bytes"], served.len(), "{file}");
        assert_eq!(file["sha256"], ContentHash::of(&served).to_string(), "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_newest_first_and_paged_for_admins_only() {
    let app = TestApp::start().await;
    let mut hashes = Vec::new();
    for seed in 0..5 {
        hashes.push(hash(&app.done("me", small_job(), "a.jpg", jpeg(32, 32, seed)).await).to_owned());
    }
    hashes.reverse();
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let response = app.admin(Method::GET, &format!("/success/list?limit=2&cursor={cursor}"), None).await;
        assert_eq!(response.status(), 200);
        let page: Value = response.json().await.expect("JSON");
        let records = page["success_records"].as_array().expect("records");
        assert_eq!(page["count"], records.len());
        seen.extend(records.iter().map(|record| hash(record).to_owned()));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!((seen, pages), (hashes, 3));

    let failures: Value = app.admin(Method::GET, "/failures/list", None).await.json().await.expect("JSON");
    assert_eq!(failures, json!({ "failures": [], "count": 0, "next_cursor": null }));
    for path in ["/success/list", "/failures/list"] {
        assert_problem(app.get(path).await, 401, "unauthorized").await;
        let user = app.request(Method::GET, path).bearer_auth(Claims::of("me").sign()).send().await.expect("an answer");
        assert_problem(user, 403, "forbidden").await;
        let bad = app.admin(Method::GET, &format!("{path}?cursor=%21%21"), None).await;
        assert_problem(bad, 400, "bad_request").await;
        let bad = app.admin(Method::GET, &format!("{path}?limit=many"), None).await;
        assert_problem(bad, 400, "bad_parameter").await;
    }
}

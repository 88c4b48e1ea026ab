//! The README's examples of answers have the fields and types of real ones.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Workshop, piece};
use crate::harness::app::assert_problem;
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::stores::dead_store;
use crate::harness::token::Claims;

/// What is compared.
pub(super) const SHOWN: [&str; 8] = [
    "accepted.json",
    "pending.json",
    "completed.json",
    "failed.json",
    "job-completed.json",
    "job-failed.json",
    "file-stored.json",
    "problem.json",
];

/// Every field of `value` with the type of what it holds. Of an array the elements say the same, or nothing where there
/// are none.
fn shape(value: &Value) -> BTreeMap<String, &'static str> {
    let mut shape = BTreeMap::new();
    add(value, "", &mut shape);
    shape
}

fn add(value: &Value, path: &str, shape: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    shape.insert(path.to_owned(), kind);
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| add(element, &format!("{path}/-"), shape)),
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| add(field, &format!("{path}/{name}"), shape));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_that_the_readme_shows_has_the_shape_of_a_real_one() {
    let workshop = Workshop::open().await;
    let (server, receiver) = (&workshop.server, Receiver::start().await);
    let photo = json!({
        "ref": "lamp", "formats": { "webp": { "sizes": [[400]] } }, "directHost": true, "subDir": "products/lamp", "onDuplicate": "queue",
        "completionCallback": receiver.url, "callbackEvents": ["job.completed", "job.failed", "file.stored"],
    });
    let mut real = BTreeMap::new();
    let called = async || {
        let call = receiver.call().await;
        (call.body["type"].as_str().expect("a type").to_owned(), call.body)
    };

    // Behind another one of the same bytes and owner, which waits for its store.
    let store = server.register(dead_store()).await;
    let first = json!({ "storageKeys": { "s3": store }, "keepOriginal": true });
    let first = server.accepted("alice", first, "photo.jpg", jpeg(900, 600, 2)).await;
    let accepted = server.accepted("alice", photo.clone(), "photo.jpg", jpeg(900, 600, 2)).await;
    real.insert("pending.json", server.get_json(accepted["status_url"].as_str().expect("a URL")).await);
    let cancel = format!("/cancel?job_id={}", first["job_id"].as_str().expect("an id"));
    let cancelled = server.request(Method::DELETE, &cancel).bearer_auth(Claims::of("alice").sign());
    assert_eq!(cancelled.send().await.expect("an answer").status(), 204);

    let delivered = |status: &Value| status["callback"]["state"] == "delivered";
    real.insert("completed.json", server.wait_for(&accepted, "to be told of", delivered).await);
    let mut calls: BTreeMap<_, _> = [called().await].into();
    let mut cut = jpeg(900, 600, 3);
    cut.truncate(cut.len() / 2);
    let failed = server.accepted("alice", photo.clone(), "photo.jpg", cut).await;
    real.insert("failed.json", server.wait_for(&failed, "to be told of", delivered).await);
    real.insert("accepted.json", accepted);
    // A file's call is owed until the job's end is delivered, so it may never come: this job asks for nothing else.
    let mut only_files = photo.clone();
    only_files["callbackEvents"] = json!(["file.stored"]);
    server.done("alice", only_files, "photo.jpg", jpeg(900, 600, 4)).await;
    while calls.len() < 3 {
        calls.extend([called().await]);
    }
    for (name, kind) in [
        ("job-completed.json", "job.completed"),
        ("job-failed.json", "job.failed"),
        ("file-stored.json", "file.stored"),
    ] {
        real.insert(name, calls.remove(kind).expect("one of each"));
    }
    let mut mistaken = photo;
    mistaken["priority"] = json!(7);
    let refused = server.upload(&Claims::of("alice").job(mistaken).sign(), "photo.jpg", jpeg(90, 60, 5)).await;
    real.insert("problem.json", assert_problem(refused, 422, "invalid_fields").await);

    for name in SHOWN {
        let shown: Value = serde_json::from_str(piece(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shape(&shown), shape(&real[name]), "{name}: {}", real[name]);
        for same in ["state", "type", "status", "code", "error", "error_code", "title", "detail", "errors"] {
            assert_eq!(shown[same], real[name][same], "{same} of {name}");
        }
    }
}

//! What is said of a job's files.

use serde_json::{Value, json};

use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::{jpeg, png};
use crate::harness::receiver::Receiver;

fn cut(mut file: Vec<u8>) -> Vec<u8> {
    file.truncate(file.len() * 2 / 3);
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tolerance_let_through_is_a_warning_in_status_callback_and_record() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = small_job();
    job["tolerant"] = json!(true);
    job["keepOriginal"] = json!(true);
    job["completionCallback"] = json!(receiver.url);
    for (seed, picture) in [(1, cut(jpeg(120, 80, 1))), (2, cut(png(120, 80, 2)))] {
        let status = app.done("me", job.clone(), "a.jpg", picture).await;
        assert_eq!((&status["state"], &status["warnings"]), (&json!("completed"), &json!(["truncated"])), "{seed}");
        assert_eq!(status["files"][0]["warnings"], json!(["truncated"]));
        assert_eq!(status["files"][1].get("warnings"), None, "the original is what was uploaded");
        assert_eq!(receiver.call().await.body["warnings"], json!(["truncated"]));
        let id = status["job_id"].as_str().expect("an id");
        assert_eq!(app.get_json(&format!("/success?job_id={id}")).await["warnings"], json!(["truncated"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_picture_has_no_warnings_however_tolerant_its_job() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = small_job();
    job["tolerant"] = json!(true);
    job["completionCallback"] = json!(receiver.url);
    let status = app.done("me", job, "a.jpg", jpeg(120, 80, 1)).await;
    let record = app.get_json(&format!("/success?job_id={}", status["job_id"].as_str().expect("an id"))).await;
    for answer in [status, record, receiver.call().await.body] {
        assert!(!answer.to_string().contains("warnings"), "{answer}");
    }
    let failed = app.done("me", small_job(), "a.jpg", cut(jpeg(120, 80, 3))).await;
    assert_eq!((&failed["error_code"], failed.get("warnings")), (&json!("image_truncated"), None::<&Value>));
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_come_out_alike_are_one_picture_under_names_of_their_own() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let job = json!({
        "directHost": true, "completionCallback": receiver.url, "sizes": [[800], [20], [400, 0], [0, 0]],
        "formats": { "jpg": {}, "webp": {} }
    });
    let status = app.done("me", job, "a.jpg", jpeg(120, 80, 1)).await;
    assert_eq!(status["state"], "completed", "{status}");
    let files = status["files"].as_array().expect("files");
    assert_eq!(files.len(), 8);
    for of_format in files.chunks(4) {
        let [first, small, second, third] = of_format else { panic!("four sizes: {of_format:?}") };
        for (file, expected) in [(first, None), (small, None), (second, Some(first)), (third, Some(first))] {
            assert_eq!(file.get("same_as"), expected.map(|first| &first["name"]), "{file}");
            let bytes = app.file(file["stored"][0]["location"].as_str().expect("a location")).await;
            assert_eq!(file["bytes"], bytes.len(), "each is there");
        }
        assert_eq!((&second["sha256"], &third["sha256"]), (&first["sha256"], &first["sha256"]));
        assert_ne!(first["name"], second["name"]);
    }
    assert_eq!(receiver.call().await.body["files"], status["files"]);
}

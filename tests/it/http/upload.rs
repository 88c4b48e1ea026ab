//! `POST /upload` when all is well.

use pixerve::job::ContentHash;
use reqwest::multipart::{Form, Part};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem, files_below, small_job};
use crate::harness::picture::{jpeg, png};
pub(crate) use crate::harness::stores::dead_store;
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread")]
async fn upload_answers_with_the_names_of_what_it_will_make() {
    let app = TestApp::start().await;
    let bytes = jpeg(120, 80, 1);
    let job = json!({
        "directHost": true, "keepOriginal": true, "subDir": "tenant-123/a",
        "formats": { "jpg": { "sizes": [[80, 60], [40]] }, "webp": { "sizes": [[0, 50], [0, 0]] }, "png": {}, "jpeg": { "sizes": [[16, 0]] } }
    });
    let accepted = app.accepted("user-123", job, "my photo.final.JPG", bytes.clone()).await;

    let hash = format!("{}_user-123", ContentHash::of(&bytes));
    let stem = format!("{hash}_my-photo.final");
    let expected = [
        format!("{stem}_60_80_.jpg"),
        format!("{stem}_40_40_.jpg"),
        format!("{stem}_50_0_.webp"),
        format!("{stem}_0_0_.webp"),
        format!("{stem}_0_0_.png"),
        format!("{stem}_0_16_.jpg"),
        format!("{stem}.jpg"),
    ];
    assert_eq!(accepted["hash"], hash);
    assert_eq!(accepted["expected_files"], json!(expected));
    let job_id = accepted["job_id"].as_str().expect("a job_id");
    assert_eq!(accepted["status_url"], format!("/status?job_id={job_id}"));

    let status = app.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    assert_eq!(status["progress"], json!({ "done": 7, "total": 7 }));
    let names: Vec<_> = status["files"].as_array().expect("files").iter().map(|f| f["name"].clone()).collect();
    assert_eq!(json!(names), json!(expected));
    let asked: Vec<_> =
        status["files"].as_array().expect("files").iter().map(|f| json!([f["kind"], f["box"]])).collect();
    let variant = |width: u32, height: u32| json!(["variant", [width, height]]);
    let sizes = [(80, 60), (40, 40), (0, 50), (0, 0), (0, 0), (16, 0)];
    let expected: Vec<_> = sizes.iter().map(|(w, h)| variant(*w, *h)).chain([json!(["original", null])]).collect();
    assert_eq!(asked, expected);
    for file in status["files"].as_array().expect("files") {
        let location = file["stored"][0]["location"].as_str().expect("a location");
        assert_eq!(location, format!("/files/tenant-123/a/{}", file["name"].as_str().expect("a name")));
        let stored = app.file(location).await;
        assert_eq!(file["bytes"], stored.len());
        assert_eq!(file["sha256"], ContentHash::of(&stored).to_string());
    }
    assert_eq!(app.file(&format!("/files/tenant-123/a/{stem}.jpg")).await, bytes, "the original is kept as it came");
    assert_eq!(files_below(&app.serve_dir()).len(), 7, "nothing else appears");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_may_come_as_a_part_before_the_file() {
    let app = TestApp::start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let form = Form::new().text("token", token).part("file", Part::bytes(jpeg(32, 32, 2)).file_name("a.jpg"));
    let response = app.request(Method::POST, "/upload").multipart(form).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let accepted: Value = response.json().await.expect("JSON");
    assert_eq!(app.ended(&accepted).await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_extension_is_that_of_its_bytes() {
    let app = TestApp::start().await;
    let job = json!({ "directHost": true, "keepOriginal": true });
    let status = app.done("me", job, "evil.html", png(20, 10, 3)).await;
    let file = &status["files"][0];
    assert!(file["name"].as_str().expect("a name").ends_with("_evil.png"), "{file}");
    assert_eq!((&file["format"], &file["width"], &file["height"]), (&json!("png"), &json!(20), &json!(10)));
    let response = app.get(file["stored"][0]["location"].as_str().expect("a location")).await;
    assert_eq!(response.headers()["content-type"], "image/png");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_of_one_owner_conflict_while_they_are_worked_on() {
    // A long wait for a dead store keeps the first job alive.
    let app = TestApp::start().await;
    let s3 = app.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": s3 }, "formats": { "jpg": { "sizes": [[64]] } } });
    let bytes = jpeg(100, 100, 4);
    let first = app.accepted("me", job.clone(), "a.jpg", bytes.clone()).await;

    let second = app.upload(&Claims::of("me").job(job.clone()).sign(), "b.jpg", bytes.clone()).await;
    let body = assert_problem(second, 409, "duplicate_job").await;
    for field in ["hash", "job_id", "status_url"] {
        assert_eq!(body[field], first[field], "{field}");
    }
    let other = app.accepted("somebody-else", job, "a.jpg", bytes).await;
    assert_ne!(other["job_id"], first["job_id"], "another owner's upload of the same bytes is their own");
    assert_ne!(other["hash"], first["hash"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_upload_after_completion_is_a_new_job_under_the_same_names() {
    let app = TestApp::start().await;
    let bytes = jpeg(100, 100, 5);
    let first = app.done("me", small_job(), "a.jpg", bytes.clone()).await;
    let second = app.done("me", small_job(), "a.jpg", bytes).await;
    assert_eq!((&first["state"], &second["state"]), (&json!("completed"), &json!("completed")));
    assert_ne!(first["job_id"], second["job_id"]);
    assert_eq!(first["files"][0]["name"], second["files"][0]["name"]);
    let newest = app.get_json(&format!("/status?hash={}", second["hash"].as_str().expect("a hash"))).await;
    assert_eq!(newest["job_id"], second["job_id"], "a hash means its newest job");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_with_the_same_bytes_and_subject_get_files_of_their_own() {
    let app = TestApp::start().await;
    let bytes = jpeg(90, 60, 6);
    let mut hashes = vec![app.done("me", small_job(), "a.jpg", bytes.clone()).await["hash"].clone()];
    for user in ["shop", "blog"] {
        let response = app.admin(Method::POST, "/register", Some(json!({ "user": user }))).await;
        let user: Value = response.json().await.expect("JSON");
        let (key, secret) = (user["access_key"].as_str().expect("a key"), user["secret"].as_str().expect("a secret"));
        let token = Claims::of("me").job(small_job()).by(key, secret).sign();
        let response = app.upload(&token, "a.jpg", bytes.clone()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let accepted: Value = response.json().await.expect("JSON");
        assert_eq!(app.ended(&accepted).await["state"], "completed");
        hashes.push(accepted["hash"].clone());
    }
    let digest_form = hashes[1].as_str().expect("a hash").split_once("_h-").expect("the part of a registered user");
    assert_eq!(digest_form.1.len(), 64);
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2], "{hashes:?}");
    assert_eq!(files_below(&app.serve_dir()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploads_of_the_same_bytes_at_once_are_one_job() {
    let app = TestApp::start().await;
    let (token, bytes) = (Claims::of("me").job(small_job()).sign(), jpeg(64, 64, 7));
    let answers = futures_util::future::join_all((0..20).map(|_| app.upload(&token, "a.jpg", bytes.clone()))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert!(statuses.contains(&200) && statuses.iter().all(|s| matches!(s, 200 | 409)), "{statuses:?}");
    for answer in answers.into_iter().filter(|answer| answer.status() == 200) {
        let accepted = answer.json().await.expect("JSON");
        assert_eq!(app.ended(&accepted).await["state"], "completed");
    }
}

//! The names of `unique` jobs: no other job writes them, whatever comes between, so caches keep what is there for good.

use std::fs;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::jpeg;
use crate::harness::stores::{dead_store, gcs, s3};
use crate::harness::token::Claims;
use crate::http::idempotency::KEY;
use crate::private::home::{PrivateHome, location, text};

/// Runs every test named here on each kind of home.
macro_rules! every_home {
    ($($name:ident),* $(,)?) => {
        mod one_machine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::private::home::PrivateHome::one_machine()).await;
            })*
        }
        mod shared_directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::private::home::PrivateHome::shared_directory().await {
                    super::$name(home).await;
                }
            })*
        }
        mod shared_bucket {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::private::home::PrivateHome::shared_bucket().await {
                    super::$name(home).await;
                }
            })*
        }
    };
}

every_home! {
    a_unique_job_has_names_of_its_own_that_caches_keep_for_good,
    whatever_makes_another_job_makes_other_names_and_whatever_repeats_one_makes_none,
    the_setting_is_for_jobs_that_do_not_say,
}

const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const CLASSIC: &str = "public, max-age=300";

fn unique_job() -> Value {
    json!({
        "directHost": true, "unique": true, "keepOriginal": true, "subDir": "a/b",
        "formats": { "jpg": { "sizes": [[16, 12]] }, "webp": { "sizes": [[8]] } }
    })
}

fn names_of(id: &str, stem: &str) -> Value {
    json!([format!("{id}_{stem}_12_16_.jpg"), format!("{id}_{stem}_8_8_.webp"), format!("{id}_{stem}.jpg")])
}

async fn cache_control(app: &TestApp, location: &str) -> String {
    let answer = app.get(location).await;
    assert_eq!(answer.status(), 200, "{location}");
    answer.headers()["cache-control"].to_str().expect("text").to_owned()
}

async fn a_unique_job_has_names_of_its_own_that_caches_keep_for_good(home: PrivateHome) {
    let app = home.start(&[]).await;
    let accepted = app.accepted("ann", unique_job(), "my_cat.jpg", jpeg(32, 24, 1)).await;
    let id = text(&accepted["job_id"]);
    assert_eq!(accepted["expected_files"], names_of(id, "my-cat"));
    let done = app.ended(&accepted).await;
    assert_eq!(done["state"], "completed", "{done}");
    for (file, name) in
        done["files"].as_array().expect("files").iter().zip(names_of(id, "my-cat").as_array().expect("3"))
    {
        assert_eq!(file["name"], *name);
        let location = text(&file["stored"][0]["location"]);
        assert_eq!(location, format!("/files/a/b/{}", text(name)));
        assert_eq!(cache_control(&app, location).await, IMMUTABLE);
    }
    let location = location(&done);
    let answer = app.get(location).await;
    let etag = answer.headers()["etag"].to_str().expect("text").to_owned();
    let known = app.request(Method::GET, location).header("if-none-match", etag).send().await.expect("an answer");
    assert_eq!(
        (known.status(), &known.headers()["cache-control"].to_str().expect("text")),
        (StatusCode::NOT_MODIFIED, &IMMUTABLE)
    );
    // What says what a file is, is asked by its name.
    assert_eq!((&done["files"][0]["kind"], &done["files"][0]["box"]), (&json!("variant"), &json!([16, 12])));
    assert_eq!(done["files"][2]["kind"], "original");

    // Somebody's classic file, whose stem and subject look like it.
    for (sub, file_name) in [(id, "x.jpg".to_owned()), ("ann", format!("{id}_cat.jpg")), ("ann", format!("{id}.jpg"))] {
        let mut job = unique_job();
        job["unique"] = json!(false);
        job["subDir"] = json!("");
        let classic = app.done(sub, job, &file_name, jpeg(32, 24, 2)).await;
        for file in classic["files"].as_array().expect("files") {
            assert!(text(&file["name"]).starts_with(text(&classic["hash"])), "{file}");
            assert_eq!(cache_control(&app, text(&file["stored"][0]["location"])).await, CLASSIC);
        }
    }
}

async fn whatever_makes_another_job_makes_other_names_and_whatever_repeats_one_makes_none(home: PrivateHome) {
    let app = home.start(&[]).await;
    let token = |claims: Claims| claims.with("scope", json!("manage")).job(unique_job()).sign();
    let ann = token(Claims::of("ann"));
    let send = async |path: &str, key: Option<&str>| {
        let mut request = app.request(Method::POST, path).bearer_auth(&ann);
        if let Some(key) = key {
            request = request.header("idempotency-key", format!("\"{key}\""));
        }
        if path == "/upload" {
            let part = reqwest::multipart::Part::bytes(jpeg(32, 24, 1)).file_name("cat.jpg");
            request = request.multipart(reqwest::multipart::Form::new().part("file", part));
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json::<Value>().await.expect("JSON")
    };
    let first = send("/upload", Some(KEY)).await;
    assert_eq!(first["expected_files"], names_of(text(&first["job_id"]), "cat"));
    assert_eq!(app.ended(&first).await["state"], "completed");
    assert_eq!(send("/upload", Some(KEY)).await, first, "it is done once");

    // The same bytes once more, and another job on them.
    let second = send("/upload", None).await;
    assert_eq!(app.ended(&second).await["state"], "completed");
    let third = send(&format!("/reprocess?job_id={}", text(&first["job_id"])), None).await;
    assert_eq!(app.ended(&third).await["state"], "completed");
    for accepted in [&second, &third] {
        assert_eq!(accepted["hash"], first["hash"]);
        assert_eq!(accepted["expected_files"], names_of(text(&accepted["job_id"]), "cat"));
    }
    assert_eq!(home.public(&app).await.len(), 9);

    // A job that is called off and run again is another one.
    let store = app.register(dead_store()).await;
    let mut job = unique_job();
    job["storageKeys"] = json!({ "s3": store });
    let live = app.accepted("ann", job, "cat.jpg", jpeg(32, 24, 2)).await;
    let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={}", text(&live["job_id"])));
    let cancelled = cancel.bearer_auth(Claims::of("ann").sign()).send().await.expect("an answer");
    assert_eq!(cancelled.status(), 204);
    let again = send(&format!("/retry?job_id={}", text(&live["job_id"])), None).await;
    assert_ne!(again["job_id"], live["job_id"]);
    assert_eq!(again["expected_files"], names_of(text(&again["job_id"]), "cat"));
}

async fn the_setting_is_for_jobs_that_do_not_say(home: PrivateHome) {
    let app = home.start(&[("PIXERVE_STORAGE_UNIQUE", "true")]).await;
    for (seed, (unique, is_unique)) in
        (1..).zip([(None, true), (Some(json!(null)), true), (Some(json!(true)), true), (Some(json!(false)), false)])
    {
        let mut job = unique_job();
        job.as_object_mut().expect("an object").remove("unique");
        if let Some(unique) = unique {
            job["unique"] = unique;
        }
        let accepted = app.accepted("ann", job, "cat.jpg", jpeg(32, 24, seed)).await;
        let head = if is_unique { &accepted["job_id"] } else { &accepted["hash"] };
        assert_eq!(accepted["expected_files"], names_of(text(head), "cat"));
    }
    let bad = app.upload(&Claims::of("ann").job(json!({ "unique": "yes" })).sign(), "a.jpg", jpeg(8, 8, 1)).await;
    let problem = assert_problem(bad, 422, "invalid_fields").await;
    assert_eq!(problem["errors"][0]["pointer"], "/job/unique");
}

/// A job that a store holds up keeps its names, whatever the server loses meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_resumed_or_found_in_the_spool_alone_keeps_its_names() {
    let mut app = TestApp::start().await;
    let store = app.register(dead_store()).await;
    let mut job = unique_job();
    job["storageKeys"] = json!({ "s3": store });
    let mut private = unique_job();
    private["private"] = json!(true);
    let accepted = app.accepted("ann", job, "cat.jpg", jpeg(32, 24, 1)).await;
    let expected = accepted["expected_files"].clone();
    let url = text(&accepted["status_url"]).to_owned();
    let served = |status: &Value| status["files"].as_array().is_some_and(|files| files.len() == 3);
    let before = app.wait_for(&accepted, "to be served", served).await;
    app.restart().await;
    let resumed = app.wait_for(&accepted, "to be resumed", served).await;
    assert_eq!(resumed["files"], before["files"], "nothing is made again");

    // Without its queue the server knows it by its spool alone.
    app.stop(Duration::ZERO).await;
    fs::remove_dir_all(app.data_dir().join("ConvertQueue.db")).expect("removed");
    app.restart().await;
    let adopted = app.wait_for(&accepted, "to be adopted", served).await;
    assert_eq!(adopted["files"], before["files"]);
    assert_eq!(app.get_json(&url).await["job_id"], accepted["job_id"]);
    let names: Vec<_> = adopted["files"].as_array().expect("files").iter().map(|file| file["name"].clone()).collect();
    assert_eq!(json!(names), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_keep_what_caches_are_told_beside_each_object() {
    let (app, s3, gcs) = tokio::join!(TestApp::start(), s3(), gcs());
    s3.create_bucket("lasting");
    gcs.create_bucket("lasting").await;
    let (told, changed) = ("public, max-age=3600", "no-cache");
    let with = |mut registration: Value, value: Value| {
        registration["cache_control"] = value;
        registration
    };
    let keys = [
        app.register(with(s3.registration("lasting"), json!(told))).await,
        app.register(with(gcs.registration("lasting"), json!(told))).await,
    ];
    let listed = app.admin(Method::GET, "/register", None).await.json::<Value>().await.expect("JSON");
    assert_eq!(listed.to_string().matches(told).count(), 2, "{listed}");
    let job = |unique: bool| {
        json!({
            "unique": unique, "keepOriginal": true, "storageKeys": { "s3": keys[0], "gcs": keys[1] },
            "formats": { "jpg": { "sizes": [[16]] } }
        })
    };
    let assert_stored = async |done: Value, expected: Option<&str>| {
        assert_eq!(done["state"], "completed", "{done}");
        for stored in
            done["files"].as_array().expect("files").iter().flat_map(|file| file["stored"].as_array().expect("2"))
        {
            let key = text(&stored["location"]).rsplit('/').next().expect("a key");
            let object = match text(&stored["backend"]) {
                "s3" => s3.object("lasting", key).await,
                _ => gcs.object("lasting", key).await,
            };
            assert_eq!(object.expect(key).cache_control.as_deref(), expected, "{stored}");
        }
    };
    assert_stored(app.done("ann", job(true), "a.jpg", jpeg(32, 24, 1)).await, Some(IMMUTABLE)).await;
    assert_stored(app.done("ann", job(false), "a.jpg", jpeg(32, 24, 1)).await, Some(told)).await;
    for (key, registration) in keys.iter().zip([s3.registration("lasting"), gcs.registration("lasting")]) {
        let path = format!("/register?access_key={key}");
        let answer = app.admin(Method::PUT, &path, Some(with(registration.clone(), json!(changed)))).await;
        assert!(answer.status().is_success(), "{}", answer.status());
        for bad in [json!(1), json!("ü"), json!("a\nb"), json!(" "), json!("x".repeat(201))] {
            let refused = app.admin(Method::PUT, &path, Some(with(registration.clone(), bad.clone()))).await;
            let problem = assert_problem(refused, 422, "invalid_fields").await;
            assert_eq!(problem["errors"][0]["pointer"], "/cache_control", "{bad}");
        }
        let longest = app.admin(Method::PUT, &path, Some(with(registration.clone(), json!("x".repeat(200))))).await;
        assert!(longest.status().is_success());
        app.admin(Method::PUT, &path, Some(with(registration, json!(changed)))).await;
    }
    assert_stored(app.done("ann", job(false), "a.jpg", jpeg(32, 24, 2)).await, Some(changed)).await;
    for (key, registration) in keys.iter().zip([s3.registration("lasting"), gcs.registration("lasting")]) {
        app.admin(Method::PUT, &format!("/register?access_key={key}"), Some(registration)).await;
    }
    assert_stored(app.done("ann", job(false), "a.jpg", jpeg(32, 24, 3)).await, None).await;
}

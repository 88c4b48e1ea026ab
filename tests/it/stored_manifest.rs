//! The manifest that is stored beside a job's pictures, for sites that ask no server: where it is, what it says, and that it is there
//! if and only if the job has completed.

use std::os::unix::process::ExitStatusExt;

use pixerve::failpoint::Step;
use pixerve::job::ContentHash;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::app::{TestApp, assert_problem, files_below};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;
use crate::harness::stores::{GIVES_UP_SOON, dead_store, gcs, s3, s3_at};
use crate::harness::token::Claims;
use crate::private::home::{PrivateHome, get, owner, reading, text};

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
    what_is_stored_is_what_is_answered_and_is_served_as_json,
    a_private_one_of_a_unique_job_is_private_and_lasts,
    it_goes_with_its_job_when_that_is_erased,
    it_is_the_same_when_its_server_dies_between_the_last_picture_and_it,
}

const PUBLIC_URL: (&str, &str) = ("PIXERVE_SERVER_PUBLIC_URL", "https://img.example");

/// Of a picture of 400 x 300: two widths of its own shape in two formats, and its bytes.
fn job() -> Value {
    let sizes = json!([[40, 0], [80, 0]]);
    json!({
        "directHost": true, "manifest": true, "keepOriginal": true, "subDir": "shop/1",
        "formats": { "webp": { "sizes": sizes }, "jpg": { "sizes": sizes } }
    })
}

fn files(status: &Value) -> &Vec<Value> {
    status["files"].as_array().expect("files")
}

/// The last file of a job that has completed, which is its manifest.
fn stored(status: &Value) -> &Value {
    assert_eq!(status["state"], "completed", "{status}");
    let last = files(status).last().expect("a file");
    assert_eq!((&last["kind"], &last["format"]), (&json!("manifest"), &json!("json")), "{last}");
    last
}

fn is_json(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| extension == "json")
}

fn location(file: &Value) -> &str {
    text(&file["stored"][0]["location"])
}

/// What the route answers of a job, byte by byte.
async fn answered(api: &Api, status: &Value) -> Vec<u8> {
    let answer = api.get(&format!("/manifest?job_id={}", text(&status["job_id"]))).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.expect("a body").to_vec()
}

/// Asserts that these are the bytes of the manifest of a job, as its status says and the route answers.
async fn assert_is_manifest(api: &Api, status: &Value, bytes: &[u8]) {
    let file = stored(status);
    assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&answered(api, status).await));
    assert_eq!((&file["bytes"], &file["sha256"]), (&json!(bytes.len()), &json!(ContentHash::of(bytes).to_string())));
    let said: Value = serde_json::from_slice(bytes).expect("JSON");
    let pictures = &files(status)[..files(status).len() - 1];
    assert_eq!((&said["state"], &said["job_id"]), (&json!("completed"), &status["job_id"]));
    assert_eq!((&said["files"], &said["placeholder"]), (&json!(pictures), &status["placeholder"]));
    assert!(said["placeholder"]["thumbhash"].is_string(), "{said}");
}

async fn what_is_stored_is_what_is_answered_and_is_served_as_json(home: PrivateHome) {
    let app = home.start(&[PUBLIC_URL]).await;
    // A file whose name is that of a manifest, but for the hash.
    let accepted = app.accepted("ann", job(), "my cat.json.jpg", jpeg(400, 300, 1)).await;
    let name = format!("{}_my-cat.json.json", text(&accepted["hash"]));
    assert_eq!(accepted["expected_files"].as_array().and_then(|names| names.last()), Some(&json!(name)));
    let done = app.ended(&accepted).await;
    let file = stored(&done);
    assert_eq!(done["progress"], json!({ "done": 6, "total": 6 }));
    assert_eq!((&file["name"], &file["width"], &file["height"]), (&json!(name), &json!(0), &json!(0)));
    assert_eq!(file.get("box"), None);
    assert_eq!(location(file), format!("/files/shop/1/{name}"));
    assert_eq!(file["stored"][0]["url"], format!("https://img.example/files/shop/1/{name}"));
    let names: Vec<_> = files(&done).iter().map(|file| file["name"].clone()).collect();
    assert_eq!(json!(names), accepted["expected_files"]);
    assert_eq!(home.public(&app).await.len(), 6);

    // Whichever node is asked.
    let app = if home.has_many() { home.start(&[PUBLIC_URL]).await } else { app };
    let answer = app.get(location(file)).await;
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "public, max-age=300"),
        ("access-control-allow-origin", "*"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    assert_eq!(answer.headers().get("content-disposition"), None);
    let bytes = answer.bytes().await.expect("a body").to_vec();
    assert_is_manifest(&app, &done, &bytes).await;
    let said: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert!(said["picture"]["img"]["src"].as_str().is_some_and(|src| src.ends_with("_0_80_.jpg")), "{said}");
    assert!(!said["picture"].to_string().contains(".json.json"), "{said}");

    // It is no picture.
    let image = format!("/image/{}", text(&done["job_id"]));
    let shown = app.request(Method::GET, &image).header("accept", "application/json").send().await.expect("an answer");
    assert_eq!(shown.headers()["content-type"], "image/jpeg");
    assert_problem(app.get(&format!("{image}?format=json")).await, 404, "not_found").await;
}

async fn a_private_one_of_a_unique_job_is_private_and_lasts(home: PrivateHome) {
    let app = home.start(&[PUBLIC_URL]).await;
    let mut unique = job();
    unique["unique"] = json!(true);
    let done = app.done("ann", unique.clone(), "cat.jpg", jpeg(400, 300, 1)).await;
    let file = stored(&done);
    assert_eq!(location(file), format!("/files/shop/1/{}_cat.json", text(&done["job_id"])));
    let answer = app.get(location(file)).await;
    assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_is_manifest(&app, &done, &answer.bytes().await.expect("a body")).await;

    unique["private"] = json!(true);
    let done = app.done("ann", unique, "cat.jpg", jpeg(400, 300, 2)).await;
    let file = stored(&done);
    let private = format!("/private/{}/shop/1/{}_cat.json", owner("", "ann"), text(&done["job_id"]));
    assert_eq!((location(file), file["stored"][0].get("url")), (&*private, None));
    assert_eq!(app.get(&private).await.status(), 401);
    assert_eq!(app.get(&private.replace("/private/", "/files/")).await.status(), 404);
    let answer = get(&app, &reading(&Claims::of("ann"), &*private), &private).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().expect("a header"))
    );
    let bytes = answer.bytes().await.expect("a body");
    assert_is_manifest(&app, &done, &bytes).await;
    assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON")["picture"], Value::Null);
    assert_eq!((home.public(&app).await.len(), home.private(&app).await.len()), (6, 6));
}

async fn it_goes_with_its_job_when_that_is_erased(home: PrivateHome) {
    let app = home.start(&[]).await;
    let first = app.done("ann", job(), "cat.jpg", jpeg(400, 300, 1)).await;
    // Another job on the same bytes replaces what tells of the first.
    let mut fewer = job();
    fewer["formats"] = json!({ "jpg": { "sizes": [[40, 0]] } });
    let second = app.done("ann", fewer, "cat.jpg", jpeg(400, 300, 1)).await;
    assert_eq!(location(stored(&first)), location(stored(&second)));
    assert_is_manifest(&app, &second, &app.file(location(stored(&second))).await).await;
    let token = Claims::of("ann").with("scope", json!("manage")).sign();
    for (job, left) in [(&first, 3), (&second, 0)] {
        let path = format!("/erase?job_id={}", text(&job["job_id"]));
        let erased = app.request(Method::DELETE, &path).bearer_auth(&token).send().await.expect("an answer");
        assert_eq!(erased.status(), 200, "{}", erased.text().await.expect("text"));
        assert_eq!(home.public(&app).await.len(), left, "{:?}", home.public(&app).await);
    }
}

async fn it_is_the_same_when_its_server_dies_between_the_last_picture_and_it(place: PrivateHome) {
    let home = place.process(&[PUBLIC_URL]);
    let points = format!("{}=return", Step::ManifestMade.name());
    let mut dying = home.start_with(&[("FAILPOINTS", &points)]).await;
    let accepted = dying.accepted("ann", job(), "cat.jpg", jpeg(400, 300, 1)).await;
    assert_eq!(dying.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", home.terminal());
    let before = place.public_of(&home).await;
    assert!(before.len() == 5 && !before.iter().any(|name| is_json(name)), "{before:?}");
    // On one machine its next life, else another node's.
    let next = if place.has_many() { place.process(&[PUBLIC_URL]) } else { home };
    let server = next.start().await;
    let done = server.ended(&accepted).await;
    assert_is_manifest(&server, &done, &server.file(location(stored(&done))).await).await;
    assert_eq!(place.public_of(&next).await.len(), 6);
}

/// A server that dies once what tells of the pictures is in the serve directory and in no store: the next one writes it there alone,
/// or, if it is reached elsewhere by then, anew everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_in_some_store_is_written_to_the_others_and_everywhere_if_it_says_something_else() {
    for (next_url, is_kept) in [("https://img.example", true), ("https://other.example", false)] {
        let store = s3_at(([127, 0, 0, 1], 0).into(), &["manifests"]).await;
        let home = Home::new(&[]);
        let server = home.start().await;
        let mut registration = store.registration("manifests");
        registration["public_url"] = json!("https://cdn.example");
        let key = server.register(registration).await;
        server.kill();
        // Five files in two places each, then the manifest in the first.
        let settings = [PUBLIC_URL, ("FAILPOINTS", "journal::after=10*off->return")];
        let mut dying = home.start_with(&settings).await;
        let mut job = job();
        job["storageKeys"] = json!({ "s3": key });
        let accepted = dying.accepted("ann", job, "cat.jpg", jpeg(400, 300, 1)).await;
        assert_eq!(dying.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", home.terminal());
        let name =
            text(accepted["expected_files"].as_array().and_then(|names| names.last()).expect("a name")).to_owned();
        let path = home.serve_dir().join("shop/1").join(&name);
        let first = std::fs::read(&path).expect("it is served");
        assert!(!store.keys("manifests").await.iter().any(|key| is_json(key)));

        let next = home.start_with(&[("PIXERVE_SERVER_PUBLIC_URL", next_url)]).await;
        let done = next.ended(&accepted).await;
        let written = std::fs::read(&path).expect("it is there");
        assert_is_manifest(&next, &done, &written).await;
        assert_eq!(written == first, is_kept, "{next_url}");
        let object = store.object("manifests", &format!("shop/1/{name}")).await.expect("it is stored");
        assert_eq!((object.bytes, object.content_type.as_deref()), (written, Some("application/json")));
        assert_eq!(stored(&done)["stored"].as_array().map(Vec::len), Some(2), "{done}");
        assert_eq!(stored(&done)["stored"][1]["url"], format!("https://cdn.example/shop/1/{name}"));
        assert!(files_below(&home.data_dir().join("spool/jobs")).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_store_of_the_job_has_it() {
    let (app, s3, gcs) = tokio::join!(TestApp::start(), s3(), gcs());
    s3.create_bucket("manifests");
    gcs.create_bucket("manifests").await;
    let registered = |mut registration: Value| {
        registration["public_url"] = json!("https://cdn.example");
        registration["cache_control"] = json!("no-cache");
        registration
    };
    let keys = json!({
        "s3": app.register(registered(s3.registration("manifests"))).await,
        "gcs": app.register(registered(gcs.registration("manifests"))).await,
    });
    let mut job = job();
    job["storageKeys"] = keys.clone();
    let done = app.done("ann", job.clone(), "cat.jpg", jpeg(400, 300, 1)).await;
    let file = stored(&done);
    let backends: Vec<_> =
        file["stored"].as_array().expect("places").iter().map(|place| text(&place["backend"])).collect();
    assert_eq!(backends, ["directHost", "gcs", "s3"]);
    let key = format!("shop/1/{}", text(&file["name"]));
    let served = app.file(location(file)).await;
    assert_is_manifest(&app, &done, &served).await;
    for object in [s3.object("manifests", &key).await, gcs.object("manifests", &key).await] {
        let object = object.expect("it is stored");
        assert_eq!(object.bytes, served);
        assert_eq!(object.content_type.as_deref(), Some("application/json"));
        assert_eq!(object.cache_control.as_deref(), Some("no-cache"));
    }
    let said: Value = serde_json::from_slice(&served).expect("JSON");
    assert!(text(&said["picture"]["img"]["src"]).starts_with("https://cdn.example/shop/1/"), "{said}");

    // A store alone.
    job["directHost"] = json!(false);
    let done = app.done("ann", job, "cat.jpg", jpeg(400, 300, 2)).await;
    let key = format!("shop/1/{}", text(&stored(&done)["name"]));
    assert_is_manifest(&app, &done, &s3.object("manifests", &key).await.expect("it is stored").bytes).await;
    let metrics = app.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
    let stored = "pixerve_step_duration_seconds_count{step=\"store\",format=\"json\"} 5";
    assert!(metrics.contains(stored), "{metrics}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_does_not_complete_has_none() {
    let app = TestApp::start_with(&GIVES_UP_SOON).await;
    let mut job = job();
    job["storageKeys"] = json!({ "s3": app.register(dead_store()).await });
    let done = app.done("ann", job.clone(), "cat.jpg", jpeg(400, 300, 1)).await;
    assert_eq!((&done["state"], files(&done).len()), (&json!("failed"), 5), "{done}");
    // Some of its pictures are in some stores, and that is all.
    assert!(!files_below(&app.serve_dir()).iter().any(|name| is_json(name)));

    let app = TestApp::start().await;
    job["storageKeys"] = json!({ "s3": app.register(dead_store()).await });
    let live = app.accepted("ann", job.clone(), "cat.jpg", jpeg(400, 300, 1)).await;
    let is_served = |status: &Value| files(status).len() == 5;
    app.wait_for(&live, "to be served", is_served).await;
    let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={}", text(&live["job_id"])));
    let cancelled = cancel.bearer_auth(Claims::of("ann").sign()).send().await.expect("an answer");
    assert_eq!(cancelled.status(), 204);
    assert!(!files_below(&app.serve_dir()).iter().any(|name| is_json(name)));

    // Nor one that is cut short; what is made of it then tells of all that there is.
    let whole = jpeg(400, 300, 3);
    job.as_object_mut().expect("an object").remove("storageKeys");
    job["keepOriginal"] = json!(false);
    let cut = whole[..whole.len() / 2].to_vec();
    let failed = app.done("ann", job.clone(), "cut.jpg", cut.clone()).await;
    assert_eq!((&failed["state"], files(&failed).len()), (&json!("failed"), 0), "{failed}");
    job["tolerant"] = json!(true);
    let done = app.done("ann", job, "cut.jpg", cut).await;
    assert_is_manifest(&app, &done, &app.file(location(stored(&done))).await).await;
    assert_eq!(stored(&done).get("warnings"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_makes_another_job_of_one_makes_another_of_it() {
    let app = TestApp::start().await;
    let token = Claims::of("ann").with("scope", json!("manage")).job(job()).sign();
    let first = app.done("ann", job(), "cat.jpg", jpeg(400, 300, 1)).await;
    let path = format!("/reprocess?job_id={}", text(&first["job_id"]));
    let again = app.request(Method::POST, &path).bearer_auth(&token).send().await.expect("an answer");
    assert_eq!(again.status(), 200);
    let again = app.ended(&again.json().await.expect("JSON")).await;
    assert_eq!(location(stored(&again)), location(stored(&first)));
    assert_is_manifest(&app, &again, &app.file(location(stored(&again))).await).await;

    let store = app.register(dead_store()).await;
    let mut waiting = job();
    waiting["storageKeys"] = json!({ "s3": store });
    let live = app.accepted("ann", waiting, "cat.jpg", jpeg(400, 300, 2)).await;
    let id = text(&live["job_id"]);
    let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(Claims::of("ann").sign());
    assert_eq!(cancel.send().await.expect("an answer").status(), 204);
    let retry = app.request(Method::POST, &format!("/retry?job_id={id}")).bearer_auth(&token);
    let retried: Value = retry.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(retried["expected_files"], live["expected_files"]);

    // Presets have it as any other field.
    let put = app.admin(Method::PUT, "/presets/static", Some(job())).await;
    assert_eq!(put.status(), 201);
    let named = app.done("ann", json!({ "preset": "static" }), "cat.jpg", jpeg(400, 300, 3)).await;
    assert_is_manifest(&app, &named, &app.file(location(stored(&named))).await).await;
    let without = app.done("ann", json!({ "preset": "static", "manifest": null }), "cat.jpg", jpeg(400, 300, 4)).await;
    assert_eq!((&without["state"], files(&without).len()), (&json!("completed"), 5), "{without}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_alone_is_no_job_and_goes_nowhere_by_itself() {
    let app = TestApp::start().await;
    for (job, pointer) in [
        (json!({ "directHost": true, "manifest": true }), "/job/formats"),
        (json!({ "manifest": true, "formats": { "jpg": {} } }), "/job"),
        (json!({ "directHost": true, "manifest": "yes", "formats": { "jpg": {} } }), "/job/manifest"),
    ] {
        let refused = app.upload(&Claims::of("ann").job(job).sign(), "a.jpg", jpeg(8, 8, 1)).await;
        assert_eq!(assert_problem(refused, 422, "invalid_fields").await["errors"][0]["pointer"], pointer);
    }
    // Of the original alone it tells where that is.
    let kept = json!({ "directHost": true, "manifest": true, "keepOriginal": true });
    let done = app.done("ann", kept, "a.jpg", jpeg(8, 8, 1)).await;
    let bytes = app.file(location(stored(&done))).await;
    assert_eq!(bytes, answered(&app, &done).await);
    let said: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!((said["files"].as_array().map(Vec::len), &said["picture"]), (Some(1), &Value::Null), "{said}");
    assert_eq!(said.get("placeholder"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_tell_of_it_as_of_any_other_file() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = job();
    job["completionCallback"] = json!(receiver.url);
    job["callbackEvents"] = json!(["job.completed", "file.stored"]);
    let done = app.done("ann", job, "cat.jpg", jpeg(400, 300, 1)).await;
    let id = text(&done["job_id"]);
    let mut told = None;
    loop {
        let call = receiver.call().await;
        if call.body["type"] == "job.completed" {
            assert_eq!((&call.body["files"], &call.body["file_count"]), (&done["files"], &json!(6)));
            break;
        }
        // None is promised once the end has been told.
        if call.headers["webhook-id"] == format!("{id}_file_5") {
            told = Some(call.body["file"].clone());
        }
    }
    assert!(told.is_none_or(|told| told == *stored(&done)));
}

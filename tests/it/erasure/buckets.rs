//! What lies in buckets: Google's, the one that nodes serve from, and those that keep what is deleted.

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use super::home::{ErasureHome, PICTURES, assert_unknown, below, erase, erased, manager, stored_job, text, until};
use crate::harness::app::{TestApp, small_job};
use crate::harness::fault_proxy::{Asked, Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::stores::{GcsServer, gcs};

every_home! {
    everything_of_a_job_goes_from_google_s_bucket,
    what_google_s_bucket_does_not_delete_is_left_and_tried_again,
    what_google_s_bucket_keeps_is_said,
    what_a_bucket_with_versions_keeps_is_said,
}

/// Runs every test named here on nodes that serve files from their bucket.
macro_rules! nodes_that_serve_a_bucket {
    ($($name:ident),* $(,)?) => {
        mod served {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(home) = crate::erasure::home::ErasureHome::nodes_that_serve_a_bucket().await {
                    super::$name(home).await;
                }
            })*
        }
    };
}

nodes_that_serve_a_bucket! {
    what_nodes_serve_from_their_bucket_goes_from_it_and_no_node_serves_it_any_more,
    what_another_job_names_stays_in_the_bucket_until_that_is_erased_too,
    what_the_bucket_does_not_delete_is_left_and_tried_again,
    what_a_bucket_with_versions_keeps_of_what_was_served_is_said,
}

/// A bucket of the emulator's for one test.
async fn google_bucket() -> (GcsServer, String) {
    let (server, bucket) = (gcs().await, format!("erased-{}", uuid::Uuid::now_v7().simple()));
    server.create_bucket(&bucket).await;
    (server, bucket)
}

fn google_job(access_key: &str) -> Value {
    let mut job = stored_job(access_key);
    job["storageKeys"] = json!({ "gcs": access_key });
    job
}

/// Something between the emulator and a server, and what registers that.
async fn google_proxy(server: &GcsServer, bucket: &str) -> (FaultProxy, Value) {
    let proxy = FaultProxy::start(server.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = server.registration(bucket);
    registration["endpoint"] = json!(proxy.endpoint());
    (proxy, registration)
}

fn google_error(status: u16) -> Fault {
    let body = json!({ "error": { "code": status, "message": "on purpose", "errors": [{ "reason": "x" }] } });
    let status = StatusCode::from_u16(status).expect("a status");
    Fault::Answer(status, vec![("content-type", "application/json".to_owned())], body.to_string())
}

async fn everything_of_a_job_goes_from_google_s_bucket(home: ErasureHome) {
    let (app, (server, bucket)) = (home.start(&[]).await, google_bucket().await);
    server.forget_deleted(&bucket).await;
    let access_key = app.register(server.registration(&bucket)).await;
    let mut job = google_job(&access_key);
    job["subDir"] = json!("canary-directory");
    let stays = app.done("bystander", google_job(&access_key), "b.jpg", jpeg(96, 96, 2)).await;
    let job = app.done("canary-subject", job, "canary-name.jpg", jpeg(96, 96, 1)).await;
    let keys = server.keys(&bucket).await;
    assert_eq!((keys.len(), keys.iter().filter(|key| key.contains("canary-directory/")).count()), (4, 2), "{keys:?}");

    let planned = erased(&app, &manager("canary-subject"), "sub=canary-subject&dry_run=true").await;
    assert_eq!(planned["files"]["deleted"], 4, "{planned}");
    let answer = erased(&app, &manager("canary-subject"), "sub=canary-subject").await;

    assert_eq!((&answer["state"], answer.get("versioned")), (&json!("done"), None), "{answer}");
    assert_eq!(answer["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    let keys = server.keys(&bucket).await;
    assert!(keys.len() == 2 && !keys.iter().any(|key| key.contains("canary")), "{keys:?}");
    assert_unknown(&app, &job).await;
    let id = text(&answer["erasure_id"]);
    until(&app, &manager("canary-subject"), id, |erasure| erasure["purged_at"].is_string()).await;
    for canary in ["canary-subject", "canary-directory", "canary-name"] {
        assert_eq!(home.traces_of(&app, canary).await, [""; 0], "{canary}");
    }
    assert_eq!(app.get(&format!("/status?job_id={}", text(&stays["job_id"]))).await.status(), 200);
    // What is gone already is no error, here neither.
    for key in server.keys(&bucket).await {
        server.remove(&bucket, &key).await;
    }
    let answer = erased(&app, &manager("bystander"), "sub=bystander").await;
    assert_eq!(answer["files"], json!({ "deleted": 2, "missing": 2, "kept": 0, "left": 0 }), "{answer}");
}

async fn what_google_s_bucket_does_not_delete_is_left_and_tried_again(home: ErasureHome) {
    let (app, (server, bucket)) = (home.start(&[("PIXERVE_ERASE_WITHIN", "300ms")]).await, google_bucket().await);
    let (proxy, registration) = google_proxy(&server, &bucket).await;
    let access_key = app.register(registration).await;
    let job = app.done("me", google_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    proxy.script(|asked| if asked.method == "DELETE" { google_error(503) } else { Fault::Pass });

    let answer = erase(&app, &manager("me"), &format!("job_id={}", text(&job["job_id"]))).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let answer: Value = answer.json().await.expect("JSON");
    let id = text(&answer["erasure_id"]);
    assert_unknown(&app, &job).await;
    let tried = until(&app, &manager("me"), id, |erasure| erasure["files"]["left"] == 2).await;
    for left in tried["left"].as_array().expect("places") {
        assert_eq!(left["backend"], "gcs");
        assert!(text(&left["location"]).starts_with(&format!("gs://{bucket}/")), "{left}");
        assert!(text(&left["error"]).contains("503"), "{left}");
    }
    proxy.script(|_| Fault::Pass);
    let done = until(&app, &manager("me"), id, |erasure| erasure["state"] == "done").await;
    assert_eq!(done["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    assert_eq!(server.keys(&bucket).await, [""; 0]);
}

async fn what_google_s_bucket_keeps_is_said(home: ErasureHome) {
    let (app, (server, bucket)) = (home.start(&[]).await, google_bucket().await);
    // As Google's do by default, it keeps for a week what is deleted.
    let access_key = app.register(server.registration(&bucket)).await;
    app.done("me", google_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;

    let answer = erased(&app, &manager("me"), "sub=me").await;

    assert_eq!((&answer["state"], &answer["versioned"]), (&json!("done"), &json!(true)), "{answer}");
    assert_eq!(answer["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    let shown = until(&app, &manager("me"), text(&answer["erasure_id"]), |_| true).await;
    assert_eq!(shown["versioned"], true, "it is said as long as it is known");
}

/// What S3 answers to a deletion in a bucket with versions: the object is marked, and stays as an older version.
fn marked(asked: &Asked) -> Fault {
    if asked.method == "DELETE" {
        let headers = [("x-amz-version-id", "v2"), ("x-amz-delete-marker", "true")];
        let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
        return Fault::Answer(StatusCode::NO_CONTENT, headers, String::new());
    }
    Fault::Pass
}

async fn what_a_bucket_with_versions_keeps_is_said(home: ErasureHome) {
    let app = home.start(&[]).await;
    let proxy = FaultProxy::start(home.store.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let mut registration = home.store.registration(PICTURES);
    registration["endpoint"] = json!(proxy.endpoint());
    let access_key = app.register(registration).await;
    let job = app.done("me", stored_job(&access_key), "a.jpg", jpeg(96, 96, 1)).await;
    let plain = app.done("me", small_job(), "b.jpg", jpeg(96, 96, 2)).await;
    proxy.script(marked);

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&plain["job_id"]))).await;
    assert_eq!(answer.get("versioned"), None, "nothing of this one was there: {answer}");
    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&job["job_id"]))).await;

    assert_eq!((&answer["state"], &answer["versioned"]), (&json!("done"), &json!(true)), "{answer}");
    assert_eq!(answer["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    assert_unknown(&app, &job).await;
    let shown = until(&app, &manager("me"), text(&answer["erasure_id"]), |_| true).await;
    assert_eq!(shown["versioned"], true, "it is said as long as it is known");
}

fn served_locations(job: &Value) -> Vec<&str> {
    let files = job["files"].as_array().expect("files").iter();
    let places = files.flat_map(|file| file["stored"].as_array().expect("places"));
    places.map(|place| text(&place["location"])).filter(|location| location.starts_with("/files/")).collect()
}

async fn what_nodes_serve_from_their_bucket_goes_from_it_and_no_node_serves_it_any_more(home: ErasureHome) {
    let (first, second) = (home.start(&[]).await, home.start(&[]).await);
    let access_key = first.register(home.store.registration(PICTURES)).await;
    let mut job = stored_job(&access_key);
    job["subDir"] = json!("canary-directory");
    let stays = first.done("bystander", small_job(), "b.jpg", jpeg(96, 96, 2)).await;
    let job = first.done("canary-subject", job, "canary-name.jpg", jpeg(96, 96, 1)).await;
    let locations = served_locations(&job);
    for (app, location) in [&first, &second].into_iter().flat_map(|app| locations.iter().map(move |at| (app, at))) {
        assert_eq!(app.get(location).await.status(), 200, "{location}");
    }
    assert_eq!((locations.len(), home.served_keys().await.len()), (2, 3));

    let answer = erased(&second, &manager("canary-subject"), "sub=canary-subject").await;

    assert_eq!((&answer["state"], answer.get("versioned")), (&json!("done"), None), "{answer}");
    assert_eq!(answer["files"], json!({ "deleted": 4, "missing": 0, "kept": 0, "left": 0 }));
    let served = home.served_keys().await;
    assert!(served.len() == 1 && !served[0].contains("canary"), "{served:?}");
    for app in [&first, &second] {
        assert_unknown(app, &job).await;
        assert_eq!(app.get(served_locations(&stays)[0]).await.status(), 200);
    }
    let id = text(&answer["erasure_id"]);
    until(&first, &manager("canary-subject"), id, |erasure| erasure["purged_at"].is_string()).await;
    for canary in ["canary-subject", "canary-directory", "canary-name"] {
        assert_eq!(home.traces_of(&first, canary).await, [""; 0], "{canary}");
        assert_eq!(below(&second.data_dir(), canary), [""; 0], "{canary}");
    }
}

async fn what_another_job_names_stays_in_the_bucket_until_that_is_erased_too(home: ErasureHome) {
    let app = home.start(&[]).await;
    let first = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    let second = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    let location = served_locations(&first)[0];
    assert_eq!(served_locations(&second), [location]);

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&first["job_id"]))).await;
    assert_eq!(answer["files"], json!({ "deleted": 0, "missing": 0, "kept": 1, "left": 0 }), "{answer}");
    assert_eq!(answer["kept"][0]["job_id"], second["job_id"]);
    assert_eq!(app.get(location).await.status(), 200);

    let answer = erased(&app, &manager("me"), &format!("job_id={}", text(&second["job_id"]))).await;
    assert_eq!(answer["files"], json!({ "deleted": 1, "missing": 0, "kept": 0, "left": 0 }), "{answer}");
    assert_eq!(app.get(location).await.status(), 404);
    assert_eq!(home.served_keys().await, [""; 0]);
}

/// A node whose way to the bucket leads through a proxy.
async fn proxied(home: &ErasureHome, within: &str) -> (FaultProxy, TestApp) {
    let proxy = FaultProxy::start(home.shared_endpoint()).await;
    let settings = [("PIXERVE_SPOOL_ENDPOINT", &*proxy.endpoint()), ("PIXERVE_ERASE_WITHIN", within)];
    let app = home.start(&settings).await;
    (proxy, app)
}

async fn what_the_bucket_does_not_delete_is_left_and_tried_again(home: ErasureHome) {
    let (proxy, app) = proxied(&home, "300ms").await;
    let job = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    proxy.script(|asked| match &*asked.method {
        "DELETE" if asked.target.contains("/serve/") => Fault::s3_error(403, "AccessDenied"),
        _ => Fault::Pass,
    });

    let answer = erase(&app, &manager("me"), "sub=me").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "it is served still, and said so");
    let answer: Value = answer.json().await.expect("JSON");
    let id = text(&answer["erasure_id"]);
    let tried = until(&app, &manager("me"), id, |erasure| erasure["files"]["left"] == 1).await;
    let left = &tried["left"][0];
    assert_eq!((&left["backend"], text(&left["location"])), (&json!("directHost"), served_locations(&job)[0]));
    assert!(text(&left["error"]).contains("AccessDenied"), "{left}");
    assert_eq!(app.admin(Method::GET, &format!("/status?job_id={}", text(&job["job_id"])), None).await.status(), 404);

    proxy.script(|_| Fault::Pass);
    let done = until(&app, &manager("me"), id, |erasure| erasure["state"] == "done").await;
    assert_eq!(done["files"], json!({ "deleted": 1, "missing": 0, "kept": 0, "left": 0 }));
    assert_eq!(home.served_keys().await, [""; 0]);
    assert_unknown(&app, &job).await;
}

async fn what_a_bucket_with_versions_keeps_of_what_was_served_is_said(home: ErasureHome) {
    let (proxy, app) = proxied(&home, "60s").await;
    app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    proxy.script(|asked| if asked.target.contains("/serve/") { marked(asked) } else { Fault::Pass });

    let answer = erased(&app, &manager("me"), "sub=me").await;

    assert_eq!((&answer["state"], &answer["versioned"]), (&json!("done"), &json!(true)), "{answer}");
    assert_eq!(answer["files"], json!({ "deleted": 1, "missing": 0, "kept": 0, "left": 0 }));
}

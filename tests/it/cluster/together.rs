//! One node takes an upload, another makes it, a third serves it.

use std::time::Duration;

use futures_util::future::join_all;
use pixerve::job::ContentHash;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{long_job, small_job, store_that_is_away};
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::cluster::{BUCKET, Cluster};
use crate::harness::fault_proxy::Fault;
use crate::harness::picture;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

const API: (&str, &str) = ("PIXERVE_NODE_ROLES", "api");
const WORKER: (&str, &str) = ("PIXERVE_NODE_ROLES", "worker");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_to_one_node_is_made_by_another_and_served_by_a_third() {
    let Some(cluster) = Cluster::start().await else { return };
    let receiver = Receiver::start().await;
    let (first, worker, second) =
        (cluster.node(&[API]).await, cluster.node(&[WORKER]).await, cluster.node(&[API]).await);
    let job = json!({
        "directHost": true, "completionCallback": receiver.url,
        "formats": { "jpg": { "sizes": [[64]] }, "webp": { "sizes": [[32]] } }
    });
    let accepted = first.accepted("somebody", job, "photo.png", picture::png(300, 200, 1)).await;
    let status = second.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    for file in status["files"].as_array().expect("files") {
        let location = file["stored"][0]["location"].as_str().expect("a location");
        assert!(!second.file(location).await.is_empty());
    }
    let call = receiver.call().await;
    assert_eq!(call.body["job_id"], accepted["job_id"]);
    assert_eq!(call.body["status"], "completed");
    drop((first, worker, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_about_itself_alone_and_an_api_node_is_healthy_without_workers() {
    let Some(cluster) = Cluster::start().await else { return };
    let (api, worker) = (cluster.node(&[API]).await, cluster.node(&[WORKER]).await);
    for path in ["/health", "/health/live", "/version"] {
        assert_eq!(worker.get(path).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(worker.admin(Method::GET, "/metrics", None).await.status(), StatusCode::OK);
    for path in ["/limits", "/status?job_id=00000000-0000-7000-8000-000000000000", "/openapi.json", "/files/a.jpg"] {
        assert_eq!(worker.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let token = Claims::of("somebody").job(small_job()).sign();
    let refused = worker.upload(&token, "photo.png", picture::png(30, 20, 1)).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);

    drop(worker);
    let health = api.get_json("/health").await;
    assert_eq!(
        (&health["status"], &health["checks"]["workers"]["workers"]),
        (&json!("healthy"), &json!(0)),
        "{health}"
    );
    for check in ["redis", "bucket", "clock"] {
        assert_eq!(health["checks"][check]["status"], "ok", "{health}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_another_node_works_on_is_cancelled_and_nothing_of_it_appears_after_the_answer() {
    let Some(cluster) = Cluster::start().await else { return };
    let (api, worker) = (cluster.node(&[API]).await, cluster.node(&[WORKER]).await);
    let accepted = api.accepted("somebody", long_job(), "photo.jpg", picture::jpeg(640, 480, 1)).await;
    api.processing(&accepted).await;
    let id = accepted["job_id"].as_str().expect("an id");
    let token = Claims::of("somebody").sign();
    let cancel = |id: &str| api.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(&token).send();
    let answer = cancel(id).await.expect("an answer");
    let status = api.ended(&accepted).await;
    assert_eq!((answer.status(), &status["state"]), (StatusCode::NO_CONTENT, &json!("cancelled")), "{status}");
    let before = status["files"].as_array().map_or(0, Vec::len);
    // Its original is where nobody looks for work.
    let keys = cluster.s3.keys(BUCKET).await;
    assert!(!keys.iter().any(|key| key.contains("/spool/") && key.ends_with(id)), "{keys:?}");
    // The next job is made, and nothing more of the first.
    api.done("somebody", small_job(), "other.png", picture::png(60, 40, 2)).await;
    let status: Value = api.get_json(accepted["status_url"].as_str().expect("a URL")).await;
    assert_eq!(status["files"].as_array().map_or(0, Vec::len), before);
    assert_eq!(cancel(id).await.expect("an answer").status(), StatusCode::CONFLICT);
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_image_uploaded_fifty_times_to_each_of_three_nodes_is_one_job() {
    let Some(cluster) = Cluster::start().await else { return };
    let apis = [cluster.node(&[API]).await, cluster.node(&[API]).await, cluster.node(&[API]).await];
    let picture = picture::jpeg(60, 40, 5);
    let token = Claims::of("somebody").job(small_job()).sign();
    let uploads = apis.iter().flat_map(|api| std::iter::repeat_n(api, 50));
    let answers = join_all(uploads.map(|api| api.upload(&token, "photo.jpg", picture.clone()))).await;
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for answer in answers {
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        match status {
            StatusCode::OK => accepted.push(body),
            StatusCode::CONFLICT => refused.push(body),
            _ => panic!("{status}: {body}"),
        }
    }
    assert_eq!((accepted.len(), refused.len()), (1, 149));
    assert!(refused.iter().all(|body| body["job_id"] == accepted[0]["job_id"]), "{refused:?}");
    let keys = cluster.s3.keys(BUCKET).await;
    assert_eq!(keys.iter().filter(|key| key.contains("/spool/")).count(), 1, "{keys:?}");

    let worker = cluster.node(&[WORKER]).await;
    assert_eq!(apis[1].ended(&accepted[0]).await["state"], "completed");
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_registers_every_node_knows_and_forgets() {
    let Some(cluster) = Cluster::start().await else { return };
    let [one, other] = [cluster.node(&[API]).await, cluster.node(&[API]).await];
    let registered = one.admin(Method::POST, "/register", Some(json!({ "user": "shop" }))).await;
    assert_eq!(registered.status(), StatusCode::CREATED);
    let user: Value = registered.json().await.expect("JSON");
    let (key, secret) = (user["access_key"].as_str().expect("a key"), user["secret"].as_str().expect("a secret"));
    let token = |n: u64| Claims::of("somebody").job(small_job()).by(key, secret).with("n", json!(n)).sign();
    let accepted = other.upload(&token(1), "photo.png", picture::png(60, 40, 1)).await;
    assert_eq!(accepted.status(), StatusCode::OK, "{}", accepted.text().await.expect("text"));
    let again = other.admin(Method::POST, "/register", Some(json!({ "user": "shop" }))).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);

    let gone = other.admin(Method::DELETE, &format!("/register?access_key={key}"), None).await;
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    for node in [&one, &other] {
        let refused = node.upload(&token(2), "photo.png", picture::png(60, 40, 2)).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_told_by_a_node_that_has_no_part_in_it() {
    let Some(cluster) = Cluster::start().await else { return };
    let (api, worker) = (cluster.node(&[API]).await, cluster.node(&[WORKER]).await);
    let (store, key) = store_that_is_away(&cluster, &api).await;
    store.script(|asked| if asked.target.contains(".webp") { Fault::s3_error(503, "SlowDown") } else { Fault::Pass });
    let job =
        json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[64]] }, "webp": { "sizes": [[32]] } } });
    let accepted = api.accepted("somebody", job, "photo.png", picture::png(60, 40, 3)).await;
    let is_between = |status: &Value| status["progress"] == json!({ "done": 1, "total": 2 });
    let status = api.wait_for(&accepted, "to have come so far", is_between).await;
    assert_eq!(status["state"], "processing");
    // A request that waits hears of the end.
    store.script(|_| Fault::Pass);
    let id = accepted["job_id"].as_str().expect("an id");
    let waited = api.get_json(&format!("/status?job_id={id}&wait=60")).await;
    assert_eq!(waited["state"], "completed", "{waited}");
    drop(worker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn originals_leave_the_bucket_once_their_jobs_have_ended_for_long_enough() {
    let Some(cluster) = Cluster::start().await else { return };
    let node = cluster.node(&[("PIXERVE_SPOOL_KEEP_AFTER_END", "0s")]).await;
    let status = node.done("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
    assert_eq!(status["state"], "completed");
    let started = Instant::now();
    // The leader compares each minute.
    loop {
        let keys = cluster.s3.keys(BUCKET).await;
        if !keys.iter().any(|key| key.contains("/spool/")) {
            break;
        }
        assert!(started.elapsed() < WAIT_MAX, "{keys:?}");
        poll_delay().await;
    }
    let id = status["job_id"].as_str().expect("an id");
    assert_eq!(node.get_json(&format!("/status?job_id={id}")).await["state"], "completed", "its record stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_gives_its_job_to_another() {
    let Some(cluster) = Cluster::start().await else { return };
    let api = cluster.node(&[API]).await;
    let mut first = cluster.node(&[WORKER]).await;
    let accepted = api.accepted("somebody", long_job(), "photo.jpg", picture::jpeg(640, 480, 4)).await;
    api.processing(&accepted).await;
    let second = cluster.node(&[WORKER]).await;
    first.stop(Duration::ZERO).await;
    let status = api.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_without_a_common_directory_serve_from_the_bucket() {
    let Some(cluster) = Cluster::start().await else { return };
    let bucket = ("PIXERVE_SERVE", "bucket");
    let [worker, api] = [cluster.node(&[WORKER, bucket]).await, cluster.node(&[API, bucket]).await];
    let status = api.done("somebody", small_job(), "photo.png", picture::png(60, 40, 1)).await;
    assert_eq!(status["state"], "completed", "{status}");
    let file = &status["files"][0];
    let location = file["stored"][0]["location"].as_str().expect("a location");
    assert!(location.starts_with("/files/"), "{location}");
    let bytes = api.file(location).await;
    assert_eq!(file["sha256"], ContentHash::of(&bytes).to_string());
    assert!(files_below(&worker.serve_dir()).is_empty(), "no directory is served");
    let keys = cluster.s3.keys(BUCKET).await;
    assert!(keys.iter().any(|key| key.contains("/serve/")), "{keys:?}");
    drop(worker);
}

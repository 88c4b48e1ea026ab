//! A thousand jobs of one subject, erased at once.

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::figure;
use crate::harness::app::{TestApp, WAIT_MAX, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::stores::s3;

const JOBS: u32 = 1000;
const UPLOADS_AT_ONCE: usize = 8;
const CANARY: &str = "canary-subject";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn a_thousand_jobs_of_a_subject_are_gone_from_every_place() {
    let settings = [
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"),
        ("PIXERVE_SERVER_RATE_PER_USER", "0"),
        ("PIXERVE_ERASE_WITHIN", "60s"),
    ];
    let (app, store) = (TestApp::start_with(&settings).await, s3().await);
    store.create_bucket("pictures");
    let access_key = app.register(store.registration("pictures")).await;
    let job =
        json!({ "directHost": true, "storageKeys": { "s3": access_key }, "formats": { "jpg": { "sizes": [[16]] } } });
    let uploads = stream::iter(0..JOBS).map(|seed| {
        let (app, job) = (&app, job.clone());
        async move { app.done(CANARY, job, "canary-name.jpg", jpeg(32, 32, seed)).await }
    });
    assert_eq!(uploads.buffer_unordered(UPLOADS_AT_ONCE).count().await, JOBS as usize);
    assert_eq!(store.keys("pictures").await.len(), JOBS as usize);

    let began = Instant::now();
    let answer = app.admin(Method::DELETE, &format!("/erase?sub={CANARY}"), None).await;
    assert_eq!(answer.status(), 200);
    let took = began.elapsed();
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["files"], json!({ "deleted": 2 * JOBS, "missing": 0, "kept": 0, "left": 0 }), "{answer}");
    assert!(store.keys("pictures").await.is_empty());
    assert_eq!(files_below(&app.serve_dir()), [""; 0]);
    let order = format!("/erasures/{}", answer["erasure_id"].as_str().expect("an id"));
    loop {
        let shown: Value = app.admin(Method::GET, &order, None).await.json().await.expect("JSON");
        if shown["purged_at"].is_string() {
            break;
        }
        assert!(began.elapsed() < WAIT_MAX, "{shown}");
        poll_delay().await;
    }
    for file in files_below(&app.data_dir()) {
        let bytes = std::fs::read(app.data_dir().join(&file)).unwrap_or_default();
        for canary in [CANARY, "canary-name"] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{canary} is in {file}");
        }
    }
    let (gone_ms, purged_ms) = (took.as_millis(), began.elapsed().as_millis());
    figure(
        "erasure",
        format!("{JOBS} jobs of a subject in two places each: gone in {gone_ms} ms, purged in {purged_ms} ms"),
    );
}

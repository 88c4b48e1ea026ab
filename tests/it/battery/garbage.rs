//! A serve directory of very many files, compared with the ledger.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pixerve::job::ContentHash;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::figure;
use crate::erasure::garbage::plant;
use crate::harness::app::{TestApp, WAIT_MAX, poll_delay};

const OLD: Duration = Duration::from_hours(48);
const FILES_OF_A_JOB: u32 = 4;

/// So many files of as many jobs as they are of, a few hundred of them in each directory.
fn plant_many(dir: &Path, files: u32) {
    for number in 0..files {
        let (job, width) = (number / FILES_OF_A_JOB, number % FILES_OF_A_JOB);
        let hash = ContentHash::of(&job.to_be_bytes());
        plant(dir, &format!("tenant-{}/{hash}_me_photo_0_{width}_.jpg", job % 100), OLD);
    }
}

async fn compared(app: &TestApp, query: &str) -> (Value, Duration) {
    let began = Instant::now();
    let answer = app.admin(Method::POST, &format!("/gc?{query}"), None).await;
    let mut run: Value = answer.json().await.expect("JSON");
    while run["state"] == "running" {
        assert!(began.elapsed() < 4 * WAIT_MAX, "{run}");
        // It goes on, and so does everything else.
        assert_eq!(app.get("/health/live").await.status(), 200);
        poll_delay().await;
        let path = format!("/gc/{}", run["gc_id"].as_str().expect("an id"));
        run = app.admin(Method::GET, &path, None).await.json().await.expect("JSON");
    }
    assert_eq!(run["state"], "done", "{run}");
    (run["report"].clone(), began.elapsed())
}

/// Compares so many files that nobody knows, adopts them, compares them again, then deletes half of as many more.
async fn compare_many(files: u32) -> [Duration; 4] {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "0")]).await;
    let dir = app.serve_dir();
    plant_many(&dir, files);
    let (report, unknown_in) = compared(&app, "").await;
    assert_eq!((&report["unknown"]["files"], &report["known"]["files"]), (&json!(files), &json!(0)), "{report}");
    let (report, adopted_in) = compared(&app, "adopt=true").await;
    assert_eq!(report["adopted"]["files"], files, "{report}");
    let (report, known_in) = compared(&app, "").await;
    assert_eq!((&report["unknown"]["files"], &report["known"]["files"]), (&json!(0), &json!(files)), "{report}");
    assert_eq!((&report["missing"]["files"], &report["missing"]["looked_for"]), (&json!(0), &json!(files)), "{report}");
    // The same again elsewhere.
    fs::rename(dir.join("tenant-0"), dir.join("tenant-x")).expect("moved");
    let moved = fs::read_dir(dir.join("tenant-x")).expect("listed").count();
    let (report, deleted_in) = compared(&app, "delete=true").await;
    assert_eq!((&report["deleted"]["files"], &report["missing"]["files"]), (&json!(moved), &json!(moved)), "{report}");
    assert_eq!(fs::read_dir(dir.join("tenant-x")).expect("listed").count(), 0);
    [unknown_in, adopted_in, known_in, deleted_in]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_files_are_compared() {
    compare_many(800).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn a_hundred_thousand_files_are_compared_in_less_than_30_s() {
    const FILES: u32 = 100_000;
    let [unknown, adopted, known, deleted] = compare_many(FILES).await.map(|took| took.as_millis());
    assert!(unknown < 30_000 && known < 30_000, "{unknown} ms, {known} ms");
    figure(
        "garbage",
        format!(
            "{FILES} files compared: all unknown in {unknown} ms, all known in {known} ms; adopted in {adopted} ms, a hundredth deleted in {deleted} ms"
        ),
    );
}

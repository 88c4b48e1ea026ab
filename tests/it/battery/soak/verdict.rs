//! The contract's first sentence, for each job that was accepted.

use std::collections::HashMap;

use image::ImageFormat;
use pixerve::job::ContentHash;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::load::{Accepted, Ledger};
use super::{BUCKET, Stored};
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::process::{Home, ServerProcess};

/// Waits until every accepted job has ended, and panics unless each ended once, as it should, with all files whole.
pub(super) async fn of(home: &Home, server: &ServerProcess, ledger: &Ledger, stored: &Stored<'_>) -> String {
    let mut ends: HashMap<String, usize> = HashMap::new();
    let (mut files, mut ended) = (0, HashMap::new());
    let accepted = ledger.accepted();
    for job in &accepted {
        server.ended(&job.answer).await;
    }
    for (path, name) in [("/success/list", "success_records"), ("/failures/list", "failures")] {
        for record in records(server, path, name).await {
            *ends.entry(record["job_id"].as_str().expect("an id").to_owned()).or_default() += 1;
        }
    }
    for job in &accepted {
        let status = server.ended(&job.answer).await;
        let state = status["state"].as_str().expect("a state").to_owned();
        let records = ends.get(job.id()).copied().unwrap_or_default();
        assert_eq!(records, usize::from(state != "cancelled"), "{records} records of {status}");
        assert_end(job, &state, &status, ledger);
        *ended.entry(state).or_insert(0) += 1;
        files += assert_files(home, job, &status, stored).await;
    }
    assert_spool_is_empty(home).await;
    let of = |state: &str| ended.get(state).copied().unwrap_or(0);
    format!(
        "every one of {} jobs ended once ({} completed, {} failed, {} cancelled); {files} files named, each whole; \
         nothing left in the spool",
        accepted.len(),
        of("completed"),
        of("failed"),
        of("cancelled")
    )
}

/// A job ends in the way that what happened to it explains.
fn assert_end(job: &Accepted, state: &str, status: &Value, ledger: &Ledger) {
    match state {
        "completed" => {
            let stores = job.upload.stores();
            for file in status["files"].as_array().expect("files") {
                let places: Vec<_> = file["stored"].as_array().expect("places").iter().map(|p| &p["backend"]).collect();
                assert_eq!(places, stores, "{status}");
            }
            assert!(!job.upload.cut, "half a picture was completed: {status}");
            assert!(!ledger.was_cancelled(job.id()), "completed after its cancellation was answered: {status}");
        }
        "failed" => {
            let error = status["error"].as_str().expect("an error");
            let by_store = job.upload.stores().contains(&"s3") && error.contains(BUCKET);
            assert!(job.upload.cut || by_store, "nothing was wrong with it: {status}");
        }
        // Also where the answer to the cancellation was lost.
        _ => assert_eq!(state, "cancelled", "{status}"),
    }
}

/// Each file that the record names is where it says and is what it says: how many there are.
async fn assert_files(home: &Home, job: &Accepted, status: &Value, stored: &Stored<'_>) -> usize {
    let files = status["files"].as_array().expect("files");
    if status["state"] == "completed" {
        let names: Vec<_> = files.iter().map(|file| file["name"].clone()).collect();
        assert_eq!(json!(names), job.answer["expected_files"], "{status}");
    }
    for file in files {
        let name = file["name"].as_str().expect("a name");
        for place in file["stored"].as_array().expect("places") {
            let bytes = match place["backend"].as_str() {
                Some("s3") => {
                    let object = stored.s3.object(BUCKET, &format!("soak/{name}")).await;
                    object.unwrap_or_else(|| panic!("{name} is not in the bucket: {status}")).bytes
                }
                _ => std::fs::read(home.serve_dir().join("soak").join(name)).expect("the file is there"),
            };
            assert_whole(file, name, &bytes, job);
        }
    }
    files.len()
}

fn assert_whole(file: &Value, name: &str, bytes: &[u8], job: &Accepted) {
    assert_eq!(
        (&file["sha256"], &file["bytes"]),
        (&json!(ContentHash::of(bytes).to_string()), &json!(bytes.len())),
        "{name}"
    );
    // An original is found out by its bytes; half a one need not decode.
    let is_original = !name.contains("_.");
    if is_original && job.upload.cut {
        return;
    }
    let format = ImageFormat::from_extension(file["format"].as_str().expect("a format")).expect("a format we read");
    let picture = image::load_from_memory_with_format(bytes, format).expect("it decodes");
    let size = (picture.width(), picture.height());
    assert_eq!((&file["width"], &file["height"]), (&json!(size.0), &json!(size.1)), "{name}");
    if is_original {
        assert_eq!(size, job.upload.size(), "{name}");
    }
}

async fn records(server: &ServerProcess, path: &str, name: &str) -> Vec<Value> {
    let (mut records, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.admin(Method::GET, &format!("{path}?limit=100&cursor={cursor}"), None).await;
        let page: Value = page.json().await.expect("JSON");
        records.extend(page[name].as_array().expect("records").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return records,
        }
    }
}

async fn assert_spool_is_empty(home: &Home) {
    let started = Instant::now();
    let left = || ["jobs", "incoming"].map(|part| files_below(&home.data_dir().join("spool").join(part))).concat();
    while !left().is_empty() {
        assert!(started.elapsed() < WAIT_MAX, "left in the spool: {:?}", left());
        poll_delay().await;
    }
}

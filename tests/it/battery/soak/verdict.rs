//! The contract's first sentence, for each job that was accepted.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream};
use image::ImageFormat;
use pixerve::job::ContentHash;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::load::{Accepted, Ledger, Upload};
use super::{BUCKET, Stored};
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::process::{Home, ServerProcess};

/// Jobs looked at at once: there may be tens of thousands.
const CONCURRENT_CHECKS: usize = 16;

/// Waits until every accepted job has ended, and panics unless each ended once, as it should, with all files whole, and
/// there are no other files.
pub(super) async fn of(home: &Home, server: &ServerProcess, ledger: &Ledger, stored: &Stored<'_>) -> String {
    let accepted = ledger.accepted();
    let statuses: Vec<_> =
        stream::iter(&accepted).map(|job| server.ended(&job.answer)).buffered(CONCURRENT_CHECKS).collect().await;
    assert_spool_is_empty(home).await;
    let mut recorded: HashMap<String, Vec<Value>> = HashMap::new();
    for (path, name) in [("/success/list", "success_records"), ("/failures/list", "failures")] {
        for record in records(server, path, name).await {
            recorded.entry(record["job_id"].as_str().expect("an id").to_owned()).or_default().push(record);
        }
    }
    let (mut ended, mut to_check) = (HashMap::new(), Vec::new());
    let mut expected = Expected::default();
    for (job, status) in accepted.iter().zip(statuses) {
        let state = status["state"].as_str().expect("a state").to_owned();
        let records = recorded.remove(job.id()).unwrap_or_default().len();
        assert_eq!(records, usize::from(state != "cancelled"), "{records} records of {status}");
        assert_end(job, &state, &status, ledger);
        *ended.entry(state).or_insert(0) += 1;
        expected.add(job);
        to_check.push((status, Some(job.upload)));
    }
    // Whoever uploaded these got no answer.
    let unanswered = recorded.len();
    for record in recorded.into_values().flatten() {
        expected.hashes.push(record["hash"].as_str().expect("a hash").to_owned());
        to_check.push((record, None));
    }
    let checks = stream::iter(&to_check).map(|(status, upload)| assert_files(home, status, *upload, stored));
    let files: usize = checks.buffer_unordered(CONCURRENT_CHECKS).fold(0, async |all, files| all + files).await;
    let objects = stored.s3.keys(BUCKET).await;
    expected.assert_all(&expected.objects, &objects);
    let serve_files = files_below(&home.serve_dir());
    expected.assert_all(&expected.served, &serve_files);
    let of = |state: &str| ended.get(state).copied().unwrap_or(0);
    format!(
        "every one of {} jobs ended once ({} completed, {} failed, {} cancelled), and {unanswered} whose uploads were never \
         answered; {files} files named, each whole; {} objects and {} served files, none besides; nothing left in the spool",
        accepted.len(),
        of("completed"),
        of("failed"),
        of("cancelled"),
        objects.len(),
        serve_files.len()
    )
}

/// Files that may be there.
#[derive(Default)]
struct Expected {
    objects: HashSet<String>,
    served: HashSet<String>,
    /// What the names of jobs begin with whose uploads were never answered.
    hashes: Vec<String>,
}

impl Expected {
    fn add(&mut self, job: &Accepted) {
        for name in job.answer["expected_files"].as_array().expect("names") {
            let path = format!("soak/{}", name.as_str().expect("a name"));
            for store in job.upload.stores() {
                if *store == "s3" { &mut self.objects } else { &mut self.served }.insert(path.clone());
            }
        }
    }

    fn assert_all(&self, named: &HashSet<String>, found: &[String]) {
        let is_expected = |path: &str| {
            let name = path.strip_prefix("soak/").unwrap_or(path);
            named.contains(path) || self.hashes.iter().any(|hash| name.starts_with(hash.as_str()))
        };
        let extra: Vec<_> = found.iter().filter(|path| !is_expected(path)).collect();
        assert!(extra.is_empty(), "nobody asked for {extra:?}");
    }
}

/// A job ends in the way that what happened to it explains.
fn assert_end(job: &Accepted, state: &str, status: &Value, ledger: &Ledger) {
    match state {
        "completed" => {
            let stores = job.upload.stores();
            let names: Vec<_> = status["files"].as_array().expect("files").iter().map(|file| &file["name"]).collect();
            assert_eq!(json!(names), job.answer["expected_files"], "{status}");
            for file in status["files"].as_array().expect("files") {
                let places: Vec<_> = file["stored"].as_array().expect("places").iter().map(|p| &p["backend"]).collect();
                assert_eq!(places, stores, "{status}");
            }
            assert!(!job.upload.cut, "half a picture was completed: {status}");
            assert!(!ledger.was_cancelled(job.id()), "completed after its cancellation was answered: {status}");
        }
        "failed" => {
            // A store that can't be reached is waited for.
            assert!(job.upload.cut, "nothing was wrong with it: {status}");
        }
        // Also where the answer to the cancellation was lost.
        _ => assert_eq!(state, "cancelled", "{status}"),
    }
}

/// Each file that the record names is where it says and is what it says: how many there are.
async fn assert_files(home: &Home, status: &Value, upload: Option<Upload>, stored: &Stored<'_>) -> usize {
    let files = status["files"].as_array().expect("files");
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
            assert_whole(file, name, &bytes, upload);
        }
    }
    files.len()
}

fn assert_whole(file: &Value, name: &str, bytes: &[u8], upload: Option<Upload>) {
    assert_eq!(
        (&file["sha256"], &file["bytes"]),
        (&json!(ContentHash::of(bytes).to_string()), &json!(bytes.len())),
        "{name}"
    );
    // An original is found out by its bytes; half a one need not decode.
    let is_original = !name.contains("_.");
    if is_original && upload.is_none_or(|upload| upload.cut) {
        return;
    }
    let format = ImageFormat::from_extension(file["format"].as_str().expect("a format")).expect("a format we read");
    let picture = image::load_from_memory_with_format(bytes, format).expect("it decodes");
    let size = (picture.width(), picture.height());
    assert_eq!((&file["width"], &file["height"]), (&json!(size.0), &json!(size.1)), "{name}");
    if let (true, Some(upload)) = (is_original, upload) {
        assert_eq!(size, upload.size(), "{name}");
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

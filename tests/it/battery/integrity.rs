//! Thousands of jobs under chaos; every byte accounted for.
//!
//! Chaos is `battery/soak.rs`. Canaries: `end_to_end/secrets.rs` (stores' secrets, callback headers, tokens, signatures: no
//! hit in the log at `trace`, the terminal, or any file), `register/stolen_disk.rs` (what a stolen disk shows),
//! `callback/hostile.rs` (the log of deliveries), `http/register.rs` (replies). Duplicates in the queue:
//! `queue/dedupe.rs`. Leases in the queue: `queue/lease.rs`. Here: what clients see of a whole server, and (`lapsed`) what
//! workers make of a lease that is lost under their hands.

mod lapsed;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use pixerve::job::ContentHash;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::figure;
use crate::harness::api::Api;
use crate::harness::app::{TestApp, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

const UNLIMITED: [(&str, &str); 2] = [("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"), ("PIXERVE_SERVER_RATE_PER_USER", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_equal_uploads_at_once_no_two_are_jobs_at_the_same_time() {
    let app = TestApp::start_with(&UNLIMITED).await;
    let token = Claims::of("me").job(small_job()).sign();
    let picture = jpeg(120, 90, 1);
    let answers = join_all((0..50).map(|_| async {
        let answer = app.upload(&token, "a.jpg", picture.clone()).await;
        let status = answer.status();
        (status, answer.json::<Value>().await.expect("JSON"))
    }))
    .await;
    let accepted: Vec<_> =
        answers.iter().filter(|(status, _)| *status == StatusCode::OK).map(|(_, body)| body).collect();
    let ids: HashSet<_> = accepted.iter().map(|body| body["job_id"].to_string()).collect();
    assert_eq!(ids.len(), accepted.len(), "each 200 is a job of its own");
    for (status, body) in &answers {
        assert!(matches!(status.as_u16(), 200 | 409), "{status} {body}");
        assert!(ids.contains(&body["job_id"].to_string()), "a 409 names the job it is a duplicate of: {body}");
    }
    let mut spans = Vec::new();
    for answer in &accepted {
        let status = app.ended(answer).await;
        assert_eq!(status["state"], "completed", "{status}");
        // Not `created_at`: that is the moment of the upload, which may wait for the end of the one before.
        spans.push((status["started_at"].to_string(), status["finished_at"].to_string()));
        let file = &status["files"][0];
        let bytes = app.file(file["stored"][0]["location"].as_str().expect("a location")).await;
        assert_eq!(file["sha256"], ContentHash::of(&bytes).to_string());
    }
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two at the same time: {pair:?}");
    }
    let refused = answers.len() - accepted.len();
    figure("integrity", format!("the same upload 50 times at once: {} in turn, {refused} duplicates", accepted.len()));
}

/// The names of files, each with the hash of bytes that were read or recorded under it.
type Hashes = BTreeSet<(String, String)>;

/// What one reader was answered.
#[derive(Default)]
struct Answers {
    absent: usize,
    whole: usize,
    hashes: Hashes,
}

/// Reads every name again and again while the same pictures are written again and again.
async fn reads_during_writes(reads: usize) {
    let app = TestApp::start_with(&UNLIMITED).await;
    let over = Arc::new(AtomicBool::new(false));
    let token =
        Claims::of("me").job(json!({ "directHost": true, "formats": { "jpg": { "sizes": [[96], [24]] } } })).sign();
    let mut writers = JoinSet::new();
    let mut names = Vec::new();
    for seed in 0..4 {
        let picture = jpeg(160, 120, seed);
        let hash = format!("{}_me", ContentHash::of(&picture));
        names.extend(["96_96", "24_24"].map(|size| format!("/files/{hash}_a_{size}_.jpg")));
        writers.spawn(write(Api::clone(&app), token.clone(), picture, Arc::clone(&over)));
    }
    let names = Arc::new(names);
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        readers.spawn(read(Api::clone(&app), Arc::clone(&names), reads / 8));
    }
    let mut read = Answers::default();
    while let Some(reader) = readers.join_next().await {
        let answers = reader.expect("only whole files");
        read.absent += answers.absent;
        read.whole += answers.whole;
        read.hashes.extend(answers.hashes);
    }
    over.store(true, Ordering::SeqCst);
    let (mut jobs, mut recorded) = (0, Hashes::new());
    while let Some(writer) = writers.join_next().await {
        let (count, hashes) = writer.expect("a writer ends well");
        jobs += count;
        recorded.extend(hashes);
    }
    let Answers { absent, whole, hashes } = read;
    assert!(whole > reads / 10 && jobs > 4, "{whole} whole, {absent} absent, {jobs} jobs");
    let unknown: Vec<_> = hashes.difference(&recorded).collect();
    assert!(unknown.is_empty(), "bytes that no record knows: {unknown:?}");
    assert_eq!(hashes.len(), names.len(), "every file was read");
    figure(
        "integrity",
        format!(
            "{reads} reads while {jobs} jobs wrote the same names: {absent} times 404, {whole} times all of it, with the \
             recorded SHA-256"
        ),
    );
}

/// Writes the same again and again: how many jobs that were, and what their records say.
async fn write(app: Api, token: String, picture: Vec<u8>, over: Arc<AtomicBool>) -> (usize, Hashes) {
    let (mut jobs, mut hashes) = (0, Hashes::new());
    while !over.load(Ordering::SeqCst) || jobs == 0 {
        let answer = app.upload(&token, "a.jpg", picture.clone()).await;
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert_eq!(status, StatusCode::OK, "{body}");
        let status = app.ended(&body).await;
        assert_eq!(status["state"], "completed", "{status}");
        for file in status["files"].as_array().expect("files") {
            let text = |value: &Value| value.as_str().expect("a string").to_owned();
            hashes.insert((text(&file["stored"][0]["location"]), text(&file["sha256"])));
        }
        jobs += 1;
    }
    (jobs, hashes)
}

async fn read(app: Api, names: Arc<Vec<String>>, reads: usize) -> Answers {
    let mut answers = Answers::default();
    for number in 0..reads {
        let name = &names[number % names.len()];
        let answer = app.get(name).await;
        match answer.status() {
            StatusCode::NOT_FOUND => {
                answers.absent += 1;
                poll_delay().await;
            }
            StatusCode::OK => {
                let bytes = answer.bytes().await.expect("all of it");
                answers.hashes.insert((name.clone(), ContentHash::of(&bytes).to_string()));
                answers.whole += 1;
            }
            status => panic!("{name} is answered with {status}"),
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_while_files_are_written_gets_nothing_or_all() {
    reads_during_writes(3_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn whoever_reads_a_hundred_thousand_times_gets_nothing_or_all() {
    reads_during_writes(100_000).await;
}

//! Thousands of jobs under chaos; every byte accounted for.
//!
//! Chaos is `battery/soak.rs`. Canaries: `end_to_end/secrets.rs` (stores' secrets, callback headers, tokens, signatures: no
//! hit in the log at `trace`, the terminal, or any file), `vault/stolen_disk.rs` (what a stolen disk shows),
//! `callback/hostile.rs` (the log of deliveries), `http/register.rs` (replies). Duplicates in the queue:
//! `queue/dedupe.rs`. Here: what clients see of a whole server.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use pixerve::job::ContentHash;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::figure;
use crate::harness::api::Api;
use crate::harness::app::{TestApp, breathe, small_job};
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
        spans.push((status["created_at"].to_string(), status["finished_at"].to_string()));
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

/// Reads every name again and again while the same pictures are written again and again.
async fn reads_during_writes(reads: usize) {
    let app = TestApp::start_with(&UNLIMITED).await;
    let over = Arc::new(AtomicBool::new(false));
    let (whole, absent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let token =
        Claims::of("me").job(json!({ "directHost": true, "formats": { "jpg": { "sizes": [[96], [24]] } } })).sign();
    let mut tasks = JoinSet::new();
    let mut names = Vec::new();
    for seed in 0..4 {
        let picture = jpeg(160, 120, seed);
        let hash = format!("{}_me", ContentHash::of(&picture));
        names.extend(["96_96", "24_24"].map(|size| format!("/files/{hash}_a_{size}_.jpg")));
        tasks.spawn(write(Api::clone(&app), token.clone(), picture, Arc::clone(&over)));
    }
    let names = Arc::new(names);
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        readers.spawn(read(Api::clone(&app), Arc::clone(&names), reads / 8, Arc::clone(&whole), Arc::clone(&absent)));
    }
    while let Some(reader) = readers.join_next().await {
        reader.expect("only whole files");
    }
    over.store(true, Ordering::SeqCst);
    let mut written = 0;
    while let Some(jobs) = tasks.join_next().await {
        written += jobs.expect("a writer ends well");
    }
    let (whole, absent) = (whole.load(Ordering::SeqCst), absent.load(Ordering::SeqCst));
    assert!(whole > reads / 10 && written > 4, "{whole} whole, {absent} absent, {written} jobs");
    figure(
        "integrity",
        format!("{reads} reads while {written} jobs wrote the same names: {absent} times 404, {whole} whole"),
    );
}

async fn write(app: Api, token: String, picture: Vec<u8>, over: Arc<AtomicBool>) -> usize {
    let mut jobs = 0;
    while !over.load(Ordering::SeqCst) || jobs == 0 {
        let answer = app.upload(&token, "a.jpg", picture.clone()).await;
        let (status, body) = (answer.status(), answer.json::<Value>().await.expect("JSON"));
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(app.ended(&body).await["state"], "completed");
        jobs += 1;
    }
    jobs
}

async fn read(app: Api, names: Arc<Vec<String>>, reads: usize, whole: Arc<AtomicUsize>, absent: Arc<AtomicUsize>) {
    for number in 0..reads {
        let name = &names[number % names.len()];
        let answer = app.get(name).await;
        match answer.status() {
            StatusCode::NOT_FOUND => {
                absent.fetch_add(1, Ordering::SeqCst);
                breathe().await;
            }
            StatusCode::OK => {
                let bytes = answer.bytes().await.expect("all of it");
                let picture =
                    image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).expect("it is whole");
                let side = if name.contains("_96_96_") { 96 } else { 24 };
                assert_eq!((picture.width(), picture.height()), (side, side * 3 / 4), "{name}");
                whole.fetch_add(1, Ordering::SeqCst);
            }
            status => panic!("{name} is answered with {status}"),
        }
    }
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

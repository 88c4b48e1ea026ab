//! Thousands who watch.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::NO_RATES;
use crate::battery::figure;
use crate::harness::app::small_job;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::stores::dead_store;

const STREAMS: usize = 4000;
/// So many watch the same job.
const WATCHERS: usize = 100;
const MEMORY_MAX: u64 = 200 << 20;
/// Jobs of one measurement.
const JOBS: u32 = 60;

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Opens a stream and waits for its first status.
async fn watch(addr: SocketAddr, job: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(addr).await.expect("a connection");
    let id = job["job_id"].as_str().expect("an id");
    let request = format!("GET /events?job_id={id} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut seen = String::new();
    let mut bytes = [0; 4096];
    while !seen.contains("event: status") {
        let length = stream.read(&mut bytes).await.expect("it goes on");
        assert!(length > 0, "the stream ended: {seen}");
        seen += &String::from_utf8_lossy(&bytes[..length]);
        assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
    }
    stream
}

/// How long so many jobs take, one after the other client.
async fn time_of_jobs(server: &ServerProcess, seed: u32) -> Duration {
    let started = Instant::now();
    let accepted: Vec<Value> = stream::iter(seed..seed + JOBS)
        .map(|seed| server.accepted("other", small_job(), "a.jpg", jpeg(40, 30, seed)))
        .buffer_unordered(8)
        .collect()
        .await;
    for job in &accepted {
        let status =
            server.get_json(&format!("/status?job_id={}&wait=60", job["job_id"].as_str().expect("an id"))).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn four_thousand_open_streams_cost_less_than_200_mib_and_jobs_go_on_beside_them() {
    let settings = [("PIXERVE_SERVER_CONNECTIONS_MAX", "6000"), ("PIXERVE_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "0")];
    let home = Home::new(&[&NO_RATES[..], &settings[..]].concat());
    let server = home.start().await;
    let dead = server.register(dead_store()).await;
    let job = json!({ "storageKeys": { "s3": dead }, "formats": { "jpg": { "sizes": [[8]] } } });
    let mut waiting = Vec::new();
    for seed in 0..u32::try_from(STREAMS / WATCHERS).expect("few") {
        waiting.push(server.accepted("me", job.clone(), "a.jpg", jpeg(16, 16, seed)).await);
    }
    // Once to warm everything up.
    time_of_jobs(&server, 1000).await;
    let alone = time_of_jobs(&server, 2000).await;
    let before = resident_bytes(server.id());
    let watched = waiting.iter().cycle().take(STREAMS);
    let streams: Vec<_> = stream::iter(watched).map(|job| watch(home.addr, job)).buffer_unordered(32).collect().await;
    let taken = resident_bytes(server.id()).saturating_sub(before);
    let beside = time_of_jobs(&server, 3000).await;
    let later = resident_bytes(server.id()).saturating_sub(before);
    figure(
        "load",
        format!(
            "{} streams of {} jobs: {} MiB, {} MiB after {JOBS} jobs beside them, which took {beside:.2?} ({alone:.2?} without)",
            streams.len(),
            waiting.len(),
            taken >> 20,
            later >> 20,
        ),
    );
    assert!(taken.max(later) < MEMORY_MAX, "{} MiB", taken.max(later) >> 20);
}

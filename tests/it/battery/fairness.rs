//! One tenant floods by any means that it has; another's small job and its callback end in time all the same.
//!
//! Proved elsewhere, without a clock: whose turn it is (`queue/order.rs`, `queue/places.rs`, and the random tests beside the
//! schedule), and whose callback (`queue/delivery.rs`, `callback/hostile.rs`).

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::figure;
use super::load::{NO_RATES, nth_percentile};
use crate::harness::app::poll_delay;
use crate::harness::fault_proxy::BlackHole;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

/// Jobs of the other tenant, on an idle server and behind the flood.
const MEASURED: u32 = 10;
/// What a job and its callback may take behind a flood, besides three times what they take on an idle server.
const ALLOWANCE: Duration = Duration::from_secs(2);

/// An upload of the tenant that floods.
struct Upload {
    sub: String,
    job: Value,
    picture: Vec<u8>,
}

fn small_job() -> Value {
    json!({ "directHost": true, "formats": { "webp": { "sizes": [[320]] } } })
}

/// From the first byte sent to the callback's coming, sorted.
async fn one_after_the_other(server: &ServerProcess, receiver: &Receiver, first_seed: u32) -> Vec<Duration> {
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    let mut took = Vec::new();
    for seed in first_seed..first_seed + MEASURED {
        let picture = jpeg(640, 480, seed);
        let began = Instant::now();
        let accepted = server.accepted("other", job.clone(), "a.jpg", picture).await;
        let call = receiver.call().await;
        took.push(began.elapsed());
        assert_eq!((&call.body["job_id"], &call.body["status"]), (&accepted["job_id"], &json!("completed")));
    }
    took.sort();
    took
}

/// Measures behind the flood of a registered user. `is_on` says whether it has begun to hurt, and must hold until the end.
async fn behind(what: &str, server: &ServerProcess, flood: Vec<Upload>, is_on: impl AsyncFn() -> bool) {
    let receiver = Receiver::start().await;
    // For warming up.
    one_after_the_other(server, &receiver, 0).await;
    let idle = one_after_the_other(server, &receiver, 1_000).await;
    let user = server.admin(Method::POST, "/register", Some(json!({ "user": "greedy" }))).await;
    let user: Value = user.json().await.expect("JSON");
    let [key, secret] = ["access_key", "secret"].map(|field| user[field].as_str().expect("text"));
    let uploads = flood.len();
    for Upload { sub, job, picture } in flood {
        let token = Claims::of(&sub).job(job).by(key, secret).sign();
        assert_eq!(server.upload(&token, "a.jpg", picture).await.status(), 200);
    }
    while !is_on().await {
        poll_delay().await;
    }
    let flooded = one_after_the_other(server, &receiver, 2_000).await;
    assert!(is_on().await, "the flood is over");
    let (idle, worst) = (nth_percentile(&idle, 95), nth_percentile(&flooded, 100));
    let shown = format!(
        "a small job and its callback behind {uploads} {what}: {worst:.1?} at worst, {idle:.1?} on an idle server"
    );
    figure("fairness", &shown);
    assert!(worst <= 3 * idle + ALLOWANCE, "{shown}");
}

async fn jobs(server: &ServerProcess, state: &str) -> u64 {
    server.get_json("/health").await["checks"]["queue"][state].as_u64().expect("a number")
}

async fn server() -> (Home, ServerProcess) {
    let home = Home::new(&NO_RATES);
    let server = home.start().await;
    (home, server)
}

/// Jobs of all cores' work, of so many subs.
fn heavy_jobs(count: u32, subs: u32) -> Vec<Upload> {
    let formats = json!({ "webp": { "settings": { "speed": 1 } }, "png": { "settings": { "speed": 1 } } });
    let job = json!({ "directHost": true, "formats": formats });
    let upload = |n| Upload { sub: format!("sub-{}", n % subs), job: job.clone(), picture: jpeg(1_000, 750, n) };
    (0..count).map(upload).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn anothers_small_job_and_callback_end_in_time_behind_many_jobs() {
    let (_home, server) = server().await;
    behind("jobs", &server, heavy_jobs(200, 1), async || jobs(&server, "pending").await > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn anothers_small_job_and_callback_end_in_time_behind_jobs_of_120_subs() {
    let (_home, server) = server().await;
    behind("jobs of 120 subs", &server, heavy_jobs(240, 120), async || jobs(&server, "pending").await > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn anothers_small_job_and_callback_end_in_time_behind_heavy_avif() {
    let (_home, server) = server().await;
    let job = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1, "quality": 90 } } } });
    let upload = |n| Upload { sub: format!("sub-{n}"), job: job.clone(), picture: jpeg(3_200, 2_200, n) };
    let flood = (0..8).map(upload).collect();
    behind("AVIFs of 7 megapixels", &server, flood, async || jobs(&server, "pending").await > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn anothers_small_job_and_callback_end_in_time_behind_stores_that_do_not_answer() {
    let (_home, server) = server().await;
    let hole = BlackHole::start().await;
    let store = json!({
        "type": "s3", "bucket": "nowhere", "region": "us-east-1", "endpoint": format!("http://{}", hole.addr),
        "access_key_id": "id", "secret_access_key": "secret"
    });
    let store = server.register(store).await;
    let job = json!({ "storageKeys": { "s3": store }, "formats": { "webp": { "sizes": [[320]] } } });
    let upload = |n| Upload { sub: format!("sub-{n}"), job: job.clone(), picture: jpeg(640, 480, n) };
    let flood = (0..60).map(upload).collect();
    let is_on = async || jobs(&server, "pending").await + jobs(&server, "processing").await > 0;
    behind("jobs for a store that doesn't answer", &server, flood, is_on).await;
}

/// Receivers that take a connection and never answer.
async fn behind_tarpits(hosts: u8) {
    let (_home, server) = server().await;
    let listen = |n| TcpListener::bind((Ipv4Addr::new(127, 0, 8, n), 0)).expect("a port");
    let tarpits: Vec<_> = (1..=hosts).map(listen).collect();
    let upload = |n: u32| {
        let address = tarpits[n as usize % tarpits.len()].local_addr().expect("its address");
        let mut job = small_job();
        job["completionCallback"] = json!(format!("http://{address}/"));
        Upload { sub: format!("sub-{}", n % 120), job, picture: jpeg(320, 240, n) }
    };
    let flood = (0..160).map(upload).collect();
    let is_on = async || jobs(&server, "pending").await == 0;
    let what = format!("callbacks to receivers that don't answer on {hosts} host(s)");
    behind(&what, &server, flood, is_on).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn anothers_small_job_and_callback_end_in_time_behind_receivers_on_many_hosts_that_do_not_answer() {
    behind_tarpits(160).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn anothers_small_job_and_callback_end_in_time_behind_a_receiver_that_does_not_answer() {
    behind_tarpits(1).await;
}

//! `make bench-nodes`: what one, two and three nodes take in and bring out in a second, beside one machine with a queue of its
//! own, all in one run.
//!
//! Every server is a process of the release; Redis, the bucket and the clients are on the same machine. So uploads are small, and
//! what is brought out waits for a store that is slow: pixels don't get more for more nodes on the same cores.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time and writes a report")]
#![expect(clippy::cast_precision_loss, reason = "small numbers")]

#[allow(dead_code, unused_imports, reason = "what only the tests use of it")]
#[path = "../it/harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the other benchmarks need more of it")]
mod usage;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use harness::api::Api;
use harness::app::{WAIT_MAX, poll_delay};
use harness::cluster::Cluster;
use harness::fault_proxy::{Fault, FaultProxy};
use harness::picture::jpeg;
use harness::process::{Home, ServerProcess};
use harness::redis::{Appendfsync, Flavour};
use harness::stores::S3Server;
use harness::token::Claims;

const REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/nodes.md");
const NODES: [usize; 3] = [1, 2, 3];
/// All of them together, however many nodes there are.
const CLIENTS: usize = 24;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);
/// What a store takes for a file, and how many are written to it at once by each node.
const PUT_TAKES: Duration = Duration::from_millis(150);
const PUTS_AT_ONCE: (&str, &str) = ("PIXERVE_STORES_CONCURRENCY", "2");
const FILES: usize = 6;
const JOBS: u32 = 60;
const STORE: &str = "pictures";

/// So much as no limit is in the way.
const LIMITS: [(&str, &str); 5] = [
    ("PIXERVE_SERVER_RATE_PER_USER", "0"),
    ("PIXERVE_QUEUE_DEPTH_MAX", "1000000"),
    ("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "1000000"),
    ("PIXERVE_MAX_WORKERS", "2"),
    ("PIXERVE_LOG", "warn"),
];
const API: [(&str, &str); 1] = [("PIXERVE_NODE_ROLES", "api")];
const WORKER: [(&str, &str); 1] = [("PIXERVE_NODE_ROLES", "worker")];

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let report = runtime.block_on(measure());
    println!("\n{report}");
    let path = Path::new(REPORT);
    let written =
        std::fs::create_dir_all(path.parent().expect("below one")).and_then(|()| std::fs::write(path, &report));
    written.expect("the report is written");
}

async fn measure() -> String {
    let start = Instant::now();
    let mut report = String::from("| a second | one machine | 1 node | 2 nodes | 3 nodes |\n|---|---|---|---|---|\n");
    let alone = accepts_alone().await;
    for appendfsync in [Appendfsync::Everysec, Appendfsync::Always] {
        let mut rates = Vec::new();
        for nodes in NODES {
            rates.push(accepts(nodes, appendfsync).await);
        }
        row(&mut report, &format!("uploads accepted, Redis' `appendfsync` {}", word(appendfsync)), alone, &rates);
    }
    let alone = jobs_alone().await;
    let mut rates = Vec::new();
    for nodes in NODES {
        rates.push(jobs(nodes).await);
    }
    row(&mut report, &format!("jobs of {FILES} files stored, {} ms a file", PUT_TAKES.as_millis()), alone, &rates);

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let _ = writeln!(
        report,
        "\nIn brackets: times what one node does. {cores} cores, which servers, Redis, bucket, store and {CLIENTS} clients share; the run took {} s, load {}. Uploads are \
         JPEGs of 48 x 40 pixels, which nobody makes anything of meanwhile; a node writes two files at once.",
        start.elapsed().as_secs(),
        load.split(' ').nth(1).unwrap_or("?"),
    );
    report
}

fn word(appendfsync: Appendfsync) -> &'static str {
    match appendfsync {
        Appendfsync::Always => "always",
        Appendfsync::Everysec => "everysec",
    }
}

fn row(report: &mut String, what: &str, alone: f64, rates: &[f64]) {
    let cells: Vec<_> = rates.iter().map(|rate| format!("{rate:.1} ({:.2})", rate / rates[0])).collect();
    let line = format!("| {what} | {alone:.1} ({:.2}) | {} |", alone / rates[0], cells.join(" | "));
    println!("{line}");
    report.push_str(&line);
    report.push('\n');
}

/// Uploads that one machine takes in a second, while its only worker is held up.
async fn accepts_alone() -> f64 {
    let home = Home::new(&[&LIMITS[..], &[("PIXERVE_MAX_WORKERS", "1")]].concat());
    let server = home.start().await;
    let slow = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[1500], [1400], [1300]] } } });
    // Of the same tenant as all others: the spare place is for somebody else.
    let accepted = server.accepted("bench", slow, "photo.jpg", jpeg(1600, 1200, 0)).await;
    server.processing(&accepted).await;
    let stopped = stop_children(&server).await;
    let rate = accepted_a_second(&[&server]).await;
    for child in stopped {
        let _ = kill_process(child, Signal::KILL);
    }
    rate
}

/// Stops the processes that work on pixels, once there is one.
async fn stop_children(server: &ServerProcess) -> Vec<Pid> {
    let began = Instant::now();
    loop {
        let children = usage::processes().into_iter().filter(|(_, parent)| *parent == server.id());
        let children: Vec<_> =
            children.filter_map(|(child, _)| i32::try_from(child).ok().and_then(Pid::from_raw)).collect();
        for child in &children {
            kill_process(*child, Signal::STOP).expect("it runs");
        }
        if !children.is_empty() {
            return children;
        }
        assert!(began.elapsed() < WAIT_MAX, "it works on nothing");
        poll_delay().await;
    }
}

/// Uploads that so many nodes take together in a second, of which none makes anything.
async fn accepts(nodes: usize, appendfsync: Appendfsync) -> f64 {
    let cluster = Cluster::start_on(Flavour::Redis, appendfsync).await.expect("Redis is installed");
    let homes: Vec<_> = (0..nodes).map(|_| cluster.home(&[&LIMITS[..], &API].concat())).collect();
    let running = join_all(homes.iter().map(Home::start)).await;
    accepted_a_second(&running.iter().collect::<Vec<_>>()).await
}

async fn accepted_a_second(servers: &[&ServerProcess]) -> f64 {
    let (accepted, seed, stop) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU32::new(1)), Arc::new(AtomicBool::new(false)));
    let token: Arc<str> =
        Claims::of("bench").job(json!({ "directHost": true, "formats": { "jpg": { "sizes": [[32]] } } })).sign().into();
    let mut clients = tokio::task::JoinSet::new();
    // Made ahead: encoding them is no server's work. Behind its end nobody looks, but it makes another file of it.
    let picture: Arc<[u8]> = jpeg(48, 40, 1).into();
    for nth in 0..CLIENTS {
        let api: Api = (**servers[nth % servers.len()]).clone();
        let (accepted, seed, stop) = (Arc::clone(&accepted), Arc::clone(&seed), Arc::clone(&stop));
        let (token, picture) = (Arc::clone(&token), Arc::clone(&picture));
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut bytes = picture.to_vec();
                bytes.extend(seed.fetch_add(1, Ordering::Relaxed).to_le_bytes());
                let (status, body) = api.try_upload(&token, "photo.jpg", bytes).await.expect("an answer");
                assert_eq!(status, StatusCode::OK, "{body}");
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let (before, began) = (accepted.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(MEASURED).await;
    let (measured, time) = (accepted.load(Ordering::Relaxed) - before, began.elapsed());
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    measured as f64 / time.as_secs_f64()
}

/// Jobs that one machine stores in a second.
async fn jobs_alone() -> f64 {
    let s3 = harness::stores::s3().await;
    let home = Home::new(&[&LIMITS[..], &[PUTS_AT_ONCE]].concat());
    let server = home.start().await;
    stored_a_second(&server, &s3).await
}

/// Jobs that so many nodes store in a second; another one takes the uploads.
async fn jobs(nodes: usize) -> f64 {
    let cluster = Cluster::start_on(Flavour::Redis, Appendfsync::Everysec).await.expect("Redis is installed");
    let api = cluster.home(&[&LIMITS[..], &API].concat());
    let api = (api.start().await, api);
    let homes: Vec<_> = (0..nodes).map(|_| cluster.home(&[&LIMITS[..], &WORKER, &[PUTS_AT_ONCE]].concat())).collect();
    let _running = join_all(homes.iter().map(Home::start)).await;
    stored_a_second(&api.0, &cluster.s3).await
}

async fn stored_a_second(server: &ServerProcess, s3: &S3Server) -> f64 {
    s3.create_bucket(STORE);
    let proxy = FaultProxy::start(s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let puts = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&puts);
    proxy.script(move |asked| {
        if asked.method != "PUT" {
            return Fault::Pass;
        }
        written.lock().push(Instant::now());
        Fault::Late(PUT_TAKES)
    });
    let mut registration: Value = s3.registration(STORE);
    registration["endpoint"] = proxy.endpoint().into();
    let key = server.register(registration).await;
    let formats =
        json!({ "jpg": { "sizes": [[40], [30], [20]] }, "webp": { "sizes": [[16], [10]] }, "png": { "sizes": [[8]] } });
    let job = json!({ "storageKeys": { "s3": key }, "formats": formats });
    let uploads = (0..JOBS).map(|seed| {
        let job = job.clone();
        async move { server.accepted(&format!("sub-{}", seed % 7), job, "a.jpg", jpeg(60, 40, seed)).await }
    });
    for accepted in join_all(uploads).await {
        assert_eq!(server.ended(&accepted).await["state"], "completed");
    }
    let puts = puts.lock();
    let time = puts.last().expect("files").duration_since(puts[0]);
    puts.len() as f64 / FILES as f64 / time.as_secs_f64()
}

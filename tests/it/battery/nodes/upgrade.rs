//! One node after the other is upgraded, and half of them are taken back, while jobs come in.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::battery::figure;
use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::{Cluster, OLDER};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;

const JOBS: usize = 1_000;
/// Uploads at once.
const CLIENTS: usize = 4;
/// Jobs that are accepted between two changes of the fleet.
const BETWEEN: usize = JOBS / 8;

/// The program of another release; none: this one acts as the one before.
#[expect(clippy::disallowed_methods, reason = "which one it is is the environment's to say")]
fn other_build() -> Option<PathBuf> {
    std::env::var("PIXERVE_OTHER_BUILD").ok().map(PathBuf::from)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Other,
    This,
}

async fn start(home: &Home, release: Release, other: Option<&PathBuf>) -> ServerProcess {
    match (release, other) {
        (Release::This, _) => home.start().await,
        (Release::Other, Some(program)) => home.start_build(program).await,
        (Release::Other, None) => home.start_with(&[OLDER]).await,
    }
}

/// Uploads to whichever node takes some, until so many are accepted.
async fn upload(addrs: [std::net::SocketAddr; 2], count: Arc<AtomicUsize>, accepted: Arc<Mutex<Vec<Value>>>) {
    let apis = addrs.map(|addr| {
        let mut api = Api::default();
        api.at(addr);
        api
    });
    loop {
        let n = count.fetch_add(1, Ordering::Relaxed);
        if n >= JOBS {
            return;
        }
        let formats = json!({ "jpg": { "sizes": [[32], [16]] }, "webp": { "sizes": [[24]] } });
        let job = json!({ "directHost": true, "formats": formats });
        let token = Claims::of(&format!("sub-{}", n % 7)).job(job).sign();
        let seed = u32::try_from(n).expect("few");
        let started = Instant::now();
        for api in apis.iter().cycle().skip(n % 2) {
            // The one before may have been accepted, and its answer lost: then it is its job's.
            if let Some((StatusCode::OK | StatusCode::CONFLICT, body)) =
                api.try_upload(&token, "photo.jpg", jpeg(48, 40, seed)).await
            {
                let id = body["job_id"].as_str().expect("an id");
                accepted.lock().push(json!({ "job_id": id, "status_url": format!("/status?job_id={id}") }));
                break;
            }
            assert!(started.elapsed() < WAIT_MAX, "nobody takes it");
            poll_delay().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery-nodes"]
async fn a_thousand_jobs_pass_between_two_releases_and_none_is_unreadable() {
    let Some(cluster) = Cluster::start().await else { return };
    let other = other_build();
    let roles = ["api", "worker", "api", "worker"];
    let homes = roles.map(|role| cluster.home(&[("PIXERVE_NODE_ROLES", role), ("PIXERVE_MAX_WORKERS", "1")]));
    let mut running = Vec::new();
    for home in &homes {
        running.push(start(home, Release::Other, other.as_ref()).await);
    }
    let (count, accepted) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut uploads = JoinSet::new();
    for _ in 0..CLIENTS {
        uploads.spawn(upload([homes[0].addr, homes[2].addr], Arc::clone(&count), Arc::clone(&accepted)));
    }
    let upgraded = [0, 1, 2, 3].map(|node| (node, Release::This));
    // The other half stays: what was accepted meanwhile is theirs alone to do.
    let taken_back = [0, 1].map(|node| (node, Release::Other));
    for (nth, (node, release)) in upgraded.into_iter().chain(taken_back).enumerate() {
        while accepted.lock().len() < (nth + 1) * BETWEEN {
            poll_delay().await;
        }
        running[node].terminate();
        assert!(running[node].exited().await.success(), "{}", homes[node].terminal());
        running[node] = start(&homes[node], release, other.as_ref()).await;
    }
    while let Some(uploaded) = uploads.join_next().await {
        uploaded.expect("no panic");
    }

    let accepted = accepted.lock().clone();
    let mut formats = [0; 2];
    for job in &accepted {
        assert_eq!(running[2].ended(job).await["state"], "completed", "{job}");
        let format = cluster.record_format(job).await;
        formats[usize::try_from(format).expect("small") - 1] += 1;
    }
    let logs = homes.iter().map(Home::log).collect::<Vec<_>>().concat();
    let unreadable = logs.lines().filter(|line| line.contains("unreadable") || line.contains("can't be read")).count();
    figure(
        "nodes",
        format!(
            "two releases side by side ({}): {} jobs accepted, {} in format 1 and {} in format 2; all completed, {unreadable} \
             unreadable",
            other.as_ref().map_or("one acts as the older".to_owned(), |path| path.display().to_string()),
            accepted.len(),
            formats[0],
            formats[1],
        ),
    );
    assert_eq!(unreadable, 0, "{logs}");
    if other.is_none() {
        assert!(formats.iter().all(|jobs| *jobs > BETWEEN), "{formats:?}: both are written, each in its time");
    }
}

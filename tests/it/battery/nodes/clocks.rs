//! Nodes whose clocks are wrong: only Redis' counts.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::time::Instant;

use super::store::{API, WORKER, store};
use crate::battery::figure;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::cluster::Cluster;
use crate::harness::faketime::WallClock;
use crate::harness::fault_proxy::Fault;
use crate::harness::picture::jpeg;

/// Longer than the lease of the cluster's nodes.
const PUT_TAKES: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_an_hour_off_say_so_and_no_lease_lapses_early() {
    let Some(cluster) = Cluster::start().await else { return };
    let (proxy, registration) = store(&cluster).await;
    proxy.script(|asked| if asked.method == "PUT" { Fault::Late(PUT_TAKES) } else { Fault::Pass });
    let api = cluster.node(&[API]).await;
    let key = api.register(registration).await;
    let (mut wrong, mut offsets) = (Vec::new(), Vec::new());
    for (offset, offset_ms) in [("+1h", 3_600_000), ("-1h", -3_600_000_i64)] {
        let home = cluster.home(&[WORKER]);
        let Some(clock) = WallClock::below(home.root()) else { return };
        clock.set(offset);
        let node = home.spawn(&clock.settings());
        let started = Instant::now();
        let health = loop {
            let answer = node.request(reqwest::Method::GET, "/health").send().await;
            if let Ok(answer) = answer {
                let status = answer.status();
                let health: serde_json::Value = answer.json().await.expect("JSON");
                if health["checks"]["clock"]["offset_ms"].is_i64() {
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{health}");
                    break health;
                }
            }
            assert!(started.elapsed() < WAIT_MAX, "it does not start: {}", home.terminal());
            poll_delay().await;
        };
        let clock_check = &health["checks"]["clock"];
        assert_eq!(clock_check["status"], "failing", "{health}");
        let off_ms = clock_check["offset_ms"].as_i64().expect("a number");
        assert!((off_ms - offset_ms).abs() < 2_000, "{health}");
        offsets.push(off_ms);
        wrong.push((home, clock, node));
    }
    // The one whose clock is right looks for lapsed leases, too.
    let right = cluster.node(&[WORKER]).await;

    let (mut jobs, started) = (0, Instant::now());
    while !wrong.iter().all(|(home, ..)| home.log().contains("job completed")) {
        assert!(started.elapsed() < WAIT_MAX, "one of them does nothing");
        let job = json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[40]] } } });
        let mut accepted = Vec::new();
        for _ in 0..12 {
            jobs += 1;
            accepted.push(api.accepted("somebody", job.clone(), "a.jpg", jpeg(60, 40, jobs)).await);
        }
        for accepted in &accepted {
            let status = api.ended(accepted).await;
            assert_eq!((&status["state"], &status["attempt"]), (&json!("completed"), &json!(1)), "{status}");
        }
    }
    for (home, ..) in &wrong {
        assert!(!home.log().contains("lease expired"), "{}", home.log());
    }
    figure(
        "nodes",
        format!(
            "two nodes whose clocks are off by {offsets:?} ms beside one that is right: {jobs} jobs longer than their lease, each in one attempt"
        ),
    );
    drop(right);
}

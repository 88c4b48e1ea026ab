//! `/health` and `/version`.

use serde_json::json;

use crate::harness::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn health_has_every_field_a_balancer_or_a_classic_client_reads() {
    let app = TestApp::start().await;
    // The workers have begun when the first of them says so.
    let body = loop {
        let response = app.get("/health").await;
        if response.status() == 200 {
            break response.json::<serde_json::Value>().await.expect("JSON");
        }
        crate::harness::app::poll_delay().await;
    };
    assert_eq!((&body["status"], &body["version"]), (&json!("healthy"), &json!(env!("CARGO_PKG_VERSION"))));
    let uptime = body["uptime"].as_str().expect("text");
    assert!(uptime.starts_with("0d 0h 0m ") && uptime.ends_with('s'), "{uptime}");
    let start = body["start_time"].as_str().expect("text");
    assert!(start.len() == "2006-01-02 15:04:05 UTC".len() && start.ends_with(" UTC"), "{start}");
    for check in ["queue", "disk", "workers"] {
        assert_eq!(body["checks"][check]["status"], "ok", "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_tells_what_was_built() {
    let app = TestApp::start().await;
    let body = app.get_json("/version").await;
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    for field in ["build_time", "rust_version", "git_commit"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
    }
}

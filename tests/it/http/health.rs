//! `/health`, the command that asks for it, and `/version`.

use serde_json::json;

use crate::harness::app::TestApp;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::stores::dead_store;

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
    let idle = json!({ "pending": 0, "making": 0, "storing": 0, "oldest_pending_seconds": null });
    assert_eq!(body["checks"]["queue"]["lanes"], json!({ "realtime": idle, "queued": idle }));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_of_each_lane_what_waits_and_for_how_long() {
    let app = TestApp::start_with(&[("PIXERVE_MAX_WORKERS", "1")]).await;
    let store = app.register(dead_store()).await;
    let stored = |priority: u8, more: serde_json::Value| {
        let mut job =
            json!({ "storageKeys": { "s3": store }, "formats": { "jpg": { "sizes": [[16]] } }, "priority": priority });
        job.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        job
    };
    app.accepted("me", stored(0, json!({})), "a.jpg", jpeg(32, 32, 1)).await;
    // Of the same bytes, so it waits for the other's end.
    app.accepted("me", stored(1, json!({ "onDuplicate": "queue" })), "a.jpg", jpeg(32, 32, 1)).await;
    loop {
        let lanes = app.get_json("/health").await["checks"]["queue"]["lanes"].clone();
        let (realtime, queued) = (&lanes["realtime"], &lanes["queued"]);
        if realtime["storing"] == 1 {
            assert_eq!((&realtime["pending"], &realtime["oldest_pending_seconds"]), (&json!(0), &json!(null)));
            assert_eq!((&queued["pending"], &queued["storing"]), (&json!(1), &json!(0)));
            assert!(queued["oldest_pending_seconds"].is_u64(), "{lanes}");
            return;
        }
        crate::harness::app::poll_delay().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_a_ready_server_from_one_that_is_not_and_from_none_by_its_exit_code() {
    let home = Home::new(&[]);
    let ask = async |arguments: &[&str]| {
        let mut command = home.command(&[&["health"], arguments].concat());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("text").trim().to_owned())
    };
    let (code, said) = ask(&["--live"]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.starts_with("not reachable: http://127.0.0.1:"), "{said}");

    assert_eq!(ask(&["--server", "localhost:8080"]).await.0, Some(2), "that is no address, and no answer either");

    let mut server = home.start().await;
    while !server.is_healthy().await {
        crate::harness::app::poll_delay().await;
    }
    assert_eq!(ask(&[]).await, (Some(0), "ready".to_owned()));
    server.terminate();
    assert!(server.exited().await.success());

    let full = home.spawn(&[("PIXERVE_STORAGE_FREE_DISK_MIN", "900 TiB")]);
    while ask(&["--live"]).await.0 != Some(0) {
        crate::harness::app::poll_delay().await;
    }
    let (code, said) = ask(&[]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("not ready: 503 ") && said.contains("bytes are free"), "{said}");
    assert_eq!(ask(&["--live"]).await, (Some(0), "alive".to_owned()), "a full disk is no reason to start it again");
    assert_eq!(full.get_json("/health/live").await, json!({ "status": "alive" }));
}

//! The real binary: SIGTERM, and a second one beside the first.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use serde_json::{Value, json};

use crate::harness::app::{assert_problem, files_below, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, reserve_port};
use crate::harness::stores::s3_at;
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_refuses_uploads_releases_jobs_and_exits_0() {
    let home = Home::new(&[("PIXERVE_MAX_WORKERS", "1"), ("PIXERVE_SERVER_DRAIN_TIMEOUT", "2s")]);
    let mut server = home.start().await;
    let addr = reserve_port();
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("drained");
    absent.stop().await;
    let key = server.register(registration).await;
    let job = json!({ "directHost": true, "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[16]] } } });
    let mut accepted = Vec::new();
    for seed in 0..3 {
        accepted.push(server.accepted("me", job.clone(), "a.jpg", jpeg(20, 20, seed)).await);
    }
    server.processing(&accepted[0]).await;
    // One that takes longer than it is given.
    let slow = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 } } } });
    let slow = server.accepted("me", slow, "b.jpg", jpeg(1600, 1200, 8)).await;
    server.processing(&slow).await;

    server.terminate();
    while server.get("/health").await.status() == 200 {
        poll_delay().await;
    }
    let refused = server.upload(&Claims::of("me").job(job).sign(), "a.jpg", jpeg(20, 20, 9)).await;
    let refused = assert_problem(refused, 503, "draining").await;
    assert!(refused["detail"].is_string());
    let live: Value = server.get_json(slow["status_url"].as_str().expect("a url")).await;
    assert_eq!(live["state"], "processing", "it is still given its time");
    assert_eq!(server.exited().await.code(), Some(0), "{}", home.terminal());

    let s3 = s3_at(addr, &["drained"]).await;
    let server = home.start().await;
    for accepted in &accepted {
        let status = server.ended(accepted).await;
        assert_eq!((&status["state"], &status["attempt"]), (&json!("completed"), &json!(1)), "{status}");
    }
    assert_eq!(s3.keys("drained").await.len(), 3);
    let status = server.get_json(slow["status_url"].as_str().expect("a url")).await;
    assert!(status["state"] != "failed" && status["attempt"].as_u64() <= Some(1), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_running_job_finish_first() {
    let home = Home::new(&[]);
    let mut server = home.start().await;
    let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[700], [600], [500]] }, "webp": {} } });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(800, 800, 1)).await;
    server.processing(&accepted).await;
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(0));
    assert_eq!(files_below(&home.serve_dir()).len(), 4, "all of it was there when the server had ended");
    let server = home.start().await;
    let status = server.get_json(accepted["status_url"].as_str().expect("a url")).await;
    assert_eq!((&status["state"], &status["attempt"]), (&json!("completed"), &json!(1)), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_twice_ends_it_at_once_and_nothing_is_lost() {
    let home = Home::new(&[("PIXERVE_STORES_BACKOFF_MIN", "300s"), ("PIXERVE_STORES_BACKOFF_MAX", "300s")]);
    let mut server = home.start().await;
    let addr = reserve_port();
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("twice");
    absent.stop().await;
    let key = server.register(registration).await;
    // Connections are made and nothing is ever answered: a write that is under way holds the first stop.
    let silent = TcpListener::bind(addr).await.expect("the port of the absent store");
    let job = json!({ "storageKeys": { "s3": key }, "formats": { "jpg": { "sizes": [[16]] } } });
    let accepted = server.accepted("me", job, "a.jpg", jpeg(20, 20, 1)).await;
    let _write = silent.accept().await.expect("the write's connection");
    server.terminate();
    while server.get("/health").await.status() == 200 {
        poll_delay().await;
    }
    let asked_again = Instant::now();
    server.terminate();
    assert_eq!(server.exited().await.code(), Some(0));
    assert!(asked_again.elapsed() < Duration::from_secs(20), "well before the 30 s that jobs are given");

    drop(silent);
    let _s3 = s3_at(addr, &["twice"]).await;
    let server = home.start().await;
    assert_eq!(server.ended(&accepted).await["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_is_refused_at_once_and_told_why() {
    let home = Home::new(&[]);
    let first = home.start().await;
    let started = Instant::now();
    let addr = reserve_port().to_string();
    let mut second = home.spawn(&[("PIXERVE_ADDR", &addr), ("PIXERVE_LOG_FILE", "")]);
    let status = second.exited().await;
    assert!(!status.success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let told = home.terminal();
    assert!(told.contains("another process is using") && told.contains("ConvertQueue.db"), "{told}");

    let status = first.done("me", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!(status["state"], "completed", "the first one goes on");
}

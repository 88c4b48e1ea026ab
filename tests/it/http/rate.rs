//! Too many requests, and answers that nobody reads.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;

use reqwest::StatusCode;

use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

/// More than ten seconds' worth at one a second, even if this takes half a minute.
const FLOOD: u32 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_floods_is_told_to_wait_and_files_and_health_are_not_counted() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "1"),
        ("PIXERVE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24"),
    ])
    .await;
    let mut refused = None;
    for _ in 0..FLOOD {
        let response = app.get("/status?hash=unknown").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    assert_problem(refused.expect("a refusal"), 429, "too_many_requests").await;
    for path in ["/health", "/version", "/files/nothing.jpg"] {
        assert_ne!(app.get(path).await.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "1")]).await;
    let ask = async |client: &str| {
        let request = app.request(reqwest::Method::GET, "/status?hash=unknown").header("x-forwarded-for", client);
        request.send().await.expect("an answer").status()
    };
    let mut refused = 0;
    for _ in 0..FLOOD {
        refused += u32::from(ask("192.0.2.1").await == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(refused > 0);
    assert_eq!(ask("192.0.2.2").await, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_floods_is_told_to_wait_and_others_are_not() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_USER", "1")]).await;
    let token = Claims::of("flooder").job(small_job()).sign();
    let mut refused = None;
    for _ in 0..FLOOD {
        let response = app.upload(&token, "a.jpg", b"no image".to_vec()).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    assert_problem(refused.expect("a refusal"), 429, "too_many_requests").await;
    app.accepted("someone else", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_of_its_answer_loses_its_place() {
    let app =
        TestApp::start_with(&[("PIXERVE_SERVER_WRITE_TIMEOUT", "1s"), ("PIXERVE_SERVER_CONNECTIONS_MAX", "1")]).await;
    // More than any socket's buffers hold.
    let mut file = File::create(app.serve_dir().join("large.jpg")).expect("a file");
    file.write_all(&vec![7; 64 << 20]).expect("its bytes");
    let mut idle = TcpStream::connect(app.addr()).expect("a connection");
    idle.write_all(b"GET /files/large.jpg HTTP/1.1\r\nHost: here\r\n\r\n").expect("a request");
    // There is one place, so this answer means that the other connection has lost it.
    assert_eq!(app.get("/version").await.status(), StatusCode::OK);
    drop(idle);
}

//! Refusals while a body is still under way: the client sees the answer, and not a reset.

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::app::{TestApp, WAIT_MAX};

/// More than the buffers of a connection hold.
const BODY_BYTES: usize = 24 << 20;

/// Sends a request of so large a body and reads nothing before all of it is sent: the status.
async fn send(app: &TestApp, line: &str) -> u16 {
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    let all = vec![7; BODY_BYTES];
    timeout(WAIT_MAX, stream.write_all(&all)).await.expect("in time").expect("all of it is read");
    let mut answer = [0; 12];
    timeout(WAIT_MAX, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    std::str::from_utf8(&answer[9..]).ok().and_then(|status| status.parse().ok()).expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_wants_is_read_on_before_any_refusal() {
    let app = TestApp::start().await;
    for (line, status) in [
        ("POST /upload", 400),
        ("POST /register", 401),
        ("POST /nothing", 404),
        ("POST /status", 405),
        ("POST /files/a.jpg", 405),
        ("DELETE /cancel?hash=x", 401),
    ] {
        assert_eq!(send(&app, line).await, status, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_read_on_before_a_refusal_for_its_rate() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_RATE_PER_ADDRESS", "1"),
        ("PIXERVE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24"),
    ])
    .await;
    // More than ten seconds' worth.
    while app.request(Method::GET, "/status?hash=x").send().await.expect("an answer").status() != 429 {}
    let statuses = [send(&app, "POST /upload").await, send(&app, "POST /upload").await];
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_continue_is_not_waited_for() {
    let app = TestApp::start().await;
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    let head = "POST /upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
    let started = tokio::time::Instant::now();
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    let mut answer = [0; 12];
    timeout(WAIT_MAX, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert!(started.elapsed() < std::time::Duration::from_secs(8), "at once: {:?}", started.elapsed());
}

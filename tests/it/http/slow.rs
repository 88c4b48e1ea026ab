//! Bodies and headers that come too slowly.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::app::{TestApp, WAIT_MAX, small_job};
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_a_408() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_BODY_GRACE", "200ms")]).await;
    let token = Claims::of("me").job(small_job()).sign();
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100000\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    let mut answer = [0; 12];
    timeout(WAIT_MAX, stream.read_exact(&mut answer)).await.expect("in time").expect("an answer");
    assert_eq!(std::str::from_utf8(&answer).expect("text"), "HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_and_a_silent_connection_are_closed() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_HEADER_TIMEOUT", "200ms")]).await;
    for said in ["", "P", "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow:"] {
        let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
        stream.write_all(said.as_bytes()).await.expect("it is taken");
        let mut rest = Vec::new();
        let closed = timeout(WAIT_MAX, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "after {said:?} it is still open");
    }
    assert_eq!(app.get("/health").await.status(), 200);
}

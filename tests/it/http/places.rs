//! Who gets a place for a connection, and how long they keep it.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::app::{TestApp, WAIT_MAX, files_below, poll_delay, small_job};
use crate::harness::http2::{self, END_HEADERS, END_STREAM, HEADERS, PING, frame};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

const VERSION: &str = "GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
/// So that loopback is no trusted proxy, which may have any number of places.
const NO_PROXY: (&str, &str) = ("PIXERVE_SERVER_TRUSTED_PROXIES", "192.0.2.0/24");

async fn connect(app: &TestApp, say: &str) -> TcpStream {
    let mut stream = TcpStream::connect(app.addr()).await.expect("a connection");
    stream.write_all(say.as_bytes()).await.expect("it is taken");
    stream
}

/// The status of the next answer, of which nothing more is read.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut head = [0; 12];
    timeout(WAIT_MAX, stream.read_exact(&mut head)).await.expect("in time").expect("an answer");
    std::str::from_utf8(&head[9..]).ok().and_then(|status| status.parse().ok()).expect("a status")
}

/// A connection with an upload under way, which keeps its place, and what is missing of the upload.
async fn uploading(app: &TestApp) -> (TcpStream, Vec<u8>) {
    let token = Claims::of("me").job(small_job()).sign();
    let picture = jpeg(30, 20, 1);
    let part = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n";
    let rest = [&picture[10..], b"\r\n--x--\r\n"].concat();
    let length = part.len() + 10 + rest.len();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n{part}"
    );
    let mut stream = connect(app, &head).await;
    stream.write_all(&picture[..10]).await.expect("it is taken");
    // Its place is taken once its bytes are on their way to the disk.
    while files_below(&app.data_dir().join("spool")).is_empty() {
        poll_delay().await;
    }
    (stream, rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_wait_and_are_then_answered() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_CONNECTIONS_MAX", "1")]).await;
    let (mut busy, rest) = uploading(&app).await;
    let mut second = Box::pin(app.request(Method::GET, "/version").send());
    assert!(timeout(Duration::from_millis(300), &mut second).await.is_err(), "there is no place for a second");
    busy.write_all(&rest).await.expect("it is taken");
    assert_eq!(status(&mut busy).await, 200, "who has a place keeps it while a request is answered");
    let answer = timeout(WAIT_MAX, second).await.expect("in time").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_silent_connections_make_room_for_others() {
    // Neither time-out can be what ends them.
    let long = "10m";
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_CONNECTIONS_MAX", "8"),
        ("PIXERVE_SERVER_KEEP_ALIVE_TIMEOUT", long),
        ("PIXERVE_SERVER_HEADER_TIMEOUT", long),
    ])
    .await;
    let mut held = Vec::new();
    for number in 0..8 {
        let mut stream = connect(&app, if number % 2 == 0 { VERSION } else { "" }).await;
        if number % 2 == 0 {
            assert_eq!(status(&mut stream).await, 200);
        }
        held.push(stream);
    }
    for _ in 0..3 {
        let client = Client::builder().no_proxy().build().expect("a client");
        let answer = timeout(WAIT_MAX, client.get(format!("http://{}/version", app.addr())).send()).await;
        assert_eq!(answer.expect("in time").expect("an answer").status(), StatusCode::OK);
    }
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_has_its_places_is_told_so_and_others_are_answered() {
    let app = TestApp::start_with(&[NO_PROXY, ("PIXERVE_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "2")]).await;
    let mut held = [connect(&app, VERSION).await, connect(&app, VERSION).await];
    for stream in &mut held {
        assert_eq!(status(stream).await, 200);
    }
    let url = format!("http://{}/version", app.addr());
    let client = |from: [u8; 4]| Client::builder().no_proxy().local_address(std::net::IpAddr::from(from)).build();
    let third = client([127, 0, 0, 1]).expect("a client");
    let body = assert_problem_without_instance(third.get(&url).send().await.expect("an answer")).await;
    assert!(body.contains("too_many_requests"), "{body}");
    // With a body that is under way it sees the answer, too.
    let upload = third.post(&url).body(vec![7; 8 << 20]).send().await.expect("an answer");
    assert_eq!(upload.status(), StatusCode::TOO_MANY_REQUESTS);
    let other = client([127, 0, 0, 2]).expect("a client").get(&url).send().await.expect("an answer");
    assert_eq!(other.status(), StatusCode::OK);
    drop(held);
    loop {
        match third.get(&url).send().await.expect("an answer").status() {
            StatusCode::OK => break,
            status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
        }
    }
}

/// Before there is a request there is no instance of a problem.
async fn assert_problem_without_instance(response: reqwest::Response) -> String {
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(response.headers().contains_key("retry-after") && response.headers().contains_key("x-request-id"));
    response.text().await.expect("a body")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_has_as_many_places_as_it_likes() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "2")]).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(connect(&app, VERSION).await);
    }
    for stream in &mut held {
        assert_eq!(status(stream).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_outlives_the_time_for_a_head_and_a_head_has_that_from_its_first_byte() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_HEADER_TIMEOUT", "300ms")]).await;
    let mut stream = connect(&app, VERSION).await;
    let mut rest = vec![0; 64 * 1024];
    for _ in 0..3 {
        assert_eq!(status(&mut stream).await, 200);
        let _ = stream.read(&mut rest).await.expect("the rest of it");
        sleep(Duration::from_millis(700)).await;
        stream.write_all(VERSION.as_bytes()).await.expect("it is still open");
    }
    assert_eq!(status(&mut stream).await, 200);
    let _ = stream.read(&mut rest).await.expect("the rest of it");
    stream.write_all(b"GET /version HTTP/1.1\r\n").await.expect("it is taken");
    let started = Instant::now();
    let ended = timeout(WAIT_MAX, stream.read(&mut rest)).await.expect("the half head is not waited for");
    assert!(ended.is_err() || ended.is_ok_and(|bytes| bytes == 0));
    assert!(started.elapsed() < Duration::from_secs(30), "not as long as an idle connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_after_its_time() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_KEEP_ALIVE_TIMEOUT", "300ms")]).await;
    let mut stream = connect(&app, VERSION).await;
    let mut answer = Vec::new();
    timeout(WAIT_MAX, stream.read_to_end(&mut answer)).await.expect("it is closed").expect("in order");
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_without_a_request_is_closed_whatever_it_pings() {
    let app =
        TestApp::start_with(&[("PIXERVE_SERVER_KEEP_ALIVE_TIMEOUT", "300ms"), ("PIXERVE_SERVER_HTTP2", "true")]).await;
    let stream = connect(&app, "").await;
    let (mut from, mut to) = stream.into_split();
    let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, &http2::get("/version"));
    to.write_all(&[http2::hello(&[]), ask].concat()).await.expect("it is taken");
    let pinger = tokio::spawn(async move {
        while to.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut answer = Vec::new();
    // Reset or closed: what counts is that it ends.
    let _ = timeout(WAIT_MAX, from.read_to_end(&mut answer)).await.expect("it is closed");
    pinger.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_trickles_loses_its_place() {
    let app = TestApp::start_with(&[
        ("PIXERVE_SERVER_WRITE_TIMEOUT", "1s"),
        ("PIXERVE_SERVER_RESPONSE_RATE_MIN", "64 MiB"),
        ("PIXERVE_SERVER_CONNECTIONS_MAX", "1"),
    ])
    .await;
    // More than any socket's buffers hold.
    let mut file = File::create(app.serve_dir().join("large.jpg")).expect("a file");
    file.write_all(&vec![7; 96 << 20]).expect("its bytes");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("a small buffer");
    let mut slow = socket.connect(app.addr()).await.expect("a connection");
    slow.write_all(b"GET /files/large.jpg HTTP/1.1\r\nHost: here\r\n\r\n").await.expect("a request");
    let reader = tokio::spawn(async move {
        let mut some = vec![0; 16 * 1024];
        let mut read = 0;
        while let Ok(bytes @ 1..) = slow.read(&mut some).await {
            read += bytes;
            sleep(Duration::from_millis(20)).await;
        }
        read
    });
    // There is one place, so this answer means that the other connection has lost it. It never stalls.
    assert_eq!(timeout(WAIT_MAX, app.get("/version")).await.expect("in time").status(), StatusCode::OK);
    let read = timeout(WAIT_MAX, reader).await.expect("it is cut").expect("no panic");
    assert!(read < 90 << 20, "{read} bytes");
}

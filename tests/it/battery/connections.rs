//! Connections that take and don't give: HTTP/2 that reads nothing or only pings, slow readers, idle clients where
//! descriptors are few, an upload under way when the server stops. Everybody else is answered.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::bad_input::peak_mib;
use super::figure;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay, small_job};
use crate::harness::http2::{
    self, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW_SIZE, PING, WINDOW_MAX, WINDOW_UPDATE, frame,
};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::Claims;

/// More than the buffers of any connection hold.
fn large_file(home: &Home) {
    let mut file = File::create(home.serve_dir().join("large.jpg")).expect("a file");
    file.write_all(&vec![7; 64 << 20]).expect("its bytes");
}

async fn connect(home: &Home) -> TcpStream {
    TcpStream::connect(home.addr).await.expect("a connection")
}

/// Asks for `/health` on a connection of its own so many times: the slowest answer.
async fn slowest_health(home: &Home, times: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let (started, url) = (Instant::now(), format!("http://{}/health", home.addr));
        let answer = timeout(WAIT_MAX, client.get(url).send()).await.expect("in time").expect("an answer");
        assert_eq!(answer.status(), 200);
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_connections_that_read_nothing_cost_no_more_than_as_many_places() {
    // More streams than there are places.
    const CONNECTIONS: usize = 20;
    const STREAMS: u32 = 64;
    let home = Home::new(&[("PIXERVE_SERVER_HTTP2", "true")]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -d 524288 && exec \"$0\""]);
    let mut server = home.spawn_by(limited, &[]);
    home.answers(&mut server).await;
    large_file(&home);
    let before = peak_mib(&server);
    let windows = frame(WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - 65_535).to_be_bytes());
    let hello = [http2::hello(&[(INITIAL_WINDOW_SIZE, WINDOW_MAX)]), windows].concat();
    let get = http2::get("/files/large.jpg");
    let asks: Vec<u8> = (0..STREAMS).flat_map(|n| frame(HEADERS, END_STREAM | END_HEADERS, n * 2 + 1, &get)).collect();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(&home).await;
        stream.write_all(&[hello.clone(), asks.clone()].concat()).await.expect("it is taken");
        held.push(stream);
    }
    // Until it has stopped growing.
    let mut grown = 0;
    let mut still = 0;
    while still < 100 {
        poll_delay().await;
        assert!(server.ended_already().is_none(), "{}", home.terminal());
        let now = peak_mib(&server) - before;
        still = if now > grown { 0 } else { still + 1 };
        grown = now;
    }
    let slowest = slowest_health(&home, 20).await;
    assert!(server.ended_already().is_none(), "{}", home.terminal());
    // A place is about 100 KiB: what is read from the file, what waits in HTTP/2, what is next.
    assert!(grown < 160, "the server grew by {grown} MiB");
    drop(held);
    figure(
        "connections",
        format!(
            "{CONNECTIONS} HTTP/2 connections x {STREAMS} streams of 64 MiB that read nothing, within 512 MiB: the \
             server grew by {grown} MiB, /health within {slowest:?}"
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_connections_that_only_ping_take_nobodys_place() {
    const PLACES: usize = 8;
    let home = Home::new(&[
        ("PIXERVE_SERVER_HTTP2", "true"),
        ("PIXERVE_SERVER_CONNECTIONS_MAX", "8"),
        ("PIXERVE_LOG", "pixerve=debug,info"),
    ]);
    let _server = home.start().await;
    let mut pingers = Vec::new();
    for _ in 0..PLACES {
        let mut stream = connect(&home).await;
        let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, &http2::get("/version"));
        stream.write_all(&[http2::hello(&[]), ask].concat()).await.expect("it is taken");
        stream.read_exact(&mut [0; 9]).await.expect("an answer");
        let (mut from, mut to) = stream.into_split();
        pingers.push(tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await.is_ok() }));
        pingers.push(tokio::spawn(async move {
            while to.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
            true
        }));
    }
    let slowest = slowest_health(&home, 10).await;
    assert!(slowest < Duration::from_secs(10), "{slowest:?} {}", home.log());
    pingers.iter().for_each(tokio::task::JoinHandle::abort);
    figure(
        "connections",
        format!("{PLACES} of {PLACES} places taken by HTTP/2 that only pings: /health within {slowest:?}"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_trickle_are_cut_and_a_slow_one_is_not() {
    const TRICKLERS: usize = 40;
    let home = Home::new(&[
        ("PIXERVE_SERVER_WRITE_TIMEOUT", "2s"),
        ("PIXERVE_SERVER_RESPONSE_RATE_MIN", "256 KiB"),
        ("PIXERVE_SERVER_CONNECTIONS_MAX", "41"),
    ]);
    let _server = home.start().await;
    large_file(&home);
    let read = async |bytes: usize, every: Duration, stop: usize| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(32 * 1024).expect("a small buffer");
        let mut stream = socket.connect(home.addr).await.expect("a connection");
        stream.write_all(b"GET /files/large.jpg HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request");
        let (mut some, mut read, started) = (vec![0; bytes], 0, Instant::now());
        while read < stop {
            match stream.read(&mut some).await {
                Ok(bytes @ 1..) => read += bytes,
                Ok(0) | Err(_) => break,
            }
            sleep(every).await;
        }
        (read, started.elapsed())
    };
    let tricklers = (0..TRICKLERS).map(|_| read(1024, Duration::from_millis(100), usize::MAX));
    // Four times the least rate, for longer than a trickler has.
    let (cut, (slow, _), slowest) = tokio::join!(
        timeout(WAIT_MAX, futures_util::future::join_all(tricklers)),
        read(64 * 1024, Duration::from_millis(60), 12 << 20),
        slowest_health(&home, 5),
    );
    let cut = cut.expect("all are cut");
    assert!(slow >= 12 << 20, "a slow reader above the least rate was cut after {slow} bytes");
    let longest = cut.iter().map(|(_, took)| *took).max().unwrap_or_default();
    figure(
        "connections",
        format!(
            "{TRICKLERS} readers at 10 KiB/s (least rate 256 KiB/s, 2 s): cut within {longest:?}; one at 1 MiB/s was not; /health within {slowest:?}"
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_256_descriptors_and_300_idle_clients_jobs_lose_no_attempt_and_everything_answers() {
    const CLIENTS: usize = 300;
    const JOBS: u32 = 20;
    let home = Home::new(&[("PIXERVE_MAX_WORKERS", "2")]);
    let mut limited = Command::new("sh");
    // The soft limit lower still: it is raised at start.
    limited.args(["-c", "ulimit -Sn 128 && ulimit -Hn 256 && exec \"$0\""]);
    let mut server = home.spawn_by(limited, &[]);
    home.answers(&mut server).await;
    assert!(home.log().contains("fewer connections than server.connections_max allows"), "{}", home.log());
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        // The kernel's backlog takes those that the server can't yet.
        if let Ok(Ok(mut stream)) = timeout(Duration::from_secs(1), TcpStream::connect(home.addr)).await {
            let _ = stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await;
            held.push(stream);
        }
    }
    let clients = held.len();
    let mut accepted = Vec::new();
    for seed in 0..JOBS {
        accepted.push(server.accepted("me", small_job(), "a.jpg", jpeg(60, 40, seed)).await);
    }
    let slowest = slowest_health(&home, 10).await;
    for accepted in &accepted {
        let status = server.ended(accepted).await;
        assert_eq!((&status["state"], &status["attempt"]), (&"completed".into(), &1.into()), "{status}");
    }
    for path in ["/version", "/files/none.jpg", "/success?hash=x", "/failures?hash=x", "/status?hash=x"] {
        assert!(server.get(path).await.status().as_u16() < 500, "{path}");
    }
    assert_eq!(server.admin(Method::GET, "/register", None).await.status(), 200);
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    drop(held);
    figure(
        "connections",
        format!(
            "256 descriptors, {clients} idle clients: {JOBS} of {JOBS} jobs completed at their first attempt, /health within {slowest:?}"
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn an_upload_under_way_is_waited_for_by_a_stop() {
    let home = Home::new(&[("PIXERVE_SERVER_DRAIN_TIMEOUT", "60s")]);
    let mut server = home.start().await;
    let token = Claims::of("me").job(small_job()).sign();
    let picture = jpeg(60, 40, 1);
    let (part, end) =
        ("--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n", "\r\n--x--\r\n");
    let length = part.len() + picture.len() + end.len();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\
         Content-Type: multipart/form-data; boundary=x\r\n\r\n{part}"
    );
    let mut stream = connect(&home).await;
    stream.write_all(head.as_bytes()).await.expect("it is taken");
    stream.write_all(&picture[..100]).await.expect("it is taken");
    while files_below(&home.data_dir().join("spool")).is_empty() {
        poll_delay().await;
    }
    server.terminate();
    let asked = Instant::now();
    while TcpStream::connect(home.addr).await.is_ok() {
        poll_delay().await;
    }
    // Longer than an idle connection is waited for.
    sleep(Duration::from_secs(8)).await;
    stream.write_all(&[&picture[100..], end.as_bytes()].concat()).await.expect("it is still taken");
    let mut answer = Vec::new();
    timeout(WAIT_MAX, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.exited().await.code(), Some(0), "{}", home.terminal());
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(30), "the stop ends when the upload does: {took:?}");
    let body =
        String::from_utf8_lossy(&answer).split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body");
    let accepted = serde_json::from_str(&body).expect("JSON");
    let server = home.start().await;
    assert_eq!(server.ended(&accepted).await["state"], "completed");
    figure("connections", format!("an upload that took 8 s of a stop was accepted; the stop took {took:?}"));
}

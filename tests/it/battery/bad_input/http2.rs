//! Floods that are cheap in HTTP/2: the connection is ended, and everybody else is answered as if nothing were.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::bombs::peak_mib;
use super::{assert_spool_is_empty, assert_still_works, figure};
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::http2::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    frame, hello,
};
use crate::harness::process::{Home, ServerProcess};

/// At the same time, each with this many connections, one after the other, of at most so many streams.
const ATTACKERS: usize = 4;
const CONNECTIONS: usize = 5;
const STREAMS: u32 = 4_000;

fn get() -> Vec<u8> {
    http2::get("/status?hash=x")
}

/// A flood: its name, what is sent once, and what is sent for each stream.
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>);

const FLOODS: [Flood; 7] = [
    // CVE-2023-44487.
    ("rapid reset", Vec::new, |stream| {
        let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get());
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    }),
    // CVE-2025-8671: an error of the stream's makes the server reset it.
    ("made-you-reset", Vec::new, |stream| {
        let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get());
        [open, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    }),
    // CVE-2024-27316 and its kin: a head that never ends.
    ("CONTINUATION", || frame(HEADERS, END_STREAM, 1, &get()), |_| frame(CONTINUATION, 0, 1, &[0; 0])),
    (
        "CONTINUATION with headers",
        || frame(HEADERS, END_STREAM, 1, &get()),
        |_| {
            // A literal of a new name and its value, 4 KiB.
            let value = [&b"\0\x01a\x7F\x81\x1F"[..], &[b'x'; 4096]].concat();
            frame(CONTINUATION, 0, 1, &value)
        },
    ),
    ("empty DATA", || frame(HEADERS, END_HEADERS, 1, &get()), |_| frame(DATA, 0, 1, &[])),
    ("SETTINGS", Vec::new, |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
    ("PING", Vec::new, |_| frame(PING, 0, 0, &[7; 8])),
];

/// How a connection ended: the frames that could be sent, and the code of the server's GOAWAY, if one came.
async fn flood(addr: SocketAddr, (_, once, each): &Flood) -> (u32, Option<u32>) {
    let stream = TcpStream::connect(addr).await.expect("a connection");
    let (mut from, mut to) = stream.into_split();
    let reader = tokio::spawn(async move {
        let mut answer = Vec::new();
        // Reset by the server, most often.
        let _ = from.read_to_end(&mut answer).await;
        answer
    });
    let hello = [hello(&[]), once()].concat();
    let mut sent = 0;
    if to.write_all(&hello).await.is_ok() {
        // Some dozens to a packet.
        for batch in (0..STREAMS).collect::<Vec<_>>().chunks(32) {
            let frames: Vec<u8> = batch.iter().flat_map(|n| each(n * 2 + 1)).collect();
            match timeout(Duration::from_secs(5), to.write_all(&frames)).await {
                Ok(Ok(())) => sent += 32,
                _ => break,
            }
        }
    }
    drop(to);
    let answer = timeout(WAIT_MAX, reader).await.expect("the connection ends").expect("no panic");
    (sent, goaway(&answer))
}

/// The error code of the last GOAWAY among these frames.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    let mut code = None;
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if head[3] == GOAWAY {
            code = rest.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes")));
        }
        frames = rest.get(length..).unwrap_or_default();
    }
    code
}

/// Asks for `/health` again and again: the slowest answers, the 99th percentile and the very slowest.
async fn watch(server: &ServerProcess, done: &AtomicBool) -> (Duration, Duration) {
    let mut took = Vec::new();
    while !done.load(Ordering::Relaxed) || took.len() < 20 {
        let started = Instant::now();
        let response = server.get("/health").await;
        took.push(started.elapsed());
        assert_eq!(response.status(), 200);
        poll_delay().await;
    }
    took.sort_unstable();
    (took[took.len() * 99 / 100], took[took.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_their_connection_and_nobody_else_notices() {
    let home = Home::new(&[("PIXERVE_SERVER_HTTP2", "true")]);
    let server = home.start().await;
    assert_still_works(&server, 8).await;
    let before = peak_mib(&server);
    let mut told = Vec::new();
    for attack in &FLOODS {
        let done = Arc::new(AtomicBool::new(false));
        let attackers = (0..ATTACKERS).map(|_| async {
            let mut ends = Vec::new();
            for _ in 0..CONNECTIONS {
                ends.push(flood(home.addr, attack).await);
            }
            ends
        });
        let attacked = async {
            let ends = futures_util::future::join_all(attackers).await.concat();
            done.store(true, Ordering::Relaxed);
            ends
        };
        let (ends, (p99, slowest)) = tokio::join!(attacked, watch(&server, &done));
        let name = attack.0;
        let sent: u32 = ends.iter().map(|(sent, _)| sent).sum();
        let refused = ends.iter().filter(|(sent, code)| code.is_some_and(|code| code != 0) || *sent < STREAMS).count();
        // PING and SETTINGS are answered at the pace at which the answers are taken; the others are refused.
        if !["PING", "SETTINGS", "empty DATA"].contains(&name) {
            assert_eq!(refused, ends.len(), "{name}: {ends:?}");
        }
        assert!(slowest < Duration::from_secs(10), "{name}: /health took {slowest:?}");
        told.push(format!("{name}: {sent} sent, {refused}/{} cut off, /health p99 {p99:?}", ends.len()));
    }
    let grown = peak_mib(&server) - before;
    assert!(grown < 64, "the server grew by {grown} MiB");
    assert_still_works(&server, 9).await;
    assert_spool_is_empty(&home.data_dir()).await;
    figure(format!(
        "HTTP/2 floods, {ATTACKERS} at once x {CONNECTIONS} connections: {}; the server grew by {grown} MiB",
        told.join("; ")
    ));
}

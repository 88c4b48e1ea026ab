//! Exhaustion: no space, no descriptors, no memory, clients that leave in the middle. The server refuses what it can't
//! do, corrupts nothing, and comes back by itself.
//!
//! Here: a small file system that fills at each stage, 64 descriptors, 512 MiB of memory, 1,000 aborted uploads.
//! Elsewhere: slow headers, bodies and silent connections (`http/slow.rs`), the n-th call to the disk failing
//! (`crash/strace.rs`), a full disk under a queue on a fake store (`src/queue/local/sled/tests.rs`).

use std::io::Cursor;
use std::process::Command;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, RgbImage};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::crash::promise::Witness;
use super::figure;
use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay, small_job};
use crate::harness::mount::Mount;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess};
use crate::harness::token::Claims;

/// How long it may take until everything works again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// A user is registered: the status.
async fn register(api: &Api, name: &str) -> u16 {
    api.admin(Method::POST, "/register", Some(json!({ "user": name }))).await.status().as_u16()
}

/// A server whose data and files lie on a file system of its own.
async fn on_small_disk(mount: &Mount, floor: &str) -> (Witness, ServerProcess) {
    let settings = [("PIXERVE_MAX_WORKERS", "2"), ("PIXERVE_STORAGE_FREE_DISK_MIN", floor)];
    let witness = Witness::at(Home::below(mount.path(), &settings)).await;
    let server = witness.home.start().await;
    (witness, server)
}

/// Fills the disk but for each of these many bytes, with uploads before and after, and frees it again.
async fn fill_and_free(mib: u64, bytes_left: &[u64]) {
    let Some(mount) = Mount::tmpfs(mib) else { return };
    let (mut witness, mut server) = on_small_disk(&mount, "0").await;
    let mut longest = Duration::ZERO;
    for (round, left) in bytes_left.iter().enumerate() {
        // Some are being worked on while the disk fills.
        witness.upload_until_accepted(&server).await;
        witness.upload(&server, 3).await;
        mount.fill(*left);
        witness.upload(&server, 4).await;
        let registered_when_full = register(&server, &format!("full-{round}")).await;
        assert!(matches!(registered_when_full, 201 | 507 | 503), "{registered_when_full}");

        mount.empty();
        let freed = Instant::now();
        witness.upload_until_accepted(&server).await;
        while register(&server, &format!("free-{round}")).await != 201 || !server.is_healthy().await {
            assert!(freed.elapsed() < BACK_WITHIN, "it doesn't come back: {}", witness.home.log());
            poll_delay().await;
        }
        longest = longest.max(freed.elapsed());
        assert!(freed.elapsed() < BACK_WITHIN);
    }
    assert!(server.ended_already().is_none(), "without a restart");
    let expected = [200, 503, 507];
    assert!(witness.answers.keys().all(|status| expected.contains(status)), "{:?}", witness.answers);
    assert!(bytes_left.iter().all(|left| *left > 0) || witness.answers.contains_key(&507), "{:?}", witness.answers);
    witness.assert_kept(&server).await;
    server.kill();
    // And the disk is large enough to open everything again, after a copy of it was made.
    let server = witness.home.start().await;
    let kept = witness.assert_kept(&server).await;
    let registered: Value = server.admin(Method::GET, "/register", None).await.json().await.expect("JSON");
    let free = (0..bytes_left.len()).filter(|round| registered.to_string().contains(&format!("free-{round}"))).count();
    assert_eq!(free, bytes_left.len(), "{registered}");
    figure(
        "exhaustion",
        format!(
            "a {mib} MiB tmpfs filled {} times (answers {:?}): {} of {} accepted jobs, back within {longest:?}, no restart",
            bytes_left.len(),
            witness.answers,
            kept.accepted,
            kept.accepted
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_16_mib_that_fills_costs_nothing_that_was_accepted() {
    fill_and_free(16, &[0, 64 << 10]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn a_disk_that_fills_at_every_stage_costs_nothing_that_was_accepted() {
    for mib in [16, 64] {
        fill_and_free(mib, &[0, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 0])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn a_disk_of_16_mib_takes_hundreds_of_jobs_one_after_the_other() {
    // Their files take most of it; a start after a kill needs room for a copy of the database, too.
    const JOBS: usize = 250;
    let Some(mount) = Mount::tmpfs(16) else { return };
    let (mut witness, server) = on_small_disk(&mount, "1 MiB").await;
    let mut accepted = 0;
    while accepted < JOBS {
        accepted += witness.upload(&server, 20).await;
        while !files_below(&witness.home.data_dir().join("spool")).is_empty() {
            poll_delay().await;
        }
    }
    let kept = witness.assert_kept(&server).await;
    server.kill();
    let server = witness.home.start().await;
    witness.assert_kept(&server).await;
    figure("exhaustion", format!("{} jobs on a 16 MiB tmpfs, a kill and a start included", kept.accepted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_with_less_than_the_floor_takes_no_upload_and_says_so() {
    let Some(mount) = Mount::tmpfs(32) else { return };
    let (mut witness, server) = on_small_disk(&mount, "4 MiB").await;
    assert_eq!(witness.upload(&server, 2).await, 2);
    mount.fill(3 << 20);
    // It looks once a second.
    let health = loop {
        let health = server.get("/health").await;
        if health.status() == 503 {
            break health;
        }
        poll_delay().await;
    };
    assert_eq!(witness.upload(&server, 4).await, 0);
    assert_eq!(witness.answers.get(&507), Some(&4), "{:?}", witness.answers);
    assert_eq!(health.json::<Value>().await.expect("JSON")["checks"]["disk"]["status"], "failing");
    mount.empty();
    witness.upload_until_accepted(&server).await;
    assert_eq!(witness.upload(&server, 2).await, 2);
    witness.assert_kept(&server).await;
    figure("exhaustion", "less free than the floor: 4 of 4 uploads 507, /health 503, and back at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_64_descriptors_it_answers_or_refuses_and_recovers() {
    const CONNECTIONS: usize = 100;
    let mut witness = Witness::new(&[("PIXERVE_MAX_WORKERS", "2")]).await;
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 64 && exec \"$0\""]);
    let mut server = witness.home.spawn_by(limited, &[]);
    witness.home.answers(&mut server).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        // The kernel's backlog takes those that the server can't.
        if let Ok(Ok(mut stream)) =
            tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(witness.home.addr)).await
        {
            let _ = stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await;
            held.push(stream);
        }
    }
    let connections = held.len();
    let (accepted, ()) = tokio::join!(witness.upload(&server, 10), async {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) {
            poll_delay().await;
        }
        drop(held);
    });
    let freed = Instant::now();
    witness.upload_until_accepted(&server).await;
    assert!(freed.elapsed() < BACK_WITHIN);
    assert!(server.ended_already().is_none(), "{}", witness.home.terminal());
    assert!(witness.answers.keys().all(|status| [0, 200, 503].contains(status)), "{:?}", witness.answers);
    let kept = witness.assert_kept(&server).await;
    figure(
        "exhaustion",
        format!(
            "64 descriptors, {connections} idle connections, 10 uploads meanwhile ({accepted} accepted; answers {:?}): {} \
             jobs whole, back within {:?}",
            witness.answers,
            kept.accepted,
            freed.elapsed()
        ),
    );
}

/// As few bytes as so many pixels can be.
fn blank(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::new(width, height)).write_to(&mut bytes, ImageFormat::Png).expect("it can be encoded");
    bytes.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn with_512_mib_a_child_may_die_and_the_server_does_not() {
    let mut witness = Witness::new(&[
        ("PIXERVE_MAX_WORKERS", "2"),
        ("PIXERVE_WORKER_MEMORY_MAX", "512 MiB"),
        ("PIXERVE_QUEUE_ATTEMPTS_MAX", "2"),
    ])
    .await;
    let mut limited = Command::new("sh");
    // Of data: the address space of a dozen threads is a gigabyte, most of which is never touched.
    limited.args(["-c", "ulimit -d 524288 && exec \"$0\""]);
    let mut server = witness.home.spawn_by(limited, &[]);
    witness.home.answers(&mut server).await;
    let large = json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 10 } } } });
    let token = Claims::of("large").job(large).sign();
    let answer = server.upload(&token, "a.png", blank(8000, 6000)).await;
    let status = answer.status().as_u16();
    let answer: Value = answer.json().await.expect("JSON");
    witness.upload(&server, 10).await;
    let end = if status == 200 {
        let ended = server.ended(&answer).await;
        assert_ne!(ended["state"], "cancelled", "{ended}");
        format!("{}: {}", ended["state"], ended["error"])
    } else {
        assert_eq!(status, 422, "{answer}");
        format!("refused: {}", answer["detail"])
    };
    assert!(server.ended_already().is_none(), "the server lives: {}", witness.home.terminal());
    assert_eq!(witness.upload(&server, 1).await, 1);
    for record in super::crash::promise::all_records(&server).await {
        let of_large = record["job_id"] == answer["job_id"];
        assert!(of_large || record["status"] == "success", "a small job pays for a large one: {record}");
    }
    figure(
        "exhaustion",
        format!("48 MP to AVIF within 512 MiB: {end}; 11 small jobs beside it completed, the server lives"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_aborted_uploads_nothing_is_left() {
    const UPLOADS: usize = 1000;
    const AT_ONCE: usize = 20;
    let witness =
        Witness::new(&[("PIXERVE_SERVER_RATE_PER_ADDRESS", "0"), ("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let server = witness.home.start().await;
    let (addr, token) = (witness.home.addr, Claims::of("me").job(small_job()).sign());
    let mut clients = JoinSet::new();
    for client in 0..AT_ONCE {
        let token = token.clone();
        clients.spawn(async move {
            for number in 0..UPLOADS / AT_ONCE {
                let picture = jpeg(40, 30, u32::try_from(client * UPLOADS + number).expect("a number"));
                let mut stream = TcpStream::connect(addr).await.expect("a connection");
                let head = format!(
                    "POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100000\r\n\
                     Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n\
                     Content-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await.expect("it is taken");
                // Gone at the head, in the middle, at the end of the file; some half-closed, some reset.
                let part = picture.len() * (number % 4) / 3;
                stream.write_all(&picture[..part.min(picture.len())]).await.expect("it is taken");
                if number % 2 == 0 {
                    stream.shutdown().await.expect("it ends");
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client ends well");
    }
    let (spool, gone) = (witness.home.data_dir().join("spool"), Instant::now());
    // The last of them may not even have begun to arrive when its client is gone.
    while !files_below(&spool).is_empty()
        || std::fs::read_dir(spool.join("incoming")).expect("it lists").next().is_some()
    {
        assert!(gone.elapsed() < Duration::from_mins(1), "left: {:?}", files_below(&spool));
        poll_delay().await;
    }
    let took = gone.elapsed();
    assert!(took < WAIT_MAX, "{took:?}");
    let status = server.done("me", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!(status["state"], "completed");
    figure("exhaustion", format!("{UPLOADS} aborted uploads: no file left after {took:?}, the next one completes"));
}

//! `pixerve upload` where connections break and servers die.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{put, put_job, run, run_with};
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;

/// A request as it came: its head, in lower case, and its body.
type Request = (String, Vec<u8>);

/// Reads one request whole; none of a connection on which nothing comes.
async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.expect("it comes") == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_ascii_lowercase();
    let length = field(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
    while bytes.len() < head_end + length {
        assert_ne!(stream.read_buf(&mut bytes).await.expect("it comes"), 0, "it broke off");
    }
    Some((head, bytes.split_off(head_end)))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A server that treats uploads by turns in these ways: nothing at all is the end of the connection before the answer.
async fn flaky_server(answers: Vec<Option<&'static str>>) -> (SocketAddr, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (addr, uploads) = (listener.local_addr().expect("an address"), Arc::<Mutex<Vec<Request>>>::default());
    let kept = Arc::clone(&uploads);
    tokio::spawn(async move {
        let mut answers = answers.into_iter();
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let Some(request) = read_request(&mut stream).await else { continue };
            let answer = if request.0.starts_with("post /upload ") {
                kept.lock().push(request);
                answers.next().expect("no more tries than answers")
            } else {
                Some("404 Not Found\r\ncontent-length: 0")
            };
            if let Some(answer) = answer {
                let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n");
                let (head, body) = answer.split_once("BODY:").map_or((answer.clone(), ""), |(head, rest)| {
                    (
                        format!("{head}\r\nconnection: close\r\n\r\n"),
                        rest.trim_end_matches("\r\nconnection: close\r\n\r\n"),
                    )
                });
                stream.write_all(format!("{head}{body}").as_bytes()).await.expect("it is sent");
            }
        }
    });
    (addr, uploads)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_try_sends_the_whole_file_under_the_same_key_and_waits_as_long_as_the_server_asks() {
    let (addr, uploads) = flaky_server(vec![
        None,
        Some("503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0"),
        Some("409 Conflict\r\nretry-after: 1\r\ncontent-length: 32BODY:{\"code\":\"idempotency_in_flight\"}"),
        Some("200 OK\r\ncontent-length: 14BODY:{\"job_id\":\"7\"}"),
    ])
    .await;
    let home = Home::new(&[]);
    let picture = jpeg(640, 480, 1);
    put(&home, "a photo.jpg", &picture);
    let server = format!("http://{addr}");
    let started = Instant::now();
    let arguments = ["upload", "--json", "--server", &server, "a photo.jpg"];
    let ran = run_with(&home, &arguments, &[("PIXERVE_TOKEN", "a.good.token")], b"").await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(ran.objects(), [json!({ "file": "a photo.jpg", "job_id": "7" })]);
    assert!(started.elapsed() >= Duration::from_secs(2), "twice it was asked to wait a second");

    let uploads = uploads.lock();
    assert_eq!(uploads.len(), 4);
    let keys: Vec<_> = uploads.iter().map(|(head, _)| field(head, "idempotency-key").expect("a key")).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(keys[0].len() == 38 && keys[0].starts_with('"') && keys[0].ends_with('"'), "{keys:?}");
    for (head, body) in uploads.iter() {
        assert_eq!(field(head, "authorization"), Some("bearer a.good.token"));
        assert!(body.windows(picture.len()).any(|window| window == picture), "the whole file");
        assert!(String::from_utf8_lossy(body).contains("filename=\"a photo.jpg\""));
    }
}

/// Files, and how often the server is killed meanwhile.
const FILES: u32 = 1_000;
const KILLS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_files_over_a_server_that_is_killed_five_times_are_one_job_each() {
    let home = Home::new(&[("PIXERVE_QUEUE_DEPTH_MAX", "5000")]);
    let mut server = home.start().await;
    put_job(&home);
    for number in 0..FILES {
        put(&home, &format!("photos/{number}.jpg"), &jpeg(48, 32, number));
    }
    let admin = server.clone();
    let upload = async { run(&home, &["upload", "--job", "job.json", "--json", "--wait", "photos"]).await };
    let kills = async {
        for kill in 1..=KILLS {
            let wanted = FILES as usize * kill / (KILLS + 1);
            while home.log().matches("upload accepted").count() < wanted {
                poll_delay().await;
            }
            server.kill();
            server = home.start().await;
        }
        server
    };
    let (ran, server) = tokio::join!(upload, kills);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let objects = ran.objects();
    assert_eq!(objects.len(), FILES as usize);
    assert!(objects.iter().all(|object| object["status"]["state"] == "completed"), "{}", ran.stderr);

    let (mut records, mut cursor, started) = (0, String::new(), Instant::now());
    loop {
        let page = admin.admin(Method::GET, &format!("/success/list?limit=200&cursor={cursor}"), None).await;
        let page: Value = page.json().await.expect("JSON");
        records += page["success_records"].as_array().expect("records").len();
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
        assert!(started.elapsed() < WAIT_MAX, "the list has no end");
    }
    assert_eq!(records, FILES as usize, "no file is two jobs");
    drop(server);
}

//! Under a service manager: on its socket, and telling it how things are.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::harness::api::Api;
use crate::harness::app::{WAIT_MAX, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::Claims;
use crate::harness::tool::{Tool, program, require};

const UPLOADS: usize = 200;
const UPLOADERS: usize = 4;

/// Uploads until all are taken, each over a connection of its own; the ids of the jobs.
async fn upload(api: Api, next: Arc<AtomicUsize>) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let n = next.fetch_add(1, Ordering::SeqCst);
        if n >= UPLOADS {
            return ids;
        }
        let token = Claims::of("me").job(small_job()).sign();
        let picture = jpeg(16, 16, u32::try_from(n).expect("few"));
        let form = Form::new().part("file", Part::bytes(picture).file_name(format!("{n}.jpg")));
        // A connection that is kept may be closed the moment it is used again: that is HTTP's, and every client's to repeat.
        let request = api.request(Method::POST, "/upload").bearer_auth(token).header("Connection", "close");
        let response = request.multipart(form).send().await.expect("an answer");
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(status, 200, "upload {n}: {body}");
        ids.push(body["job_id"].as_str().expect("an id").to_owned());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_upload_is_refused_while_a_server_on_a_lent_socket_is_started_again_three_times() {
    let home = Home::new(&[]);
    let socket = TcpListener::bind(home.addr).expect("a port");
    let mut server = home.spawn_on(&socket, &[]);
    home.answers(&mut server).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut uploaders = Vec::new();
    for _ in 0..UPLOADERS {
        let mut api = Api::default();
        api.at(home.addr);
        uploaders.push(tokio::spawn(upload(api, Arc::clone(&next))));
    }
    for restart in 1..=3 {
        while next.load(Ordering::SeqCst) < restart * UPLOADS / 4 {
            poll_delay().await;
        }
        server.terminate();
        assert!(server.exited().await.success());
        server = home.spawn_on(&socket, &[]);
    }
    let mut jobs = Vec::new();
    for uploader in uploaders {
        jobs.extend(uploader.await.expect("none is refused"));
    }
    assert_eq!(jobs.len(), UPLOADS);
    home.answers(&mut server).await;
    for id in jobs {
        let status = server.get_json(&format!("/status?job_id={id}&wait=60")).await;
        assert_eq!(status["state"], "completed", "{status}");
    }
    assert!(home.terminal().contains("PIXERVE_ADDR is ignored"), "{}", home.terminal());
}

/// What the server tells the service manager next.
async fn told(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let length = timeout(WAIT_MAX, socket.recv(&mut message)).await.expect("in time").expect("it can be read");
    String::from_utf8_lossy(&message[..length]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_that_the_server_is_ready_lives_and_stops() {
    let home = Home::new(&[]);
    let path = home.root().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let path = path.display().to_string();
    let mut server = home.spawn(&[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "200000")]);
    assert_eq!(told(&socket).await, "READY=1");
    assert_eq!(server.get("/health/live").await.status(), 200, "it listens by then");
    assert_eq!(told(&socket).await, "WATCHDOG=1");
    server.terminate();
    let mut message = told(&socket).await;
    while message == "WATCHDOG=1" {
        message = told(&socket).await;
    }
    assert_eq!(message, "STOPPING=1");
    assert!(server.exited().await.success());
}

#[test]
fn the_units_are_good() {
    let Some(analyze) = require(Tool::Systemd, program("systemd-analyze")) else { return };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    // The binary is where these tests have it, and there need not be a user of this name.
    let dir = tempfile::tempdir().expect("a directory");
    for unit in ["pixerve.service", "pixerve.socket"] {
        let text = std::fs::read_to_string(deploy.join(unit)).expect("it is there");
        let text = text.replace("ExecStart=pixerve ", concat!("ExecStart=", env!("CARGO_BIN_EXE_pixerve"), " "));
        let mut file = std::fs::File::create(dir.path().join(unit)).expect("it is made");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("it is written");
    }
    let units = ["pixerve.service", "pixerve.socket"].map(|unit| dir.path().join(unit));
    let output = Command::new(analyze).arg("verify").args(units).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("pixerve")).collect();
    assert!(ours.is_empty() && output.status.success(), "{said}");
}

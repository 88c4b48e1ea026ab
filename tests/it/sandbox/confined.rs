//! What a child can't do.

use std::io::Write;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use super::{FakeChild, children, long_job};
use crate::harness::app::{TestApp, files_below, poll_delay, small_job};
use crate::harness::picture::{jpeg, png};
use crate::harness::process::Home;
use crate::harness::token::Claims;

/// What a child says of its own confinement.
fn probe() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_pixerve")).args(["render-child", "probe"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout[4..]).expect("JSON behind its length")
}

#[test]
fn a_child_can_open_no_file_and_no_socket_and_start_nothing_and_not_grow_for_ever() {
    let found = probe();
    for layer in ["seccomp", "files", "network", "programs", "memory"] {
        assert_eq!(found[layer], true, "{layer} in {found}");
    }
}

#[test]
fn a_child_reaches_no_other_process_and_no_memory_that_its_cap_does_not_count() {
    let found = probe();
    assert_eq!(found["calls"], json!([]), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_has_no_environment_no_arguments_no_descriptors_of_the_servers_and_no_capabilities() {
    let home = Home::new(&[("PIXERVE_WORKER_SANDBOX", "strict")]);
    let server = home.start().await;
    let accepted = server.accepted("me", long_job(), "a.png", png(1200, 900, 1)).await;
    let child = loop {
        if let Some(child) = children(server.id()).first() {
            break *child;
        }
        poll_delay().await;
    };
    // Between fork and exec a child still looks like its parent.
    let read = |what: &str| std::fs::read(format!("/proc/{child}/{what}"));
    while !read("cmdline").expect("it runs").ends_with(b"render-child\0") {
        poll_delay().await;
    }
    assert_eq!(String::from_utf8_lossy(&read("environ").expect("it runs")), "");
    let open = std::fs::read_dir(format!("/proc/{child}/fd")).expect("it runs").flatten();
    let targets: Vec<String> =
        open.filter_map(|fd| Some(std::fs::read_link(fd.path()).ok()?.display().to_string())).collect();
    assert!(!targets.is_empty() && targets.iter().all(|target| target.starts_with("pipe:")), "{targets:?}");

    // Once the last layer is there, which is seccomp, all are.
    let status = || read("status").map(|text| String::from_utf8_lossy(&text).into_owned()).expect("it runs");
    while !status().contains("Seccomp:\t2") {
        poll_delay().await;
    }
    for set in ["CapEff", "CapPrm", "CapInh"] {
        assert!(status().contains(&format!("{set}:\t0000000000000000")), "{}", status());
    }

    let path = format!("/cancel?hash={}", accepted["hash"].as_str().expect("a hash"));
    let token = Claims::of("me").job(long_job()).sign();
    let response = server.request(Method::DELETE, &path).bearer_auth(token).send().await.expect("an answer");
    assert_eq!(response.status(), 204);
    while !children(server.id()).is_empty() {
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_takes_its_children_along() {
    let home = Home::new(&[]);
    let server = home.start().await;
    server.accepted("me", long_job(), "a.png", png(1200, 900, 1)).await;
    let child = loop {
        if let Some(child) = children(server.id()).first() {
            break *child;
        }
        poll_delay().await;
    };
    server.kill();
    // Gone, or a zombie that nobody has collected yet.
    let is_alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, after)| !after.starts_with('Z'))
    };
    while is_alive() {
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_child_makes_is_what_the_server_would_make_itself() {
    let job = json!({ "directHost": true, "formats": {
        "jpg": { "sizes": [[120], [60]] }, "webp": { "sizes": [[90]] }, "png": { "sizes": [[50]] }, "avif": { "sizes": [[40]] }
    } });
    let mut made = Vec::new();
    for mode in ["strict", "off"] {
        let app = TestApp::start_with(&[("PIXERVE_WORKER_SANDBOX", mode)]).await;
        let status = app.done("me", job.clone(), "a.jpg", jpeg(200, 150, 4)).await;
        assert_eq!(status["state"], "completed", "{status}");
        made.push(status["files"].clone());
    }
    assert_eq!(made[0], made[1]);
    assert_eq!(made[0].as_array().map(Vec::len), Some(5));
}

/// What a child would say with this JSON, as a format of `printf`.
fn message(json: &str) -> String {
    format!(r"\{:03o}\000\000\000{json}", json.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_breaks_its_protocol_is_not_believed() {
    // The job asks for the one variant of 40 x 30 pixels.
    let largest = 40 * 30 * 4 + 1024 + 1024 * 1024;
    for said in [
        // A header of 4 GiB, and one that is longer than a message gets; a variant that was not asked for; too large a file; an end before any file; no JSON.
        r"\377\377\377\377".to_owned(),
        r"\001\100\000\000{".to_owned(),
        variant(7, (40, 30), 3) + "abc",
        variant(0, (40, 30), 1 << 40) + "abc",
        variant(0, (40, 30), largest + 1) + "abc",
        // Of other dimensions, which would let it be larger.
        variant(0, (4000, 3000), 3) + "abc",
        variant(0, (30, 40), 3) + "abc",
        message(r#""Done""#),
        message("oops"),
    ] {
        assert_not_believed(&format!("printf '{said}'; cat >/dev/null")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_childs_file_is_not_believed_to_be_what_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    let markup = b"<html><script>alert(1)</script></html>".to_vec();
    // No picture, a picture of another format, one of other dimensions.
    for file in [markup, png(40, 30, 1), jpeg(30, 40, 1)] {
        let said = variant(0, (40, 30), file.len() as u64);
        std::fs::File::create(&path).and_then(|mut into| into.write_all(&file)).expect("written");
        let shown = path.display();
        assert_not_believed(&format!("printf '{said}'; cat {shown}; cat >/dev/null")).await;
    }
}

/// What a child says before it sends a file.
fn variant(index: u32, (width, height): (u32, u32), bytes: u64) -> String {
    message(&json!({ "Variant": { "index": index, "width": width, "height": height, "bytes": bytes } }).to_string())
}

/// A child of this script fails its job, which stores nothing.
async fn assert_not_believed(script: &str) {
    let child = FakeChild::new(script);
    let app = TestApp::start_on(child.path(), &[("PIXERVE_QUEUE_CRASHES_MAX", "1")]).await;
    let status = app.done("me", small_job(), "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(status["state"], "failed", "{status}");
    assert!(status["error"].as_str().is_some_and(|error| error.contains("broke its protocol")), "{status}");
    assert!(files_below(&app.serve_dir()).is_empty(), "{script}");
}

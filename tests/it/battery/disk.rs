//! The operator's own disk: it hangs, is full, read-only, somebody else's or gone, and it serves two servers. None of that
//! is a job's fault, and nothing of it needs a restart.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use rustix::fs::{Gid, Uid, chown};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::figure;
use crate::harness::app::{WAIT_MAX, poll_delay, small_job};
use crate::harness::mount::Mount;
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, ServerProcess, reserve_port};
use crate::harness::token::Claims;

/// Whoever owns nothing.
const NOBODY: u32 = 65_534;

/// For a server to notice by itself that a directory is in trouble: it looks every 10 s, and gives a disk 5 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// A job that takes some seconds on one core.
fn slow_job() -> Value {
    json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[700], [650]] } } })
}

async fn health(server: &ServerProcess) -> Value {
    server.get_json("/health").await
}

/// Waits until `/health` says of this directory what is wanted: how long that took.
async fn until_health(server: &ServerProcess, directory: &str, status: &str) -> Duration {
    let asked = Instant::now();
    loop {
        let health = health(server).await;
        if health["checks"]["disk"][directory]["status"] == status {
            return asked.elapsed();
        }
        assert!(asked.elapsed() < NOTICED_WITHIN, "{directory} should be {status}: {health}");
        poll_delay().await;
    }
}

/// Whether the process runs no code of ours any more: it is gone, or waits for nothing but the kernel's letting it go.
fn has_ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "long: make battery"]
async fn a_disk_that_hangs_hangs_no_answer_and_no_stop() {
    let Some(mount) = Mount::ext4(256) else { return };
    let below = |name: &str| mount.path().join(name).display().to_string();
    let home = Home::new(&[("PIXERVE_DATA_DIR", &below("data")), ("PIXERVE_SERVE_DIR", &below("serve"))]);
    let mut server = home.start().await;
    let accepted = server.accepted("me", slow_job(), "a.jpg", jpeg(800, 800, 1)).await;
    server.processing(&accepted).await;

    mount.freeze(true);
    let url = format!("/cancel?job_id={}", accepted["job_id"].as_str().expect("an id"));
    let asked = Instant::now();
    let cancel = server.request(Method::DELETE, &url).bearer_auth(Claims::of("me").sign()).send();
    let cancelled = timeout(Duration::from_secs(20), cancel).await.expect("it is answered").expect("an answer");
    let cancel_took = asked.elapsed();
    assert_eq!((cancelled.status().as_u16(), cancelled.headers().contains_key("retry-after")), (503, true));
    let noticed = until_health(&server, "data", "failing").await;
    let token = Claims::of("me").job(small_job()).sign();
    let asked = Instant::now();
    assert_eq!(server.upload(&token, "b.jpg", jpeg(20, 20, 2)).await.status(), 503, "told at once, without the disk");
    let refused = asked.elapsed();

    server.terminate();
    let stopping = Instant::now();
    while health(&server).await["checks"]["draining"].is_null() {
        assert!(stopping.elapsed() < WAIT_MAX, "it begins to stop");
        poll_delay().await;
    }
    server.terminate();
    let asked = Instant::now();
    while !has_ended(server.id()) {
        assert!(asked.elapsed() < Duration::from_secs(5), "the second signal ends it");
        poll_delay().await;
    }
    let ended = asked.elapsed();
    mount.freeze(false);
    server.exited().await;

    let server = home.start().await;
    let status = server.ended(&accepted).await;
    assert!(matches!(status["state"].as_str(), Some("completed" | "cancelled")), "{status}");
    figure(
        "disk",
        format!(
            "a frozen ext4: cancel 503 after {cancel_took:?}, /health 503 after {noticed:?} more, an upload 503 in \
             {refused:?}, ended {ended:?} after the second SIGTERM"
        ),
    );
}

/// Jobs under way and jobs that come while `trouble` reigns all complete once `undo` has ended it.
async fn waits_and_goes_on(home: &Home, server: &ServerProcess, what: &str, trouble: impl Fn(), undo: impl Fn()) {
    let mut accepted = Vec::new();
    for seed in 0..4 {
        accepted.push(server.accepted("me", small_job(), "a.jpg", jpeg(400, 400, seed)).await);
    }
    trouble();
    for seed in 4..8 {
        accepted.push(server.accepted("me", small_job(), "a.jpg", jpeg(400, 400, seed)).await);
    }
    let noticed = until_health(server, "serve", "failing").await;
    assert_eq!(server.get("/health").await.status(), 503);
    undo();
    let undone = Instant::now();
    for accepted in &accepted {
        let status = server.ended(accepted).await;
        assert_eq!(status["state"], "completed", "{what}: {status}\n{}", home.log());
    }
    until_health(server, "serve", "ok").await;
    figure(
        "disk",
        format!(
            "serve directory {what}: noticed after {noticed:?}, 8 of 8 jobs completed {:?} after its end",
            undone.elapsed()
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn jobs_wait_for_a_serve_directory_that_is_gone_read_only_or_full() {
    let Some(mount) = Mount::tmpfs(16) else { return };
    let serve = mount.path().join("serve");
    let home = Home::new(&[("PIXERVE_SERVE_DIR", &serve.display().to_string())]);
    let server = home.start().await;
    let away = mount.path().join("away");
    waits_and_goes_on(
        &home,
        &server,
        "removed",
        || std::fs::rename(&serve, &away).expect("moved"),
        || std::fs::rename(&away, &serve).expect("moved back"),
    )
    .await;
    waits_and_goes_on(&home, &server, "read-only", || mount.read_only(true), || mount.read_only(false)).await;
    waits_and_goes_on(&home, &server, "full", || mount.fill(0), || mount.empty()).await;
}

fn give(path: &Path, user: u32) {
    chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).expect("it is ours to give");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn jobs_wait_for_a_serve_directory_that_is_another_users() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new(&[]);
    for dir in [home.data_dir(), home.serve_dir()] {
        std::fs::create_dir(&dir).expect("made");
        give(&dir, NOBODY);
    }
    give(home.root(), NOBODY);
    std::fs::set_permissions(home.root(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let mut server = home.spawn_by(as_nobody, &[]);
    home.answers(&mut server).await;
    let serve = home.serve_dir();
    waits_and_goes_on(&home, &server, "of another owner", || give(&serve, 0), || give(&serve, NOBODY)).await;

    server.terminate();
    server.exited().await;
    give(&serve, 0);
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    let mut refused = home.spawn_by(as_nobody, &[]);
    assert_eq!(refused.exited().await.code(), Some(1));
    let told = home.terminal();
    for word in ["serve directory", "belongs to user 0", "as user 65534", "PIXERVE_SERVE_DIR"] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_that_serve_one_directory_take_no_file_from_each_other() {
    const JOBS: u32 = 60;
    let first = Home::new(&[("PIXERVE_MAX_WORKERS", "2")]);
    let other_addr = reserve_port().to_string();
    let second = Home::new(&[
        ("PIXERVE_SERVE_DIR", &first.serve_dir().display().to_string()),
        ("PIXERVE_MAX_WORKERS", "1"),
        ("PIXERVE_ADDR", &other_addr),
    ]);
    let server = first.start().await;
    let mut accepted = Vec::new();
    for seed in 0..JOBS {
        accepted.push(server.accepted("me", small_job(), "a.jpg", jpeg(200, 200, seed)).await);
    }
    // Each start looks for what a crash left, while the first writes.
    let mut starts = 0;
    loop {
        let mut other = second.spawn(&[]);
        let listening = Instant::now();
        while second.log().matches("listening").count() <= starts {
            assert!(other.ended_already().is_none(), "{}", second.terminal());
            assert!(listening.elapsed() < WAIT_MAX, "{}", second.terminal());
            poll_delay().await;
        }
        starts += 1;
        other.kill();
        let counts = health(&server).await;
        if counts["checks"]["queue"]["pending"] == 0 && counts["checks"]["queue"]["processing"] == 0 {
            break;
        }
    }
    for accepted in &accepted {
        let status = server.ended(accepted).await;
        assert_eq!(status["state"], "completed", "{status}");
        let location = status["files"][0]["stored"][0]["location"].as_str().or(status["files"][0]["location"].as_str());
        if let Some(location) = location {
            assert!(!server.file(location).await.is_empty());
        }
    }
    figure("disk", format!("{JOBS} jobs beside {starts} starts of another server on the serve directory: none failed"));
}

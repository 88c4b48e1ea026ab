//! The server dies at its n-th system call of a kind, or is told there that the disk failed: for n = 1, 2, ... until
//! its work passes through untouched. strace counts for each thread by itself; whichever comes to n first, dies.
//!
//! `PIXERVE_BATTERY_STRIDE=<s>` tries every s-th n only (default 1).

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::promise::{Kept, Witness};
use crate::battery::figure;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::process::ServerProcess;
use crate::harness::tool::{Tool, require};

/// Servers at once: each has a tracer.
const AT_ONCE: usize = 3;
/// Uploads at once, to each.
const UPLOADS: u32 = 4;
/// Runs of one kind, at most.
const RUNS_MAX: usize = 40;

/// Of failures of one kind, which needn't show.
const FAILURES_OF_A_KIND: usize = 12;

/// System calls that change what is on disk, and those that make it durable.
const CALLS: [&str; 10] =
    ["fsync", "fdatasync", "sync_file_range", "rename", "renameat", "mkdir", "unlink", "unlinkat", "pwrite64", "write"];
/// Of those, what a start does too.
const CALLS_OF_A_START: [&str; 7] = ["fsync", "fdatasync", "rename", "renameat", "unlink", "pwrite64", "unlinkat"];
/// What the disk may say to them.
const FAILURES: [(&str, &str); 6] = [
    ("fsync", "EIO"),
    ("fdatasync", "EIO"),
    ("fdatasync", "ENOSPC"),
    ("rename", "EIO"),
    ("renameat", "ENOSPC"),
    ("pwrite64", "ENOSPC"),
];

#[expect(clippy::disallowed_methods, reason = "how far a run goes is the environment's to say")]
fn stride() -> usize {
    std::env::var("PIXERVE_BATTERY_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(1).max(1)
}

/// A tracer at work on a running server. Gone when dropped.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // It ends with whom it traces, most often.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rule(call: &str, effect: &str, nth: usize) -> [String; 5] {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{effect}:when={nth}"));
    ["-f".to_owned(), "-e".to_owned(), trace, "-e".to_owned(), inject]
}

/// Attaches a tracer to every thread of the server.
async fn attach(witness: &Witness, server: &ServerProcess, rule: &[String]) -> Tracer {
    let told = witness.home.root().join("strace");
    let terminal = File::create(&told).expect("a file");
    let tracer = Command::new("strace")
        .args(rule)
        .args(["-o", "/dev/null", "-p", &server.id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn();
    let tracer = Tracer(tracer.expect("strace starts"));
    let (started, mut said) = (Instant::now(), String::new());
    while !said.contains(" attached") {
        assert!(started.elapsed() < WAIT_MAX, "strace doesn't attach: {said}");
        poll_delay().await;
        said = std::fs::read_to_string(&told).unwrap_or_default();
    }
    tracer
}

/// Whether strace is here and may trace.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "-e", "trace=none", "true"]).output();
    let can = traced.is_ok_and(|output| output.status.success());
    require(Tool::Strace, can.then_some(())).is_some()
}

/// Whether it died before its work was done, and what was kept all the same.
type Run = (bool, Kept);

/// The server dies in the midst of uploads.
async fn killed_in_work(call: &'static str, nth: usize) -> Run {
    // Children write to their pipes, and theirs must not be counted: they would die instead.
    let sandbox = if call == "write" { "off" } else { "on" };
    let mut witness = Witness::new(&[("PIXERVE_MAX_WORKERS", "2"), ("PIXERVE_WORKER_SANDBOX", sandbox)]).await;
    let mut server = witness.home.start().await;
    let tracer = attach(&witness, &server, &rule(call, "signal=SIGKILL", nth)).await;
    witness.upload(&server, UPLOADS).await;
    let died = witness.dies_before_it_is_idle(&mut server).await;
    drop((server, tracer));
    let server = witness.home.start().await;
    (died, witness.assert_kept(&server).await)
}

/// The server dies while it starts after it was killed in the midst of uploads.
async fn killed_in_start(call: &'static str, nth: usize) -> Run {
    let mut witness = Witness::new(&[("PIXERVE_MAX_WORKERS", "2")]).await;
    let server = witness.home.start().await;
    witness.upload(&server, UPLOADS).await;
    server.kill();
    let mut strace = Command::new("strace");
    // The tracer as a grandchild: who dies is our child.
    strace.args(["-D", "-qq", "-o", "/dev/null"]).args(rule(call, "signal=SIGKILL", nth));
    let mut server = witness.home.spawn_by(strace, &[]);
    while server.ended_already().is_none() && !server.is_healthy().await {
        poll_delay().await;
    }
    let died = server.ended_already().is_some();
    drop(server);
    let server = witness.home.start().await;
    (died, witness.assert_kept(&server).await)
}

/// The disk fails once for each thread. The server goes on by itself, and after a kill nothing is missing.
async fn failing_disk(call: &'static str, error: &'static str, nth: usize) -> Run {
    let mut witness = Witness::new(&[("PIXERVE_MAX_WORKERS", "2")]).await;
    let server = witness.home.start().await;
    let tracer = attach(&witness, &server, &rule(call, &format!("error={error}"), nth)).await;
    witness.upload(&server, UPLOADS).await;
    let refused = witness.answers.iter().any(|(status, _)| *status != 200);
    // Every thread that is new counts anew: as long as it is traced, a disk that fails early fails for ever.
    drop(tracer);
    witness.upload_until_accepted(&server).await;
    server.kill();
    let server = witness.home.start().await;
    (refused, witness.assert_kept(&server).await)
}

/// Runs n = 1, 2, ... of every kind; to the first that passes through, if there is to be no more behind that, or until
/// there were enough.
async fn walk<K, F>(
    kinds: impl IntoIterator<Item = K>,
    enough: usize,
    run: impl Fn(&K, usize) -> F + Clone + Send + 'static,
) -> String
where
    K: Send + std::fmt::Debug + 'static,
    F: Future<Output = Run> + Send,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut walks = JoinSet::new();
    for kind in kinds {
        let (places, run) = (Arc::clone(&places), run.clone());
        walks.spawn(async move {
            let _place = places.acquire().await.expect("it is never closed");
            let (mut runs, mut hit, mut all) = (0, 0, Kept::default());
            for nth in (1..).step_by(stride()).take(enough) {
                let (this, kept) = run(&kind, nth).await;
                runs += 1;
                all += kept;
                hit += usize::from(this);
                if !this && enough == RUNS_MAX {
                    break;
                }
            }
            (format!("{kind:?} {hit}"), runs, all)
        });
    }
    let (mut each, mut runs, mut all) = (Vec::new(), 0, Kept::default());
    while let Some(walked) = walks.join_next().await {
        let (kind, ran, kept) = walked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        each.push(kind);
        runs += ran;
        all += kept;
    }
    each.sort();
    format!(
        "{runs} servers ({}): {} of {} accepted jobs in exactly one record, {} files whole, every callback came",
        each.join(", "),
        all.accepted,
        all.accepted,
        all.files
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn whatever_was_accepted_before_a_kill_at_the_nth_call_to_the_disk_ends_whole() {
    if can_trace() {
        let kept = walk(CALLS, RUNS_MAX, |call, nth| killed_in_work(call, nth)).await;
        figure("crash", format!("kill -9 at every n-th system call of a kind, {kept}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn whatever_was_accepted_survives_a_kill_at_the_nth_call_of_a_start() {
    if can_trace() {
        let kept = walk(CALLS_OF_A_START, RUNS_MAX, |call, nth| killed_in_start(call, nth)).await;
        figure("crash", format!("kill -9 at every n-th system call of a start, {kept}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn what_a_failing_disk_did_not_take_is_never_acknowledged() {
    if can_trace() {
        let kept = walk(FAILURES, FAILURES_OF_A_KIND, |(call, error), nth| failing_disk(call, error, nth)).await;
        figure("exhaustion", format!("the n-th call to the disk fails (counted: runs with an upload refused), {kept}"));
    }
}

/// A few of the above, for every `cargo test`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_and_a_failure_at_a_sync_lose_nothing() {
    if !can_trace() {
        return;
    }
    let mut all = Kept::default();
    let ((_, first), (_, second)) = tokio::join!(killed_in_work("fdatasync", 3), failing_disk("fdatasync", "EIO", 2));
    all += first;
    all += second;
    figure(
        "crash",
        format!("a kill and an EIO at fdatasync: {} accepted jobs, {} files whole", all.accepted, all.files),
    );
}

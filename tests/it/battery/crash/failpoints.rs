//! The server aborts at each of the steps that `src/failpoint.rs` names.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use pixerve::failpoint::Step;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::promise::{Kept, Witness};
use crate::battery::figure;
use crate::harness::token::Claims;

/// Servers at once.
const AT_ONCE: usize = 4;
/// Uploads at once, to each.
const UPLOADS: u32 = 3;

/// When in a server's life a step is come by.
#[derive(PartialEq)]
enum When {
    /// At the very first start.
    FirstStart,
    /// At a start after a kill.
    Start,
    /// While it takes uploads and works them off.
    Work,
    /// While it works off uploads that go to a store, too.
    Store,
    /// When a job is cancelled.
    Cancel,
    /// When a job that was cancelled is run again.
    Retry,
    /// When another job is made of the bytes of one that completed.
    Reprocess,
    /// When a user is registered.
    Register,
    /// After SIGTERM.
    Stop,
}

fn when(step: Step) -> When {
    match step {
        Step::DatabaseMade => When::FirstStart,
        Step::DatabaseCopied | Step::DatabaseChecked | Step::StartRecovered | Step::StartReconciled => When::Start,
        Step::VariantSpooled | Step::VariantsMade | Step::WriteBeforePut => When::Store,
        Step::CancelBefore | Step::CancelAfter | Step::SpoolKept => When::Cancel,
        Step::RetrySpooled | Step::RetryEnqueued => When::Retry,
        Step::ReprocessSpooled | Step::ReprocessEnqueued => When::Reprocess,
        Step::RegisterWritten | Step::RegisterDurable => When::Register,
        Step::StopDraining | Step::StopBeforeCleanNote => When::Stop,
        _ => When::Work,
    }
}

/// The batch that a start itself makes durable is the first that comes by.
fn passed_at_start(step: Step) -> u32 {
    u32::from(matches!(step, Step::QueueBeforeSync | Step::QueueAfterSync))
}

/// Lets a server come by `step` so often, and then once more, which ends it; starts it again, and holds it to what was
/// promised. Answers whether it came by often enough.
async fn die_at(step: Step, passed: u32) -> (bool, Kept) {
    let mut witness = Witness::new(&[("PIXERVE_MAX_WORKERS", "2")]).await;
    let points = format!("{}={}*off->return", step.name(), passed + passed_at_start(step));
    let when = when(step);
    if when == When::Store {
        witness.add_store().await;
    }
    if when == When::Start {
        let server = witness.home.start().await;
        witness.upload(&server, UPLOADS).await;
        server.kill();
    }
    let mut server = witness.home.spawn(&[("FAILPOINTS", &points)]);
    if !matches!(when, When::FirstStart | When::Start) {
        witness.home.answers(&mut server).await;
        witness.upload(&server, UPLOADS + passed).await;
    }
    match when {
        When::FirstStart | When::Start | When::Work | When::Store => {}
        // The last of some may have ended before it could be cancelled: then there are more.
        When::Cancel => {
            while server.ended_already().is_none() {
                witness.cancel_last(&server).await;
                witness.upload(&server, 2 * UPLOADS).await;
            }
        }
        When::Retry => {
            while server.ended_already().is_none() {
                witness.cancel_last(&server).await;
                witness.retry_last(&server).await;
                witness.upload(&server, 2 * UPLOADS).await;
            }
        }
        When::Reprocess => {
            while server.ended_already().is_none() {
                witness.reprocess_last(&server).await;
            }
        }
        When::Register => {
            let register = server.request(Method::POST, "/register").bearer_auth(Claims::of("operator").admin().sign());
            let _ = register.json(&json!({ "user": "shop" })).send().await;
        }
        When::Stop => server.terminate(),
    }
    let reached = if passed == 0 {
        assert_eq!(
            server.exited().await.signal(),
            Some(Signal::ABORT.as_raw()),
            "{} is not come by: {}",
            step.name(),
            witness.home.terminal()
        );
        true
    } else {
        witness.dies_before_it_is_idle(&mut server).await
    };
    drop(server);

    let server = witness.home.start().await;
    assert_eq!(witness.upload(&server, 1).await, 1, "after {} it takes no upload", step.name());
    let kept = witness.assert_kept(&server).await;
    let log = witness.home.log();
    assert!(!log.contains("DAMAGED"), "after {}: {log}", step.name());
    (reached, kept)
}

/// Dies at each of these, some servers at a time: how many did, and what was kept in all.
async fn walk(steps: impl Iterator<Item = (Step, u32)>) -> (usize, usize, Kept) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut servers = JoinSet::new();
    for (step, passed) in steps {
        let places = Arc::clone(&places);
        servers.spawn(async move {
            let _place = places.acquire().await.expect("it is never closed");
            die_at(step, passed).await
        });
    }
    let (mut tried, mut died, mut all) = (0, 0, Kept::default());
    while let Some(ended) = servers.join_next().await {
        let (reached, kept) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        tried += 1;
        died += usize::from(reached);
        all += kept;
    }
    (tried, died, all)
}

fn report(tried: usize, died: usize, kept: Kept) {
    let Kept { accepted, records, files } = kept;
    figure(
        "crash",
        format!(
            "{died} aborts at {} named steps ({tried} servers): {accepted} of {accepted} accepted jobs in exactly one \
             record, {records} records, {files} files whole, every callback came, spools empty",
            Step::ALL.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_accepted_before_an_abort_at_any_step_ends_whole() {
    let (tried, died, kept) = walk(Step::ALL.iter().map(|step| (*step, 0))).await;
    assert_eq!((tried, died), (Step::ALL.len(), Step::ALL.len()));
    report(tried, died, kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make battery"]
async fn whatever_was_accepted_before_an_abort_at_any_later_visit_to_a_step_ends_whole() {
    let in_work = Step::ALL.iter().filter(|step| matches!(when(**step), When::Work | When::Store));
    let (tried, died, kept) = walk(in_work.flat_map(|step| [1, 3, 5].map(|passed| (*step, passed)))).await;
    assert!(died * 2 > tried, "{died} of {tried}: most steps are come by more than once");
    report(tried, died, kept);
}

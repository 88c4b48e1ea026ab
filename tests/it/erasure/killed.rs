//! Kills at each step of an erasure, and at the step at which what is stored is written down.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use pixerve::clock::{Clock, System};
use pixerve::failpoint::{ErasureStep, ExpiryStep, Step};
use pixerve::ledger::{ErasedEvents, Ledger, LedgerEntry, SqliteLedger};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::home::{PICTURES, manager, stored_job, text};
use super::told::told_job;
use crate::harness::app::{WAIT_MAX, files_below, poll_delay, small_job};
use crate::harness::picture::{commented, jpeg};
use crate::harness::process::{Home, ServerProcess};
use crate::harness::receiver::Receiver;
use crate::harness::stores::s3;
use tokio::time::Instant;

/// Waits until nothing of this subject is known, by asking for it to be erased again.
async fn until_nothing_is_left(server: &ServerProcess, subject: &str) {
    let started = Instant::now();
    loop {
        let asked = server.request(Method::DELETE, &format!("/erase?sub={subject}"));
        let answer = asked.bearer_auth(manager(subject).sign()).send().await.expect("an answer");
        if answer.status() == 404 {
            return;
        }
        let status = answer.status();
        assert!(matches!(status.as_u16(), 200 | 202), "{status}: {}", answer.text().await.expect("text"));
        assert!(started.elapsed() < WAIT_MAX, "it is not erased");
        poll_delay().await;
    }
}

/// Waits until no file below this directory has one of these texts in it: databases keep the bytes of what is removed until they are
/// rewritten.
async fn until_no_file_has(dir: &Path, texts: &[&str]) {
    let started = Instant::now();
    let has = |file: &String| {
        let bytes = std::fs::read(dir.join(file)).unwrap_or_default();
        texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    loop {
        let found: Vec<_> = files_below(dir).into_iter().filter(has).collect();
        if found.is_empty() {
            return;
        }
        assert!(started.elapsed() < WAIT_MAX, "there is still something of {texts:?} in {found:?}");
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_is_carried_out_whatever_step_the_server_dies_at() {
    let texts @ [subject, directory, name, comment] =
        ["canary-subject-of-all", "canary-directory", "canary-name", "canary-in-the-picture"];
    for step in ErasureStep::ALL {
        let store = s3().await;
        store.create_bucket(PICTURES);
        let home = Home::new(&[("PIXERVE_MAX_WORKERS", "1")]);
        let points = format!("{}=return", step.name());
        let mut server = home.spawn(&[("FAILPOINTS", &points)]);
        home.answers(&mut server).await;
        let access_key = server.register(store.registration(PICTURES)).await;
        let receiver = Receiver::start().await;
        let mut job = told_job(&receiver, stored_job(&access_key));
        job["subDir"] = json!(directory);
        job["keepOriginal"] = json!(true);
        let file = format!("{name}.jpg");
        let done = server.done(subject, job, &file, commented(jpeg(96, 96, 1), comment)).await;
        let slow = json!({ "directHost": true, "subDir": directory, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[900], [800], [700]] } } });
        let picture = commented(jpeg(1000, 1000, 2), comment);
        let live = server.accepted(subject, told_job(&receiver, slow), &file, picture).await;
        server.processing(&live).await;

        let order = server.request(Method::DELETE, &format!("/erase?sub={subject}"));
        let _ = order.bearer_auth(manager(subject).sign()).send().await;
        let ended = server.exited().await;
        assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{} is not come by: {}", step.name(), home.terminal());
        drop(server);

        let server = home.start().await;
        until_nothing_is_left(&server, subject).await;
        assert_eq!(files_below(&home.serve_dir()), [""; 0], "{}", step.name());
        assert!(store.keys(PICTURES).await.is_empty(), "{}", step.name());
        let left = files_below(&home.data_dir().join("spool"));
        assert!(left.iter().all(|file| !file.contains("original")), "{}: {left:?}", step.name());
        assert_eq!(server.get(&format!("/status?job_id={}", text(&live["job_id"]))).await.status(), 404);
        // Told is each, at least once and under its one id.
        told_of(&receiver, &[&done, &live]).await;
        until_no_file_has(&home.data_dir(), &texts).await;
        // It serves as before.
        server.done("me", small_job(), "c.jpg", jpeg(96, 96, 3)).await;
    }
}

/// Waits until the receiver was told that each of these jobs is erased.
pub(super) async fn told_of(receiver: &Receiver, jobs: &[&Value]) {
    let mut missing: BTreeSet<_> = jobs.iter().map(|job| format!("{}_erased", text(&job["job_id"]))).collect();
    let all = missing.clone();
    while !missing.is_empty() {
        let call = receiver.call().await;
        let id = call.headers["webhook-id"].to_str().expect("text");
        assert!(call.body["type"] == "job.erased" && all.contains(id), "{}", call.body);
        missing.remove(id);
    }
}

fn ledger(home: &Home) -> SqliteLedger {
    SqliteLedger::open(&home.data_dir()).expect("the ledger").ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_comes_under_one_id_whatever_step_of_its_delivery_the_server_dies_at() {
    for step in [Step::CallbackBeforeSend, Step::CallbackAfterReply, Step::CallbackSettled] {
        let (home, receiver) = (Home::new(&[]), Receiver::start().await);
        let points = format!("{}=return", step.name());
        let mut server = home.spawn(&[("FAILPOINTS", &points)]);
        home.answers(&mut server).await;
        let job = server.done("me", told_job(&receiver, small_job()), "a.jpg", jpeg(96, 96, 1)).await;
        let order = server.request(Method::DELETE, "/erase?sub=me").bearer_auth(manager("me").sign());
        let _ = order.send().await;
        assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", home.terminal());
        drop(server);

        let mut server = home.start().await;
        told_of(&receiver, &[&job]).await;
        if step == Step::CallbackAfterReply {
            // Nobody knows that it was taken.
            told_of(&receiver, &[&job]).await;
        }
        until_nothing_is_left(&server, "me").await;
        // A try in flight is settled first.
        server.terminate();
        server.exited().await;
        let ledger = ledger(&home);
        assert_eq!(ledger.events(None, 1).await.expect("read"), [], "{}", step.name());
        ledger.close().await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_expires_once_whatever_step_the_server_dies_at() {
    for step in ExpiryStep::ALL {
        let (home, receiver) = (Home::new(&[]), Receiver::start().await);
        let server = home.start().await;
        let mut job = told_job(&receiver, small_job());
        job["expiresAfter"] = json!("1h");
        let job = server.done("me", job, "a.jpg", jpeg(96, 96, 1)).await;
        server.kill();
        let known = ledger(&home);
        let entry = known.entry(&text(&job["job_id"]).parse().expect("an id")).await.expect("read").expect("known");
        let expires_at = Some(System::new().now().before(Duration::from_secs(1)));
        known.record(&LedgerEntry { expires_at, ..entry }).await.expect("written");
        known.close().await.expect("closed");

        let points = format!("{}=return", step.name());
        let mut server = home.spawn(&[("FAILPOINTS", &points)]);
        assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", home.terminal());
        drop(server);
        let server = home.start().await;
        told_of(&receiver, &[&job]).await;
        until_nothing_is_left(&server, "me").await;
        assert_eq!(files_below(&home.serve_dir()), [""; 0]);
        let metrics = server.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
        assert!(metrics.contains(r#"pixerve_jobs_erased_total{reason="expired"} 1"#), "{}: {metrics}", step.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_attempt_stored_whose_process_died_is_known() {
    let home = Home::new(&[]);
    for step in [Step::SettleBefore, Step::SettleRecorded, Step::SettleAfter] {
        let points = format!("{}=return", step.name());
        let mut server = home.spawn(&[("FAILPOINTS", &points)]);
        home.answers(&mut server).await;
        let accepted = server.accepted("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
        assert_eq!(server.exited().await.signal(), Some(Signal::ABORT.as_raw()), "{}", home.terminal());
        drop(server);
        assert_eq!(files_below(&home.serve_dir()).len(), 1, "it is stored");

        let server = home.start().await;
        server.ended(&accepted).await;
        let asked = server.request(Method::DELETE, "/erase?sub=me").bearer_auth(manager("me").sign());
        let answer: Value = asked.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(answer["files"]["deleted"], 1, "{}: {answer}", step.name());
        assert_eq!(files_below(&home.serve_dir()), [""; 0]);
        server.kill();
    }
}

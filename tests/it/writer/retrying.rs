//! What may pass is tried again, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use md5::{Digest, Md5};
use pixerve::job::Stored;
use pixerve::retry::Backoff;
use pixerve::writer::{
    Object, ProbeOutcome, Retrying, StorageSettings, StoreSettings, StoreTimeouts, WriteError, WriterBackend,
};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::object;
use super::scripted::{Scripted, s3_error, s3_yes};

/// Tries as often as by default, and hardly waits in between. A write may go on for longer than any test, but for the
/// one that sees it end.
fn quick() -> StoreSettings {
    waiting(Duration::from_millis(1), Duration::from_millis(2))
}

/// Waits that no test would sit through.
fn slow() -> StoreSettings {
    waiting(Duration::from_secs(1 << 30), Duration::from_secs(1 << 30))
}

fn waiting(backoff_min: Duration, backoff_max: Duration) -> StoreSettings {
    let mut settings = StoreSettings { cancel_grace: Duration::from_mins(10), ..StoreSettings::default() };
    settings.retry.backoff = Backoff { backoff_min, backoff_max, ..settings.retry.backoff };
    settings
}

fn retrying_s3(server: &Scripted) -> Retrying<Arc<dyn WriterBackend>> {
    let body = json!({
        "type": "s3", "bucket": "pics", "region": "test-1", "access_key_id": "id", "secret_access_key": "secret",
        "endpoint": server.endpoint
    });
    let writer =
        StorageSettings::from_request(&body).expect("valid").connect(&StoreTimeouts::default()).expect("a client");
    Retrying::new(writer, quick(), CancellationToken::new())
}

#[tokio::test]
async fn a_store_that_recovers_gets_the_object() {
    let server = Scripted::start(|before, request| match before {
        0 => s3_error(500, "InternalError", "oops"),
        1 => s3_error(503, "SlowDown", "later"),
        _ => s3_yes(&hex::encode(Md5::digest(&request.body))),
    })
    .await;
    let stored = retrying_s3(&server).put(&object("", "a.jpg", "x")).await.expect("stored at last");
    assert_eq!(stored, Stored { backend: "s3".to_owned(), location: "s3://pics/a.jpg".to_owned() });
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.body == "x"), "every try sends the whole body");
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let server = Scripted::start(|_, _| s3_error(403, "AccessDenied", "no")).await;
    let error = retrying_s3(&server).put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(!error.transient, "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn tries_run_out_and_the_error_stays_transient() {
    let server = Scripted::start(|_, _| s3_error(503, "SlowDown", "later")).await;
    let error = retrying_s3(&server).put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(error.transient && error.detail.contains("SlowDown"), "{error}");
    assert_eq!(server.asked().len(), quick().retry.tries_max as usize);
}

#[tokio::test]
async fn a_probe_is_tried_once() {
    let server = Scripted::start(|_, _| s3_error(503, "SlowDown", "later")).await;
    retrying_s3(&server).probe().await.expect_err("refused");
    let written = server.asked().iter().filter(|request| request.method == "PUT").count();
    assert_eq!(written, 1);
}

/// A store that says when a write begins and ends it when told, always with an error that may pass.
#[derive(Clone, Default)]
struct Gate {
    puts: Arc<AtomicUsize>,
    begun: Arc<Notify>,
    end: Arc<Notify>,
}

#[async_trait]
impl WriterBackend for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    async fn put(&self, _: &Object) -> Result<Stored, WriteError> {
        self.begun.notify_one();
        self.end.notified().await;
        self.puts.fetch_add(1, Ordering::SeqCst);
        Err(WriteError { what: "put".to_owned(), detail: "gate".to_owned(), transient: true })
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        Ok(ProbeOutcome::Deleted)
    }
}

#[tokio::test]
async fn a_stop_ends_the_waiting_between_tries() {
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let writer = Retrying::new(gate.clone(), slow(), stop.clone());
    let put = tokio::spawn(async move { writer.put(&object("", "a.jpg", "x")).await });
    gate.begun.notified().await;
    gate.end.notify_one();
    while gate.puts.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    assert!(put.await.expect("no panic").expect_err("never stored").transient);
    assert_eq!(gate.puts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stop_does_not_abandon_a_write_that_has_begun() {
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let writer = Retrying::new(gate.clone(), quick(), stop.clone());
    let put = tokio::spawn(async move { writer.put(&object("", "a.jpg", "x")).await });
    gate.begun.notified().await;
    stop.cancel();
    tokio::task::yield_now().await;
    assert!(!put.is_finished());
    gate.end.notify_one();
    put.await.expect("no panic").expect_err("never stored");
    assert_eq!(gate.puts.load(Ordering::SeqCst), 1, "seen through, and not tried again");
}

#[tokio::test]
async fn a_write_that_outlasts_the_grace_after_a_stop_is_cancelled() {
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let settings = StoreSettings { cancel_grace: Duration::from_millis(50), ..quick() };
    let writer = Retrying::new(gate.clone(), settings, stop.clone());
    let put = tokio::spawn(async move { writer.put(&object("", "a.jpg", "x")).await });
    gate.begun.notified().await;
    stop.cancel();
    let error = put.await.expect("no panic").expect_err("never stored");
    assert!(error.transient && error.detail.contains("cancelled"), "{error}");
    assert_eq!(gate.puts.load(Ordering::SeqCst), 0);
}

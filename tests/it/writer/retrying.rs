//! What may pass is tried again, for as long as it is worth it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::response::IntoResponse;
use futures_util::future::join_all;
use http::StatusCode;
use md5::{Digest, Md5};
use pixerve::clock::{SharedClock, System};
use pixerve::job::Stored;
use pixerve::metrics::{Exposition, MetricsBuilder};
use pixerve::retry::Backoff;
use pixerve::writer::{
    Deletion, FileList, FoundFile, GiveUpTime, Object, ObjectBytes, ProbeOutcome, Retrying, StorageSettings, StoreGate,
    StoreMetrics, StoreSettings, StoreTimeouts, WriteError, WriteErrorKind, WriteSignals, WriterBackend,
};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::object;
use super::scripted::{Scripted, s3_error, s3_yes};

/// Hardly waits between tries. A write may go on for longer than any test, but for the one that sees it end.
fn quick() -> StoreSettings {
    waiting(Duration::from_millis(1), Duration::from_millis(2))
}

/// Waits that no test would sit through.
fn slow() -> StoreSettings {
    waiting(Duration::from_secs(1 << 30), Duration::from_secs(1 << 30))
}

fn waiting(backoff_min: Duration, backoff_max: Duration) -> StoreSettings {
    let defaults = StoreSettings::default();
    let backoff = Backoff { backoff_min, backoff_max, ..defaults.backoff };
    StoreSettings { cancel_grace: Duration::from_mins(10), backoff, ..defaults }
}

/// A writer with a gate, an owner and a time of its own.
fn retrying<W: WriterBackend>(
    writer: W,
    settings: StoreSettings,
    give_up: Option<GiveUpTime>,
    stop: &CancellationToken,
) -> Retrying<W> {
    counted(writer, settings, give_up, stop, StoreMetrics::default())
}

/// The same, counted in `metrics`.
fn counted<W: WriterBackend>(
    writer: W,
    settings: StoreSettings,
    give_up: Option<GiveUpTime>,
    stop: &CancellationToken,
    metrics: StoreMetrics,
) -> Retrying<W> {
    let clock: SharedClock = Arc::new(System::new());
    let gate = StoreGate::new("a store".to_owned(), 16, Arc::clone(&clock));
    let signals = WriteSignals { stop: stop.clone(), no_waiting: CancellationToken::new() };
    Retrying::new(writer, gate, [0; 32], settings, give_up, signals, clock, metrics)
}

fn s3(server: &Scripted) -> Arc<dyn WriterBackend> {
    let body = json!({
        "type": "s3", "bucket": "pics", "region": "test-1", "access_key_id": "id", "secret_access_key": "secret",
        "endpoint": server.endpoint
    });
    StorageSettings::from_request(&body).expect("valid").connect(&StoreTimeouts::default()).expect("a client")
}

fn retrying_s3(
    server: &Scripted,
    settings: StoreSettings,
    give_up: Option<GiveUpTime>,
) -> Retrying<Arc<dyn WriterBackend>> {
    retrying(s3(server), settings, give_up, &CancellationToken::new())
}

fn given_up_now() -> GiveUpTime {
    let give_up = GiveUpTime::default();
    give_up.set(Duration::ZERO);
    give_up
}

#[tokio::test]
async fn a_store_that_recovers_gets_the_object() {
    let server = Scripted::start(|before, request| match before {
        0 => s3_error(500, "InternalError", "oops"),
        1 => s3_error(503, "SlowDown", "later"),
        _ => s3_yes(&hex::encode(Md5::digest(&request.body))),
    })
    .await;
    let stored = retrying_s3(&server, quick(), None).put(&object("", "a.jpg", "x")).await.expect("stored at last");
    assert_eq!(stored, Stored::at("s3", "s3://pics/a.jpg"));
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|request| request.body == "x"), "every try sends the whole body");
}

#[tokio::test]
async fn a_refusal_is_asked_about_again_until_it_is_given_up() {
    let server = Scripted::start(|_, _| s3_error(403, "AccessDenied", "no")).await;
    let settings = StoreSettings { refused_give_up_after: Duration::ZERO, ..quick() };
    let writer = retrying_s3(&server, settings, None);
    let error = writer.put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert_eq!(error.kind, WriteErrorKind::Refused, "{error}");
    assert_eq!(server.asked().len(), 1);
    assert!(writer.refused_since().is_some() && writer.unreachable_since().is_none());

    let server = Scripted::start(|before, request| match before {
        0..20 => s3_error(403, "AccessDenied", "no"),
        _ => s3_yes(&hex::encode(Md5::digest(&request.body))),
    })
    .await;
    let writer = retrying_s3(&server, quick(), None);
    writer.put(&object("", "a.jpg", "x")).await.expect("somebody has put the credentials right");
    assert_eq!((server.asked().len(), writer.refused_since()), (21, None));
}

#[tokio::test]
async fn while_a_store_refuses_one_write_asks_for_all() {
    let server = Scripted::start(|before, request| match before {
        0..20 => s3_error(403, "AccessDenied", "no"),
        _ => s3_yes(&hex::encode(Md5::digest(&request.body))),
    })
    .await;
    let writer = retrying_s3(&server, quick(), None);
    let names: Vec<_> = (0..8).map(|n| object("", &format!("{n}.jpg"), "x")).collect();
    for put in join_all(names.iter().map(|object| writer.put(object))).await {
        put.expect("stored at last");
    }
    // Eight ask at once before anyone knows; from then on it takes one request to learn as much.
    let asked = server.asked().len();
    assert!((28..=29).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_store_that_can_not_be_reached_is_given_up_at_its_time_and_the_error_stays_transient() {
    let server = Scripted::start(|_, _| s3_error(503, "SlowDown", "later")).await;
    let writer = retrying_s3(&server, quick(), Some(given_up_now()));
    let error = writer.put(&object("", "a.jpg", "x")).await.expect_err("refused");
    assert!(error.is_transient() && error.detail.contains("SlowDown"), "{error}");
    assert_eq!(server.asked().len(), 1, "one try is its due");
}

#[tokio::test]
async fn what_waits_for_a_store_that_can_not_be_reached_is_given_up_without_a_try_of_its_own() {
    let server = Scripted::start(|_, _| s3_error(503, "SlowDown", "later")).await;
    let give_up = GiveUpTime::default();
    let writer = Arc::new(retrying_s3(&server, quick(), Some(give_up.clone())));
    let puts: Vec<_> = (0..10)
        .map(|n| {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move { writer.put(&object("", &format!("{n}.jpg"), "x")).await })
        })
        .collect();
    while writer.unreachable_since().is_none() {
        tokio::task::yield_now().await;
    }
    give_up.set(Duration::ZERO);
    for put in puts {
        let error = put.await.expect("no panic").expect_err("given up");
        assert!(error.kind == WriteErrorKind::Unavailable && error.detail.contains("SlowDown"), "{error}");
    }
}

#[tokio::test]
async fn a_probe_is_tried_once() {
    let server = Scripted::start(|_, _| s3_error(503, "SlowDown", "later")).await;
    retrying_s3(&server, quick(), None).probe().await.expect_err("refused");
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
        Err(WriteError { what: "put".to_owned(), detail: "gate".to_owned(), kind: WriteErrorKind::Unavailable })
    }

    async fn delete(&self, _: &str) -> Result<Deletion, WriteError> {
        self.put(&object("", "a.jpg", "")).await.map(|_| unreachable!("it always fails"))
    }

    async fn get(&self, _: &str, _: u64) -> Result<ObjectBytes, WriteError> {
        self.put(&object("", "a.jpg", "")).await.map(|_| unreachable!("it always fails"))
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        panic!("nothing is to be listed");
    }

    async fn look(&self, _: &str) -> Result<Option<FoundFile>, WriteError> {
        panic!("nothing is to be looked at");
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        Ok(ProbeOutcome::Deleted)
    }
}

#[tokio::test]
async fn a_stop_ends_the_waiting_between_tries() {
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let writer = retrying(gate.clone(), slow(), None, &stop);
    let put = tokio::spawn(async move { writer.put(&object("", "a.jpg", "x")).await });
    gate.begun.notified().await;
    gate.end.notify_one();
    while gate.puts.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    assert!(put.await.expect("no panic").expect_err("never stored").is_transient());
    assert_eq!(gate.puts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stop_does_not_abandon_a_write_that_has_begun() {
    let (gate, stop) = (Gate::default(), CancellationToken::new());
    let writer = retrying(gate.clone(), quick(), None, &stop);
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
    let writer = retrying(gate.clone(), settings, None, &stop);
    let put = tokio::spawn(async move { writer.put(&object("", "a.jpg", "x")).await });
    gate.begun.notified().await;
    stop.cancel();
    let error = put.await.expect("no panic").expect_err("never stored");
    assert!(error.is_transient() && error.detail.contains("cancelled"), "{error}");
    assert_eq!(gate.puts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_deletion_and_a_read_are_tried_like_a_write() {
    let server = Scripted::start(|before, request| match (before, request.method.as_str()) {
        (0..2, _) => s3_error(503, "SlowDown", "later"),
        (_, "HEAD") => StatusCode::NOT_FOUND.into_response(),
        (_, "DELETE") => StatusCode::NO_CONTENT.into_response(),
        _ => s3_error(404, "NoSuchKey", "it is not there"),
    })
    .await;
    let writer = retrying_s3(&server, quick(), None);
    assert!(!writer.delete("s3://pics/a.jpg").await.expect("deleted at last").was_there);
    assert_eq!(server.asked().len(), 4);
    assert_eq!(writer.get("s3://pics/a.jpg", 1).await.expect_err("gone").kind, WriteErrorKind::Missing);
    assert_eq!(server.asked().len(), 5, "what is missing is not asked for again");
}

#[tokio::test]
async fn what_is_asked_of_stores_is_counted_by_what_it_was() {
    let server = Scripted::start(|before, request| match (before, request.method.as_str()) {
        (0, _) => s3_error(503, "SlowDown", "later"),
        (_, "HEAD") => StatusCode::NOT_FOUND.into_response(),
        (_, "DELETE") => StatusCode::NO_CONTENT.into_response(),
        _ => s3_error(403, "AccessDenied", "no"),
    })
    .await;
    let settings = StoreSettings { refused_give_up_after: Duration::ZERO, ..quick() };
    let metrics = StoreMetrics::default();
    let writer = counted(s3(&server), settings, None, &CancellationToken::new(), metrics.clone());
    writer.delete("s3://pics/a.jpg").await.expect("deleted at last");
    writer.get("s3://pics/a.jpg", 1).await.expect_err("refused");
    let mut builder = MetricsBuilder::default();
    metrics.register(builder.registry());
    let text = builder.build().expose(Exposition::Text);
    for (operation, result, count) in
        [("delete", "ok", 1), ("delete", "retried", 1), ("get", "failed", 1), ("put", "ok", 0)]
    {
        let line = format!(
            "pixerve_store_operations_total{{backend=\"s3\",operation=\"{operation}\",result=\"{result}\"}} {count}"
        );
        assert!(text.contains(&line), "{line} in {text}");
    }
}

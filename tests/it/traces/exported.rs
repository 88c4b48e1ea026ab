//! What a collector is sent, and that nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use parking_lot::Mutex;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{TRACE, TRACEPARENT, job, upload};
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::process::{Home, ServerProcess, reserve_port};
use crate::harness::receiver::Receiver;
use crate::harness::stores::{s3, s3_at};

/// The span that [`TRACEPARENT`] names.
const CALLER: &str = "00f067aa0ba902b7";

/// A collector of traces on loopback.
struct Collector {
    endpoint: String,
    inner: Arc<Inner>,
}

struct Inner {
    /// What it answers.
    status: AtomicU16,
    received: Mutex<Received>,
}

#[derive(Default)]
struct Received {
    requests: usize,
    resources: Vec<Vec<KeyValue>>,
    spans: Vec<Span>,
}

impl Collector {
    async fn start() -> Self {
        let inner = Arc::new(Inner { status: AtomicU16::new(200), received: Mutex::default() });
        let app = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&inner));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { endpoint, inner }
    }

    /// A server that exports to it without delay.
    async fn server(&self, home: &Home, further: &[(&str, &str)]) -> ServerProcess {
        let ours = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*self.endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "20")];
        home.start_with(&[&ours, further].concat()).await
    }

    fn answer(&self, status: u16) {
        self.inner.status.store(status, Ordering::SeqCst);
    }

    fn requests(&self) -> usize {
        self.inner.received.lock().requests
    }

    /// Every span that it took.
    fn spans(&self) -> Vec<Span> {
        self.inner.received.lock().spans.clone()
    }

    /// Those of this name, once there are so many of them.
    async fn named(&self, name: &str, count: usize) -> Vec<Span> {
        let started = Instant::now();
        loop {
            let named: Vec<_> = self.spans().into_iter().filter(|span| span.name == name).collect();
            if named.len() >= count {
                assert_eq!(named.len(), count, "{name}");
                return named;
            }
            let there: Vec<_> = self.spans().into_iter().map(|span| span.name).collect();
            assert!(started.elapsed() < WAIT_MAX, "{count} spans `{name}` are awaited, there are {there:?}");
            poll_delay().await;
        }
    }

    /// The only one of this name.
    async fn span(&self, name: &str) -> Span {
        self.named(name, 1).await.remove(0)
    }
}

async fn collect(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let status = StatusCode::from_u16(inner.status.load(Ordering::SeqCst)).expect("a status");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let mut received = inner.received.lock();
    received.requests += 1;
    if status == StatusCode::OK {
        for of_resource in request.resource_spans {
            received.resources.push(of_resource.resource.expect("a resource").attributes);
            received.spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
        }
    }
    status
}

/// An attribute as text.
fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?;
    match value {
        AnyValue { value: Some(Any::StringValue(text)) } => Some(text),
        AnyValue { value: Some(Any::IntValue(number)) } => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn has(span: &Span, attributes: &[(&str, &str)]) {
    for (key, value) in attributes {
        assert_eq!(attribute(&span.attributes, key).as_deref(), Some(*value), "{key} of {}", span.name);
    }
}

fn id(span: &Span) -> String {
    hex::encode(&span.span_id)
}

fn parent(span: &Span) -> String {
    hex::encode(&span.parent_span_id)
}

fn traceparent(span: &Span) -> String {
    format!("00-{}-{}-01", hex::encode(&span.trace_id), id(span))
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_tells_a_job_from_its_upload_to_its_callback() {
    let (collector, store, receiver) = (Collector::start().await, s3().await, Receiver::start().await);
    store.create_bucket("pics");
    let home = Home::new(&[("PIXERVE_CALLBACK_BACKOFF_MIN", "10ms")]);
    let server = collector.server(&home, &[]).await;
    let key = server.register(store.registration("pics")).await;
    let mut job = job(&key, &receiver);
    job["directHost"] = json!(true);
    receiver.answer(500);
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "shop=17")];
    let status = server.ended(&upload(&server, job, &headers).await).await;
    assert_eq!(status["state"], "completed", "{status}");
    let first = receiver.call().await;
    receiver.answer(200);
    let mut calls = vec![first];
    while collector.spans().iter().all(|span| span.name != "callback" || failed(span)) {
        if let Some(call) = receiver.unexpected().await {
            calls.push(call);
        }
        poll_delay().await;
    }
    while let Some(call) = receiver.unexpected().await {
        calls.push(call);
    }

    let upload = collector.span("POST /upload").await;
    assert_eq!((hex::encode(&upload.trace_id), parent(&upload)), (TRACE.to_owned(), CALLER.to_owned()));
    assert_eq!((upload.kind(), failed(&upload)), (SpanKind::Server, false));
    has(&upload, &[("http.request.method", "POST"), ("http.route", "/upload"), ("http.response.status_code", "200")]);
    let attempt = collector.span("attempt").await;
    assert_eq!((parent(&attempt), failed(&attempt)), (id(&upload), false));
    let [job_id, hash] = ["job_id", "hash"].map(|field| status[field].as_str().expect("text"));
    let of_job = [("pixerve.job_id", job_id), ("pixerve.hash", hash), ("pixerve.attempt", "1")];
    has(&attempt, &[&of_job[..], &[("pixerve.outcome", "completed")]].concat());
    for name in ["decode jpg", "resize", "encode jpg", "verify jpg", "store directHost", "store s3"] {
        let part = collector.span(name).await;
        assert_eq!(parent(&part), id(&attempt), "{name}");
        let times = [attempt.start_time_unix_nano, part.start_time_unix_nano, part.end_time_unix_nano];
        assert!(times.is_sorted() && part.end_time_unix_nano <= attempt.end_time_unix_nano, "{name}: {times:?}");
    }
    let stored = collector.span("store s3").await;
    has(&stored, &[("pixerve.backend", "s3"), ("pixerve.bytes", &status["files"][0]["bytes"].to_string())]);
    assert_eq!(stored.kind(), SpanKind::Client);
    assert_eq!(store.asked_with("traceparent"), [traceparent(&stored)]);
    assert_eq!(store.asked_with("tracestate"), ["shop=17"]);

    let tries = collector.named("callback", calls.len()).await;
    assert!(tries.len() > 1, "the first was refused");
    for (number, (tried, call)) in tries.iter().zip(&calls).enumerate() {
        assert_eq!((parent(tried), tried.kind()), (id(&upload), SpanKind::Client));
        assert_eq!(call.headers["traceparent"], traceparent(tried));
        let is_last = number + 1 == tries.len();
        assert_eq!(failed(tried), !is_last);
        let answer = if is_last { "200" } else { "500" };
        has(tried, &[("http.response.status_code", answer), ("pixerve.attempt", &(number + 1).to_string())]);
    }

    let all = format!("{:?}", collector.spans());
    for told_nobody in ["/health", "Bearer", "a.jpg", "/hook", &*key, "secret"] {
        assert!(!all.contains(told_nobody), "{told_nobody}");
    }
    let resources = collector.inner.received.lock().resources.clone();
    assert_eq!(attribute(&resources[0], "service.name").as_deref(), Some("pixerve"));
    assert_eq!(attribute(&resources[0], "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_trace_begins_one_and_a_refused_one_says_why() {
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let home = Home::new(&[]);
    let names = [("OTEL_SERVICE_NAME", "shop"), ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")];
    let server = collector.server(&home, &names).await;
    let job = json!({
        "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[16]] } }
    });
    upload(&server, job, &[]).await;
    let span = collector.span("POST /upload").await;
    assert_eq!(parent(&span), "");
    let callback = collector.span("callback").await;
    assert_eq!(callback.trace_id, span.trace_id);
    assert_eq!(receiver.call().await.headers["traceparent"], traceparent(&callback));

    assert_eq!(server.get("/register").await.status(), 401);
    let refused = collector.span("GET /register").await;
    has(&refused, &[("http.response.status_code", "401"), ("pixerve.code", "unauthorized")]);
    assert!(!failed(&refused), "of a refusal the client is to blame");
    assert_ne!(refused.trace_id, span.trace_id);
    let resources = collector.inner.received.lock().resources.clone();
    assert_eq!(attribute(&resources[0], "service.name").as_deref(), Some("shop"));
    assert_eq!(attribute(&resources[0], "deployment.environment.name").as_deref(), Some("test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_of_the_next_server_is_a_part_of_the_same_trace() {
    let (collector, receiver, addr) = (Collector::start().await, Receiver::start().await, reserve_port());
    let home = Home::new(&[("PIXERVE_STORES_BACKOFF_MIN", "10ms")]);
    let server = collector.server(&home, &[]).await;
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("waits");
    absent.stop().await;
    let key = server.register(registration).await;
    let accepted = upload(&server, job(&key, &receiver), &[("traceparent", TRACEPARENT)]).await;
    server.wait_for(&accepted, "to wait for its store", |status| status["waiting_for"].is_array()).await;
    let upload = collector.span("POST /upload").await;
    server.kill();

    let server = collector.server(&home, &[]).await;
    let store = s3_at(addr, &["waits"]).await;
    assert_eq!(server.ended(&accepted).await["state"], "completed");
    // The first one's attempt died with it.
    let attempt = collector.span("attempt").await;
    assert_eq!((&attempt.trace_id, parent(&attempt)), (&upload.trace_id, id(&upload)));
    let callback = collector.span("callback").await;
    assert_eq!((&callback.trace_id, parent(&callback)), (&upload.trace_id, id(&upload)));
    let tries: Vec<_> = collector.spans().into_iter().filter(|span| span.name == "store s3").collect();
    assert!(tries.iter().any(failed), "the store was away");
    for span in &tries {
        assert_eq!(span.trace_id, upload.trace_id);
    }
    let told = store.asked_with("traceparent");
    assert!(told.iter().all(|told| tries.iter().any(|span| traceparent(span) == *told)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_to_be_recorded_is_not_exported_and_told_on() {
    let unrecorded = TRACEPARENT.replace("-01", "-00");
    let trace = &TRACEPARENT[..35];
    for (variables, given, told) in [
        // Whoever began the trace doesn't record it.
        (vec![], &*unrecorded, (trace, "-00")),
        (vec![("OTEL_TRACES_SAMPLER", "always_off")], TRACEPARENT, (trace, "-00")),
        (vec![("OTEL_SDK_DISABLED", "true")], TRACEPARENT, (TRACEPARENT, "")),
        (vec![("OTEL_TRACES_EXPORTER", "none")], TRACEPARENT, (TRACEPARENT, "")),
    ] {
        let (collector, receiver) = (Collector::start().await, Receiver::start().await);
        let home = Home::new(&[]);
        let mut server = collector.server(&home, &variables).await;
        let job = json!({
            "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[16]] } }
        });
        upload(&server, job, &[("traceparent", given)]).await;
        let call = receiver.call().await;
        let header = call.headers["traceparent"].to_str().expect("ASCII");
        assert!(header.starts_with(told.0) && header.ends_with(told.1), "{variables:?}: {header}");
        // A stop exports what is left.
        server.terminate();
        assert!(server.exited().await.success());
        let of_trace = |span: &Span| hex::encode(&span.trace_id) == TRACE;
        assert!(!collector.spans().iter().any(of_trace), "{variables:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_exports_what_is_left() {
    let collector = Collector::start().await;
    let home = Home::new(&[]);
    // By itself it would export nothing before the test ends.
    let mut server = collector.server(&home, &[("OTEL_BSP_SCHEDULE_DELAY", "600000")]).await;
    assert_eq!(server.get("/version").await.status(), 200);
    assert_eq!(collector.requests(), 0);
    server.terminate();
    assert!(server.exited().await.success());
    assert_eq!(collector.spans().iter().filter(|span| span.name == "GET /version").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_never_answers_holds_nothing_up() {
    // The kernel takes connections to it; nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    for addr in [reserve_port(), silent.local_addr().expect("an address")] {
        let endpoint = format!("http://{addr}");
        let home = Home::new(&[]);
        let mut server = home
            .start_with(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
                ("OTEL_BSP_SCHEDULE_DELAY", "20"),
                // A queue that is full at once, and an exporter that waits for longer than the test.
                ("OTEL_BSP_MAX_QUEUE_SIZE", "2"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000"),
            ])
            .await;
        for width in 16..20 {
            let job = json!({ "directHost": true, "formats": { "jpg": { "sizes": [[width]] } } });
            let accepted = upload(&server, job, &[]).await;
            assert_eq!(server.ended(&accepted).await["state"], "completed");
        }
        server.terminate();
        assert!(server.exited().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_told_of_once_and_once_more_when_it_takes_again() {
    let collector = Collector::start().await;
    collector.answer(400);
    let home = Home::new(&[]);
    let server = collector.server(&home, &[]).await;
    let lines = |words: &str| home.log().lines().filter(|line| line.contains(words)).count();
    while collector.requests() < 3 {
        server.get("/version").await;
        poll_delay().await;
    }
    // The log is written by another thread.
    while lines("spans can't be exported") == 0 {
        poll_delay().await;
    }
    collector.answer(200);
    while lines("spans are exported again") == 0 {
        server.get("/version").await;
        poll_delay().await;
    }
    assert_eq!((lines("spans can't be exported"), lines("opentelemetry")), (1, 0), "{}", home.log());
}

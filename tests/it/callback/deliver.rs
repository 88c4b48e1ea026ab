//! What is said, and what becomes of a try.

use std::time::Duration;

use pixerve::job::{ErrorCode, JobError, SealedText, State};
use pixerve::queue::DeliveryOutcome;
use serde_json::{Value, json};

use super::harness::{
    Canary, Received, Receiver, RunningOutbox, completed, loopback_settings, reply, soon, with_headers,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

fn header<'a>(request: &'a Received, name: &str) -> &'a str {
    request.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text")
}

#[tokio::test]
async fn a_completed_job_is_told_once_with_its_headers_and_body() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let job = with_headers(completed(&receiver.url("/hook?x=1")), "authorization: Bearer token|x-tenant: 7");
    let id = running.queue.owe(job.clone());

    let request = receiver.request().await;
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook?x=1"));
    assert_eq!(header(&request, "webhook-id"), id.to_string());
    assert_eq!(header(&request, "content-type"), "application/json");
    assert_eq!(header(&request, "user-agent"), concat!("Pixerve/", env!("CARGO_PKG_VERSION")));
    assert_eq!(header(&request, "authorization"), "Bearer token");
    assert_eq!(header(&request, "x-tenant"), "7");
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    let expected = json!({
        "hash": job.record.hash.as_str(),
        "job_id": id.to_string(),
        "status": "completed",
        "file_count": 1,
        "type": "job.completed",
        "timestamp": 1_700_000_002,
        "ended_at": "2023-11-14T22:13:22.500Z",
        "files": [{
            "name": job.files[0].name,
            "format": "png",
            "width": 3,
            "height": 2,
            "bytes": 12,
            "kind": "original",
            "sha256": job.files[0].sha256.to_string(),
            "stored": [{"backend": "directHost", "location": format!("/files/{}", job.files[0].name)}],
        }],
        "job_data": {"directHost": true, "keepOriginal": true},
    });
    assert_eq!(body, expected);

    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));
    running.advance(10 * DAY);
    running.shut_down();
    running.stopped().await;
    assert_eq!(receiver.pending().await, 0, "delivered once");
}

#[tokio::test]
async fn a_failed_job_says_why_and_what_is_stored_all_the_same() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let mut job = completed(&receiver.url("/"));
    job.state = State::Failed;
    job.error = Some(JobError::new(ErrorCode::StoreRefused, "writing to s3: access denied"));
    running.queue.owe(job);

    let body: Value = serde_json::from_slice(&receiver.request().await.body).expect("JSON");
    assert_eq!(body["status"], "failed");
    assert_eq!(body["error"], "writing to s3: access denied");
    assert_eq!(body["files"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_earlier_attempts_error_is_not_told_of_a_completed_job() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let mut job = completed(&receiver.url("/"));
    job.error = Some(JobError::new(ErrorCode::StoreUnreachable, "timed out"));
    running.queue.owe(job);

    let body: Value = serde_json::from_slice(&receiver.request().await.body).expect("JSON");
    assert_eq!(body.get("error"), None);
}

#[tokio::test]
async fn a_cancelled_job_makes_no_callback() {
    let canary = Canary::listen();
    let running = RunningOutbox::start(&loopback_settings());
    let mut job = completed(&format!("http://127.0.0.1:{}/", canary.port()));
    job.state = State::Cancelled;
    let id = running.queue.owe(job);
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::GivenUp));
    canary.assert_untouched();
}

#[tokio::test]
async fn a_callback_that_failed_is_retried_with_the_same_body() {
    let receiver = Receiver::start(vec![reply(500, &[]), reply(404, &[])]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let id = running.queue.owe(completed(&receiver.url("/")));

    let first = receiver.request().await;
    let wait = running.queue.retry().await;
    assert!(wait >= 5 * SECOND && wait <= 6 * SECOND, "5 s and little more: {wait:?}");
    running.advance(wait);
    let second = receiver.request().await;
    let wait = running.queue.retry().await;
    assert!(wait >= 15 * SECOND && wait <= 17 * SECOND, "15 s and little more: {wait:?}");
    running.advance(wait);
    let third = receiver.request().await;
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));

    for request in [&first, &second, &third] {
        assert_eq!(header(request, "webhook-id"), id.to_string());
        assert_eq!(request.body, first.body);
    }
}

#[tokio::test]
async fn a_sealed_url_is_called_and_not_its_origin() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let mut job = completed(&receiver.url("/"));
    let target = job.record.callback.as_mut().expect("it has a callback");
    target.sealed_url = Some(SealedText(receiver.url("/hook?secret=1")));
    running.queue.owe(job);
    assert_eq!(receiver.request().await.target, "/hook?secret=1");
}

#[tokio::test]
async fn what_can_not_be_unsealed_waits_and_is_never_given_up() {
    let canary = Canary::listen();
    let running = RunningOutbox::start(&loopback_settings());
    let url = format!("http://127.0.0.1:{}/", canary.port());
    let mut lost_url = completed(&url);
    let target = lost_url.record.callback.as_mut().expect("it has a callback");
    target.sealed_url = Some(SealedText("sealed with a key that is lost".to_owned()));
    for job in [lost_url, with_headers(completed(&url), "sealed with a key that is lost")] {
        let id = running.queue.owe(job);
        assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Held));
    }
    assert_eq!(running.queue.owed(), 2);
    canary.assert_untouched();
}

#[tokio::test]
async fn nothing_is_tried_before_its_time() {
    let receiver = Receiver::start(vec![reply(500, &[])]).await;
    let running = RunningOutbox::start(&loopback_settings());
    running.queue.owe(completed(&receiver.url("/")));
    receiver.request().await;
    let wait = running.queue.retry().await;
    running.advance(wait.saturating_sub(SECOND));
    // A second callback that is delivered proves that the outbox looked.
    running.queue.owe(completed(&receiver.url("/other")));
    assert_eq!(receiver.request().await.target, "/other");
    assert_eq!(receiver.pending().await, 0);
}

#[tokio::test]
async fn the_twelfth_try_is_the_last_and_comes_after_about_three_days() {
    let receiver = Receiver::start((0..12).map(|_| reply(500, &[])).collect()).await;
    let running = RunningOutbox::start(&loopback_settings());
    let id = running.queue.owe(completed(&receiver.url("/")));
    let mut waited = Duration::ZERO;
    for _ in 0..11 {
        receiver.request().await;
        let wait = running.queue.retry().await;
        running.advance(wait);
        waited += wait;
    }
    receiver.request().await;
    assert!(waited >= 3 * DAY && waited <= 4 * DAY, "{waited:?}");
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::GivenUp));
}

#[tokio::test]
async fn a_410_ends_the_retries() {
    let receiver = Receiver::start(vec![reply(410, &[])]).await;
    let running = RunningOutbox::start(&loopback_settings());
    let id = running.queue.owe(completed(&receiver.url("/")));
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::GivenUp));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    for (status, value, expected) in
        [(429, "3600", 3600 * SECOND), (503, "Sun, 06 Nov 1994 09:49:37 GMT", 3600 * SECOND), (429, "99999999", DAY)]
    {
        let receiver = Receiver::start(vec![reply(status, &[("retry-after", value)])]).await;
        let running = RunningOutbox::start(&loopback_settings());
        running.queue.owe(completed(&receiver.url("/")));
        assert_eq!(running.queue.retry().await, expected, "{status} {value}");
    }
    // Of other statuses, and asking for less than the schedule, it changes nothing.
    for (status, value) in [(500, "3600"), (429, "0"), (503, "soon")] {
        let receiver = Receiver::start(vec![reply(status, &[("retry-after", value)])]).await;
        let running = RunningOutbox::start(&loopback_settings());
        running.queue.owe(completed(&receiver.url("/")));
        let wait = running.queue.retry().await;
        assert!(wait >= 5 * SECOND && wait <= 6 * SECOND, "{status} {value}: {wait:?}");
    }
}

#[tokio::test]
async fn a_callback_to_a_receiver_that_is_down_is_retried() {
    let port = Canary::listen().port();
    let running = RunningOutbox::start(&loopback_settings());
    let id = running.queue.owe(completed(&format!("http://127.0.0.1:{port}/")));
    let wait = running.queue.retry().await;
    let receiver = Receiver::start_on(([127, 0, 0, 1], port).into(), vec![]).await;
    running.advance(wait);
    assert_eq!(header(&receiver.request().await, "webhook-id"), id.to_string());
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));
}

#[tokio::test]
async fn a_settlement_that_fails_is_made_up_for_without_another_call() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    *running.queue.settle_failures.lock().expect("no poison") = 1;
    let id = running.queue.owe(completed(&receiver.url("/")));
    receiver.request().await;
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));
    assert_eq!(receiver.pending().await, 0);
}

#[tokio::test]
async fn a_host_that_hangs_does_not_delay_the_others() {
    // Accepted by the kernel, answered by nobody.
    let hanging = Canary::listen();
    let receiver = Receiver::start_on(([127, 0, 0, 2], 0).into(), vec![]).await;
    let mut settings = loopback_settings();
    settings.timeout = 600 * SECOND;
    let running = RunningOutbox::start(&settings);
    for _ in 0..200 {
        running.queue.owe(completed(&format!("http://127.0.0.1:{}/", hanging.port())));
    }
    let id = running.queue.owe(completed(&receiver.url("/")));
    assert_eq!(running.queue.settlement().await, (id, DeliveryOutcome::Delivered));
}

#[tokio::test]
async fn every_callback_of_a_burst_is_delivered_once() {
    let receiver = Receiver::start(vec![]).await;
    let running = RunningOutbox::start(&loopback_settings());
    for _ in 0..300 {
        running.queue.owe(completed(&receiver.url("/")));
    }
    let mut told = std::collections::HashSet::new();
    for _ in 0..300 {
        assert!(told.insert(header(&receiver.request().await, "webhook-id").to_owned()));
        assert_eq!(running.queue.settlement().await.1, DeliveryOutcome::Delivered);
    }
    assert_eq!(running.queue.owed(), 0);
}

#[tokio::test]
async fn a_try_in_flight_ends_before_shutdown_does_and_none_begins() {
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", slow.local_addr().expect("its address"));
    let mut settings = loopback_settings();
    settings.concurrency = 1;
    settings.timeout = 60 * SECOND;
    let running = RunningOutbox::start(&settings);
    let first = running.queue.owe(completed(&url));
    let (stream, _) = soon("a connection", slow.accept()).await.expect("accepting");
    running.queue.owe(completed(&url));
    running.shut_down();
    super::hostile::answer(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;

    let queue = running.queue.clone();
    running.stopped().await;
    assert_eq!(queue.settlement().await, (first, DeliveryOutcome::Delivered));
    assert_eq!(queue.owed(), 1, "the second stays owed");
}

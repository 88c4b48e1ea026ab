//! The trace of an upload: whom it is told to. What a collector sees of it is in `exported`.

#[cfg(feature = "otel")]
mod exported;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::app::{TestApp, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::process::{Home, reserve_port};
use crate::harness::receiver::Receiver;
use crate::harness::stores::{s3, s3_at};
use crate::harness::token::Claims;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Uploads what must be accepted, with these headers.
async fn upload(api: &Api, job: Value, headers: &[(&str, &str)]) -> Value {
    let form = Form::new().part("file", Part::bytes(jpeg(40, 30, 1)).file_name("a.jpg"));
    let mut request = api.request(Method::POST, "/upload").bearer_auth(Claims::of("me").job(job).sign());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.multipart(form).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

/// A job with one file, for this store.
fn job(access_key: &str, receiver: &Receiver) -> Value {
    json!({
        "storageKeys": { "s3": access_key }, "completionCallback": receiver.url,
        "formats": { "jpg": { "sizes": [[16]] } }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_an_upload_is_told_to_the_store_and_the_receiver() {
    let (app, store, receiver) = (TestApp::start().await, s3().await, Receiver::start().await);
    store.create_bucket("pics");
    let key = app.register(store.registration("pics")).await;
    assert_eq!(store.asked_with("traceparent"), Vec::<String>::new(), "a registration belongs to no upload");
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "shop=17")];
    let status = app.ended(&upload(&app, job(&key, &receiver), &headers).await).await;
    assert_eq!(status["state"], "completed", "{status}");
    for (header, value) in headers {
        assert_eq!(store.asked_with(header), [value]);
    }
    let call = receiver.call().await;
    for (header, value) in headers {
        assert_eq!(call.headers[header], value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_well_formed_traceparent_has_no_trace() {
    let (app, store, receiver) = (TestApp::start().await, s3().await, Receiver::start().await);
    store.create_bucket("pics");
    let key = app.register(store.registration("pics")).await;
    let upper = TRACEPARENT.to_uppercase();
    for headers in
        [vec![], vec![("traceparent", &*upper)], vec![("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)]]
    {
        let status = app.ended(&upload(&app, job(&key, &receiver), &headers).await).await;
        assert_eq!(status["state"], "completed", "{status}");
        assert!(!receiver.call().await.headers.contains_key("traceparent"), "{headers:?}");
    }
    assert_eq!(store.asked_with("traceparent"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_tells_its_receiver_a_trace_of_its_own_is_obeyed() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let job = json!({
        "directHost": true, "completionCallback": receiver.url, "callbackHeaders": { "traceparent": own },
        "formats": { "jpg": { "sizes": [[16]] } }
    });
    upload(&app, job, &[("traceparent", TRACEPARENT), ("tracestate", "shop=17")]).await;
    let call = receiver.call().await;
    assert_eq!(call.headers["traceparent"], own);
    assert!(!call.headers.contains_key("tracestate"), "it would be one of another trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_a_job_say_which_trace_it_belongs_to() {
    let home = Home::new(&[("PIXERVE_LOG_FORMAT", "json")]);
    let (server, receiver) = (home.start().await, Receiver::start().await);
    let job = json!({
        "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[16]] } }
    });
    upload(&server, job, &[("traceparent", TRACEPARENT)]).await;
    receiver.call().await;
    for message in ["upload accepted", "request answered", "attempt started", "job completed", "callback delivered"] {
        let is_it = |line: &Value| {
            line["message"] == message
                && line["spans"].as_array().is_some_and(|s| s.iter().any(|s| s["trace_id"] == TRACE))
        };
        while !home.log().lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line: Value| is_it(&line)) {
            poll_delay().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_server_dies_stays_in_its_trace() {
    let home = Home::new(&[]);
    let (server, receiver, addr) = (home.start().await, Receiver::start().await, reserve_port());
    let absent = s3_at(addr, &[]).await;
    let registration = absent.registration("waits");
    absent.stop().await;
    let key = server.register(registration).await;
    let accepted = upload(&server, job(&key, &receiver), &[("traceparent", TRACEPARENT)]).await;
    server.wait_for(&accepted, "to wait for its store", |status| status["waiting_for"].is_array()).await;
    server.kill();

    let server = home.start().await;
    let store = s3_at(addr, &["waits"]).await;
    let status = server.ended(&accepted).await;
    assert_eq!(status["state"], "completed", "{status}");
    assert!(store.asked_with("traceparent").iter().all(|told| told == TRACEPARENT));
    assert!(!store.asked_with("traceparent").is_empty());
    assert_eq!(receiver.call().await.headers["traceparent"], TRACEPARENT);
}

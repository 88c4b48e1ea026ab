//! Callback addresses that lead inside.
//!
//! Proved nearer to the code: `callback/address.rs` checks 108 spellings and embeddings of refused addresses and 27 of
//! public ones; `callback/hostile.rs` posts to every one of the 108, as a literal and as what a name resolves to (alone,
//! and beside an allowed one), with a listener on all addresses of this machine that nobody may reach, and has rebinding
//! between tries, redirects of every kind, and line breaks in headers and URLs; `callback/tls.rs` has certificates.
//! Here a whole server: what it refuses at the door, and an environment full of proxies.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::figure;
use crate::harness::app::{TestApp, small_job};
use crate::harness::fault_proxy::FaultProxy;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::receiver::Receiver;
use crate::harness::stores::s3;
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_would_break_out_or_stand_in_for_ours_are_refused_at_upload() {
    let app = TestApp::start().await;
    let hostile = [
        ("X-Note", "a\r\nX-Injected: 1"),
        ("X-Note", "a\nX-Injected: 1"),
        ("X-Note", "a\rb"),
        ("X-Note", "a\0b"),
        ("X-Note\r\nX-Injected", "1"),
        ("X Note", "1"),
        ("", "1"),
        ("X-Note:", "1"),
        ("Host", "169.254.169.254"),
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("webhook-id", "forged"),
        ("Webhook-Signature", "forged"),
    ];
    for (name, value) in hostile {
        let mut job = small_job();
        job["completionCallback"] = json!("https://hook.example/");
        job["callbackHeaders"] = json!({ name: value });
        let answer = app.upload(&Claims::of("me").job(job).sign(), "a.jpg", jpeg(20, 20, 1)).await;
        let status = answer.status();
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{name:?}: {value:?}: {problem}");
        let pointer = problem["errors"][0]["pointer"].as_str().expect("a pointer");
        assert!(pointer.contains("callbackHeaders"), "{problem}");
    }
    figure("ssrf", format!("{} hostile callback headers: all refused with 422", hostile.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_see_neither_callbacks_nor_stores() {
    let receiver = Receiver::start().await;
    let s3 = s3().await;
    s3.create_bucket("no-proxy");
    // One that would work, so that nothing but looking at it shows that it was used.
    let proxy = FaultProxy::start(s3.endpoint.socket_addrs(|| None).expect("an address")[0]).await;
    let url = proxy.endpoint();
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let home = Home::new(&names.map(|name| (name, url.as_str())));
    let server = home.start().await;
    let key = server.register(s3.registration("no-proxy")).await;
    let mut job = small_job();
    job["storageKeys"] = json!({ "s3": key });
    job["completionCallback"] = json!(receiver.url);
    let status = server.done("me", job, "a.jpg", jpeg(20, 20, 1)).await;
    assert_eq!(status["state"], "completed", "{status}");
    receiver.call().await;
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    figure("ssrf", "six proxy variables: neither the callback nor S3 went through any");
}

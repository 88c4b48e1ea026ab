//! Whoever is called back. However it behaves, the job has ended, and stays as it ended.

use futures_util::future::join_all;
use pixerve::job::ContentHash;
use serde_json::{Value, json};

use super::assert_ended_once;
use crate::battery::figure;
use crate::harness::app::{TestApp, small_job};
use crate::harness::fault_proxy::{Fault, FaultProxy};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_misbehaves_changes_nothing_and_is_called_until_it_takes_it() {
    let app =
        TestApp::start_with(&[("PIXERVE_CALLBACK_TIMEOUT", "2s"), ("PIXERVE_CALLBACK_CONNECT_TIMEOUT", "1s")]).await;
    let faults = [
        Fault::Drop,
        Fault::Reset,
        Fault::StallRequest,
        Fault::StallReplyAfter(5),
        Fault::LoseReply,
        Fault::Answer(http::StatusCode::FOUND, vec![("location", "http://127.0.0.1:9/".to_owned())], String::new()),
        Fault::Answer(http::StatusCode::TOO_MANY_REQUESTS, vec![("retry-after", "1".to_owned())], String::new()),
    ];
    join_all((1..).zip(faults).map(|(seed, fault)| called_at_last(&app, seed, fault))).await;
}

async fn called_at_last(app: &TestApp, seed: u32, fault: Fault) {
    let receiver = Receiver::start().await;
    let upstream = receiver.url.trim_start_matches("http://").trim_end_matches("/hook").parse().expect("an address");
    let proxy = FaultProxy::start(upstream).await;
    let first = fault.clone();
    proxy.script(move |asked| if asked.number == 0 { first.clone() } else { Fault::Pass });
    let mut job = small_job();
    job["completionCallback"] = json!(format!("{}/hook", proxy.endpoint()));
    let status = app.done("me", job, "a.jpg", jpeg(40, 30, seed)).await;
    assert_ended_once(app, &status, "completed").await;
    loop {
        let call = receiver.call().await;
        assert_eq!(call.headers["webhook-id"], status["job_id"].as_str().expect("an id"), "always the same id");
        assert_eq!(call.body["files"], status["files"]);
        if proxy.asked().len() >= 2 {
            break;
        }
        // It came through and its answer was lost: there is another.
    }
    let url = json!({ "status_url": format!("/status?job_id={}", status["job_id"].as_str().expect("an id")) });
    let but_for_its_callback = |mut status: Value| {
        status["callback"].take();
        status
    };
    let now = but_for_its_callback(app.ended(&url).await);
    assert_eq!(now, but_for_its_callback(status.clone()), "the record stays as it was");
    for file in status["files"].as_array().expect("files") {
        let bytes = app.file(file["stored"][0]["location"].as_str().expect("a location")).await;
        assert_eq!(file["sha256"], ContentHash::of(&bytes).to_string());
    }
    figure("dependencies", format!("callback, {fault:?}: called again under the same id, the job untouched"));
}

//! Stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{FaultyStoreFixture, assert_ended_once, register};
use crate::battery::figure;
use crate::harness::app::poll_delay;
use crate::harness::fault_proxy::{BlackHole, Fault};
use crate::harness::picture::jpeg;
use crate::harness::stores::gcs;
use crate::harness::token::Claims;

/// Uploads `jobs` pictures at once: all are completed, with every file whole.
async fn assert_all_complete(fixture: &FaultyStoreFixture, jobs: u32) {
    let mut accepted = Vec::new();
    for seed in 0..jobs {
        accepted.push(fixture.app.accepted("me", fixture.job(), "a.jpg", jpeg(60, 40, seed)).await);
    }
    for answer in &accepted {
        let status = fixture.app.ended(answer).await;
        assert_eq!(status["files"].as_array().map(Vec::len), Some(5), "{status}");
        fixture.assert_ended_once_and_whole(&status, "completed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_a_third_of_the_time_gets_everything() {
    let fixture = FaultyStoreFixture::start(&[]).await;
    fixture.proxy.script(|asked| match asked.number % 6 {
        1 => Fault::s3_error(500, "InternalError"),
        4 => Fault::s3_error(503, "SlowDown"),
        _ => Fault::Pass,
    });
    assert_all_complete(&fixture, 20).await;
    let asked = fixture.proxy.asked().len();
    assert!(asked >= 140, "{asked}");
    figure("dependencies", format!("S3 failing a third of {asked} requests: 20 of 20 jobs completed, 100 files whole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_connections_break_everywhere_gets_everything() {
    let fixture = FaultyStoreFixture::start(&[]).await;
    fixture.proxy.script(|asked| match asked.number % 16 {
        1 => Fault::Drop,
        3 => Fault::Reset,
        5 => Fault::ResetRequestAfter(50),
        7 => Fault::ResetReplyAfter(10),
        9 => Fault::LoseReply,
        11 => Fault::Slow(500),
        _ => Fault::Pass,
    });
    assert_all_complete(&fixture, 10).await;
    figure(
        "dependencies",
        "drops, resets each way, lost replies, a slow line, a third of the time: 10 of 10 completed",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_store_fails_the_job_once_it_is_no_longer_asked_again() {
    let fixture = FaultyStoreFixture::start(&[("PIXERVE_STORES_REFUSED_GIVE_UP_AFTER", "0s")]).await;
    fixture.proxy.script(|_| Fault::s3_error(403, "AccessDenied"));
    let status = fixture.app.done("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
    assert_eq!(status["attempt"], 1, "a refusal is final: {status}");
    assert!(status["error"].as_str().is_some_and(|error| error.contains("AccessDenied")), "{status}");
    let asked = fixture.proxy.asked();
    assert!(asked.len() <= 5, "no file is tried twice: {asked:?}");
    fixture.assert_ended_once_and_whole(&status, "failed").await;
    figure("dependencies", format!("403: failed in one attempt after {} requests", asked.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_that_nobody_answers_times_out_and_is_retried() {
    let mut fixture = FaultyStoreFixture::start(&[("PIXERVE_STORES_GIVE_UP_AFTER", "8s")]).await;
    let hole = BlackHole::start().await;
    fixture.key = register(&fixture.app, &fixture.s3, &format!("http://{}", hole.addr)).await;
    let began = Instant::now();
    let status = fixture.app.done("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
    assert_eq!(status["attempt"], 1, "waiting for a store is no attempt: {status}");
    fixture.assert_ended_once_and_whole(&status, "failed").await;
    figure("dependencies", format!("black-holed connect: failed after {:?} of 8 s", began.elapsed()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_to_a_store_that_stalls_times_out_and_is_retried() {
    let stalls = [Fault::StallRequest, Fault::StallReplyAfter(0), Fault::StallReplyAfter(20)];
    join_all(stalls.map(|stall| async move {
        let fixture = FaultyStoreFixture::start(&[]).await;
        let fault = stall.clone();
        fixture.proxy.script(move |asked| if asked.number < 2 { fault.clone() } else { Fault::Pass });
        let status = fixture.app.done("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
        fixture.assert_ended_once_and_whole(&status, "completed").await;
        figure("dependencies", format!("{stall:?} for the first two requests: completed"));
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_with_the_wrong_checksum_is_retried() {
    let fixture = FaultyStoreFixture::start(&[]).await;
    fixture.proxy.script(|asked| match asked.number {
        0 | 2 => {
            let etag = format!("\"{}\"", "0".repeat(32));
            Fault::Answer(http::StatusCode::OK, vec![("etag", etag)], String::new())
        }
        _ => Fault::Pass,
    });
    let status = fixture.app.done("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
    fixture.assert_ended_once_and_whole(&status, "completed").await;
    assert_eq!(fixture.proxy.asked().len(), 7, "five, and the two of another checksum again");
    figure("dependencies", "a 200 with another MD5, twice: both files were sent again, and completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_done_again_harmlessly() {
    let fixture = FaultyStoreFixture::start(&[]).await;
    fixture.proxy.script(|asked| if asked.number < 5 { Fault::LoseReply } else { Fault::Pass });
    let status = fixture.app.done("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
    fixture.assert_ended_once_and_whole(&status, "completed").await;
    assert_eq!(fixture.s3.keys(super::BUCKET).await.len(), 5, "nothing twice, nothing besides");
    figure("dependencies", "the PUT done and its reply lost, 5 times: written again to the same 5 keys, completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_only_what_is_missing_is_written_again() {
    let fixture = FaultyStoreFixture::start(&[]).await;
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    fixture.proxy.script(move |_| {
        // Three get through, two don't: the outage. Then it is over.
        let before = count.fetch_add(1, Ordering::SeqCst);
        if (3..5).contains(&before) { Fault::s3_error(503, "ServiceUnavailable") } else { Fault::Pass }
    });
    let status = fixture.app.done("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
    fixture.assert_ended_once_and_whole(&status, "completed").await;
    assert_eq!(status["attempt"], 1, "{status}");
    let mut times = BTreeMap::new();
    for asked in fixture.proxy.asked() {
        *times.entry(asked.target).or_insert(0) += 1;
    }
    let total: i32 = times.values().sum();
    assert_eq!((times.len(), total), (5, 7), "only what was lost is written again: {times:?}");
    figure("dependencies", "an outage after 3 of 5 variants: only the 2 missing ones were written again");
}

#[tokio::test(flavor = "multi_thread")]
async fn gcs_behind_a_proxy_that_breaks_gets_everything_too() {
    let fixture = FaultyStoreFixture::start(&[]).await;
    let gcs = gcs().await;
    gcs.create_bucket("faulty-gcs").await;
    let proxy =
        crate::harness::fault_proxy::FaultProxy::start(gcs.endpoint.socket_addrs(|| None).expect("an address")[0]);
    let proxy = proxy.await;
    proxy.script(|asked| match asked.number % 6 {
        0 => Fault::s3_error(503, "backendError"),
        2 => Fault::LoseReply,
        4 => Fault::Drop,
        _ => Fault::Pass,
    });
    let mut registration = gcs.registration("faulty-gcs");
    registration["endpoint"] = proxy.endpoint().into();
    let mut job = fixture.job();
    job["storageKeys"] = json!({ "gcs": fixture.app.register(registration).await });
    let status = fixture.app.done("me", job, "a.jpg", jpeg(60, 40, 1)).await;
    assert_ended_once(&fixture.app, &status, "completed").await;
    for file in status["files"].as_array().expect("files") {
        let name = file["name"].as_str().expect("a name");
        let object = gcs.object("faulty-gcs", name).await.expect("it is there");
        assert_eq!(file["sha256"], pixerve::job::ContentHash::of(&object.bytes).to_string(), "{name}");
    }
    figure(
        "dependencies",
        format!("GCS: 503, lost replies, drops in half of {} requests: completed", proxy.asked().len()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_does_not_wait_for_a_store_that_stalls() {
    let settings = [("PIXERVE_STORES_IDLE_TIMEOUT", "300s")];
    let fixture = FaultyStoreFixture::start(&settings).await;
    fixture.proxy.script(|asked| if asked.number < 2 { Fault::Pass } else { Fault::StallReplyAfter(0) });
    let accepted = fixture.app.accepted("me", fixture.job(), "a.jpg", jpeg(60, 40, 1)).await;
    while fixture.proxy.asked().len() < 5 {
        poll_delay().await;
    }
    let began = Instant::now();
    let path = format!("/cancel?job_id={}", accepted["job_id"].as_str().expect("an id"));
    let cancel = fixture.app.request(Method::DELETE, &path).bearer_auth(Claims::of("me").sign());
    assert_eq!(cancel.send().await.expect("an answer").status(), 204);
    let took = began.elapsed();
    assert!(took < Duration::from_mins(1), "it took {took:?}");
    let status = fixture.app.ended(&accepted).await;
    fixture.assert_ended_once_and_whole(&status, "cancelled").await;
    figure("dependencies", format!("cancelled after {took:?} while three writes stalled that may take 5 min"));
}

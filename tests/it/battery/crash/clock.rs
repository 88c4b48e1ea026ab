//! The wall clock is wrong, or jumps, under a running server and between two lives of it. That leases and waits run on
//! a clock of their own is proved with a clock in the test's hands in `queue/lease.rs` and `queue/durable.rs`.

use reqwest::Method;
use serde_json::json;

use super::promise::Witness;
use crate::battery::figure;
use crate::harness::app::{poll_delay, small_job};
use crate::harness::faketime::WallClock;
use crate::harness::picture::jpeg;
use crate::harness::process::Home;
use crate::harness::token::{Claims, now};

fn token(offset_s: i64) -> String {
    let iat = now().checked_add_signed(offset_s).expect("a time");
    Claims::of("me").with("iat", json!(iat)).with("exp", json!(iat + 600)).job(small_job()).sign()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_back_or_a_day_ahead_loses_no_job_and_takes_the_tokens_of_its_time() {
    const HOUR: i64 = 3600;
    let mut witness = Witness::new(&[("PIXERVE_MAX_WORKERS", "2")]).await;
    let Some(clock) = WallClock::below(witness.home.root()) else { return };
    let mut jumps = 0;
    let mut server = witness.home.start_with(&clock.settings()).await;
    for (offset, offset_s) in [("-1h", -HOUR), ("+1d", 24 * HOUR), ("-1h", -HOUR), ("+0", 0)] {
        // In the midst of work, and then for a whole life.
        for restart in [false, true] {
            if restart {
                server.kill();
                server = witness.home.start_with(&clock.settings()).await;
            } else {
                // These are held to what they were promised, whatever the clock does next.
                clock.set("+0");
                assert!(witness.upload(&server, 4).await > 0, "{:?}", witness.answers);
            }
            clock.set(offset);
            jumps += 1;
            for (signed_s, good) in [(0, offset_s == 0), (offset_s, true)] {
                let seed = u32::from(restart) + 2 * u32::from(good) + 10 * jumps;
                let answer = server.upload(&token(signed_s), "a.jpg", jpeg(20, 20, seed)).await;
                let expected = if good { 200 } else { 401 };
                assert_eq!(answer.status(), expected, "signed at {signed_s} s, while the server's clock is {offset}");
                if good {
                    let accepted = answer.json().await.expect("JSON");
                    let status = server.ended(&accepted).await;
                    assert_eq!(status["state"], "completed", "{status}");
                }
            }
        }
    }
    server.kill();
    let server = witness.home.start().await;
    let list = server.admin(Method::GET, "/success/list?limit=100", None).await;
    assert_eq!(list.status(), 200);
    figure(
        "crash",
        format!("{jumps} jumps of the clock by an hour and a day, before and after kills: every job completed once"),
    );
    witness.assert_kept(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_forty_days_ahead_at_a_start_removes_no_record() {
    let home = Home::new(&[]);
    let Some(clock) = WallClock::below(home.root()) else { return };
    let server = home.start_with(&clock.settings()).await;
    let accepted = server.accepted("me", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
    server.ended(&accepted).await;
    while !home.data_dir().join("clock.seen").exists() {
        poll_delay().await;
    }
    server.kill();
    // Twice: the wrong time is not taken for the right one by a second start.
    for start in 1..=2 {
        clock.set("+40d");
        let server = home.start_with(&clock.settings()).await;
        while home.log().matches("no record is removed").count() < start {
            poll_delay().await;
        }
        assert_eq!(server.ended(&accepted).await["state"], "completed");
        server.kill();
    }
    clock.set("+0");
    let server = home.start_with(&clock.settings()).await;
    assert_eq!(server.ended(&accepted).await["state"], "completed");
    figure("crash", "two starts with the clock 40 days ahead, of 30 that records are kept: none was removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_a_day_ahead_expires_no_job() {
    let home = Home::new(&[]);
    let Some(clock) = WallClock::below(home.root()) else { return };
    let server = home.start_with(&clock.settings()).await;
    let mut job = small_job();
    job["expiresAfter"] = json!("1h");
    let accepted = server.accepted("me", job, "a.jpg", jpeg(20, 20, 1)).await;
    server.ended(&accepted).await;
    while !home.data_dir().join("clock.seen").exists() {
        poll_delay().await;
    }
    server.kill();
    clock.set("+1d");
    let server = home.start_with(&clock.settings()).await;
    while !home.log().contains("no job expires") {
        poll_delay().await;
    }
    let status = server.get_json(accepted["status_url"].as_str().expect("a path")).await;
    assert_eq!(status["state"], "completed", "{status}");
    server.kill();
    figure("crash", "a clock a day ahead at a start: what expires after an hour is there");
}

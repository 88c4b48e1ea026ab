//! Jobs whose time is over.

use std::time::Duration;

use pixerve::clock::Timestamp;
use pixerve::ledger::LedgerEntry;
use reqwest::Method;
use serde_json::{Value, json};

use super::home::{ErasureHome, PICTURES, assert_unknown, erased, manager, stored_job, text};
use super::told::{damaged, told_job};
use crate::harness::app::{TestApp, WAIT_MAX, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

every_home! {
    a_job_expires_so_long_after_its_end_and_says_when,
    an_expired_job_is_erased_and_its_receiver_told_why,
    a_job_that_failed_and_stored_nothing_expires_too,
    a_job_expires_whose_record_is_gone,
    what_is_uploaded_again_lives_as_long_as_it_says_itself,
}

/// This job, which is kept for so long.
fn kept_for(time: &str, mut job: Value) -> Value {
    job["expiresAfter"] = json!(time);
    job
}

async fn entry(app: &TestApp, job: &Value) -> Option<LedgerEntry> {
    let id = text(&job["job_id"]).parse().expect("an id");
    app.app().state().ledger.entry(&id).await.expect("read")
}

/// Has the time of a job be over.
async fn let_time_be_over(app: &TestApp, job: &Value) {
    let entry = entry(app, job).await.expect("it is known to expire");
    assert!(entry.expires_at.is_some_and(|at| at > app.app().state().clock.now()), "{entry:?}");
    let expires_at = Some(app.app().state().clock.now().before(Duration::from_secs(1)));
    app.app().state().ledger.record(&LedgerEntry { expires_at, ..entry }).await.expect("written");
}

/// Waits until a job is erased.
async fn until_erased(app: &TestApp, job: &Value) {
    let started = tokio::time::Instant::now();
    let id = text(&job["job_id"]).parse().expect("an id");
    while app.app().state().ledger.erased_at(&id).await.expect("read").is_none() {
        assert!(started.elapsed() < WAIT_MAX, "it is not erased");
        poll_delay().await;
    }
}

async fn a_job_expires_so_long_after_its_end_and_says_when(home: ErasureHome) {
    let app = home.start(&[("PIXERVE_STORAGE_EXPIRES_AFTER", "90days")]).await;
    for (job, hours) in [(kept_for("2h", small_job()), 2), (small_job(), 90 * 24)] {
        let job = app.done("me", job, "a.jpg", jpeg(96, 96, hours)).await;
        let [shown, ended] =
            ["expires_at", "finished_at"].map(|of| Timestamp::parse_rfc3339(text(&job[of])).expect("a time"));
        assert_eq!(shown.since(ended), Duration::from_secs(u64::from(hours) * 3600), "{job}");
        let record = app.get_json(&format!("/success?job_id={}", text(&job["job_id"]))).await;
        assert_eq!(record["expires_at"], job["expires_at"], "{record}");
        let due = entry(&app, &job).await.and_then(|entry| entry.expires_at).expect("it expires");
        // It is written down a moment before the job ends.
        assert!((shown.before(Duration::from_mins(1))..=shown).contains(&due), "{due}, {job}");
    }
    for (bad, because) in [("59min", "too short"), ("3651days", "too long"), ("soon", "no time"), ("never", "no time")]
    {
        let token = Claims::of("me").job(kept_for(bad, small_job())).sign();
        let problem = assert_problem(app.upload(&token, "a.jpg", jpeg(96, 96, 1)).await, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/job/expiresAfter", "{because}: {problem}");
    }
}

async fn an_expired_job_is_erased_and_its_receiver_told_why(home: ErasureHome) {
    let (mut app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let job = told_job(&receiver, kept_for("1h", stored_job(&access_key)));
    let expired = app.done("me", job.clone(), "a.jpg", jpeg(96, 96, 1)).await;
    let kept = app.done("me", job, "b.jpg", jpeg(96, 96, 2)).await;
    let_time_be_over(&app, &expired).await;
    app.restart().await;

    until_erased(&app, &expired).await;

    let call = receiver.call().await;
    assert_eq!((text(&call.body["type"]), text(&call.body["reason"])), ("job.erased", "expired"));
    assert_eq!((&call.body["job_id"], call.body["files"].as_array().map(Vec::len)), (&expired["job_id"], Some(2)));
    assert_unknown(&app, &expired).await;
    assert_eq!((home.served(&app).len(), home.store.keys(PICTURES).await.len()), (2, 2), "what is kept");
    assert_eq!(app.get_json(&format!("/status?job_id={}", text(&kept["job_id"]))).await["state"], "completed");
    let metrics = app.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
    assert!(metrics.contains(r#"pixerve_jobs_erased_total{reason="expired"} 1"#), "{metrics}");
    let due = app.app().state().ledger.due(app.app().state().clock.now(), 10).await.expect("read");
    assert_eq!(due, []);
}

async fn a_job_that_failed_and_stored_nothing_expires_too(home: ErasureHome) {
    let mut app = home.start(&[]).await;
    let failed = app.done("me", kept_for("1h", small_job()), "a.jpg", damaged()).await;
    assert_eq!(failed["state"], "failed", "{failed}");
    let_time_be_over(&app, &failed).await;
    app.restart().await;

    until_erased(&app, &failed).await;

    assert_unknown(&app, &failed).await;
}

async fn a_job_expires_whose_record_is_gone(home: ErasureHome) {
    let mut app = home.start(&[]).await;
    let job = app.done("me", kept_for("1h", small_job()), "a.jpg", jpeg(96, 96, 1)).await;
    let_time_be_over(&app, &job).await;
    home.lose_records(&mut app).await;

    until_erased(&app, &job).await;

    assert_eq!(home.served(&app), [""; 0]);
}

async fn what_is_uploaded_again_lives_as_long_as_it_says_itself(home: ErasureHome) {
    let mut app = home.start(&[]).await;
    let first = app.done("me", kept_for("1h", small_job()), "a.jpg", jpeg(96, 96, 1)).await;
    let second = app.done("me", small_job(), "a.jpg", jpeg(96, 96, 1)).await;
    assert!(second.get("expires_at").is_none(), "{second}");
    let_time_be_over(&app, &first).await;
    app.restart().await;

    until_erased(&app, &first).await;

    // The same places: the second job's now.
    assert_eq!(home.served(&app).len(), 1);
    assert_eq!(app.get(text(&second["files"][0]["stored"][0]["location"])).await.status(), 200);
    erased(&app, &manager("me"), "sub=me").await;
    assert_eq!(home.served(&app), [""; 0]);
}

//! Who is told that a job is erased, of what, and what is kept meanwhile.

use std::sync::Arc;
use std::time::Duration;

use pixerve::ledger::ErasedEvent;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::home::{ErasureHome, PICTURES, assert_unknown, erased, manager, stored_job, text, until};
use crate::harness::app::{TestApp, WAIT_MAX, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::receiver::{Call, Receiver};

every_home! {
    who_asked_is_told_of_every_place_that_is_gone,
    who_did_not_ask_is_not_told,
    of_a_live_job_its_erasure_is_told_and_not_its_cancellation,
    what_another_job_keeps_is_not_told_as_gone,
    what_waits_for_its_receiver_can_be_read_by_nobody_and_is_told_under_one_id,
    a_receiver_that_is_gone_is_asked_no_more,
    it_is_told_of_a_job_whose_record_is_gone,
    it_is_told_of_a_job_that_stored_nothing,
    what_is_owed_is_counted_as_a_callback_that_is_pending_until_it_is_taken,
}

/// This job, of whose erasure alone the receiver is told.
pub(super) fn told_job(receiver: &Receiver, mut job: Value) -> Value {
    job["completionCallback"] = json!(receiver.url);
    job["callbackEvents"] = json!(["job.erased"]);
    job
}

/// The locations that a call tells of, in order.
fn locations(call: &Call) -> Vec<&str> {
    let files = call.body["files"].as_array().expect("files").iter();
    let mut all: Vec<_> = files
        .flat_map(|file| file["stored"].as_array().expect("places"))
        .map(|place| text(&place["location"]))
        .collect();
    all.sort_unstable();
    all
}

fn locations_of(job: &Value) -> Vec<&str> {
    let files = job["files"].as_array().expect("files").iter();
    let mut all: Vec<_> = files
        .flat_map(|file| file["stored"].as_array().expect("places"))
        .map(|place| text(&place["location"]))
        .collect();
    all.sort_unstable();
    all
}

pub(super) async fn owed_events(app: &TestApp) -> usize {
    app.app().state().ledger.events(None, 1000).await.expect("read").len()
}

/// Waits until no event is owed.
pub(super) async fn until_none_is_owed(app: &TestApp) {
    let started = Instant::now();
    while owed_events(app).await > 0 {
        assert!(started.elapsed() < WAIT_MAX, "an event is owed still");
        poll_delay().await;
    }
}

async fn who_asked_is_told_of_every_place_that_is_gone(home: ErasureHome) {
    let app = home.start(&[("PIXERVE_SERVER_PUBLIC_URL", "https://pictures.example")]).await;
    let receiver = Receiver::start().await;
    let access_key = app.register(home.store.registration(PICTURES)).await;
    let mut job = told_job(&receiver, stored_job(&access_key));
    job["callbackHeaders"] = json!({ "x-of-the-job": "canary" });
    job["ref"] = json!("order-7");
    let job = app.done("me", job, "a.jpg", jpeg(96, 96, 1)).await;
    let id = text(&job["job_id"]);

    erased(&app, &manager("me"), &format!("job_id={id}")).await;

    let call = receiver.call().await;
    assert_eq!(call.headers["webhook-id"], format!("{id}_erased").as_str());
    assert!(call.headers["webhook-signature"].to_str().expect("text").starts_with("v1,"));
    assert_eq!(call.headers["x-of-the-job"], "canary");
    let body = &call.body;
    assert_eq!((text(&body["type"]), text(&body["reason"])), ("job.erased", "erased"));
    assert_eq!((&body["job_id"], &body["hash"], &body["ref"]), (&job["job_id"], &job["hash"], &json!("order-7")));
    assert_eq!(body["ended_at"], job["finished_at"]);
    assert!(body.get("job_data").is_none() && body.get("status").is_none(), "{body}");
    assert_eq!((locations(&call).len(), locations(&call)), (4, locations_of(&job)));
    for file in body["files"].as_array().expect("files") {
        let stored = file["stored"].as_array().expect("places");
        let [direct, remote] = ["directHost", "s3"].map(|of| stored.iter().find(|place| place["backend"] == of));
        let url = text(&direct.expect("served")["url"]);
        assert_eq!(url, format!("https://pictures.example{}", text(&direct.expect("served")["location"])));
        assert!(remote.expect("stored").get("url").is_none());
    }
    until_none_is_owed(&app).await;
    assert!(receiver.unexpected().await.is_none());
    let metrics = app.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
    assert!(metrics.contains(r#"pixerve_jobs_erased_total{reason="erased"} 1"#), "{metrics}");
}

async fn who_did_not_ask_is_not_told(home: ErasureHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let mut job = small_job();
    job["completionCallback"] = json!(receiver.url);
    app.done("me", job, "a.jpg", jpeg(96, 96, 1)).await;
    assert_eq!(receiver.call().await.body["type"], "job.completed");

    erased(&app, &manager("me"), "sub=me").await;

    assert_eq!(owed_events(&app).await, 0);
    assert!(receiver.unexpected().await.is_none());
}

async fn of_a_live_job_its_erasure_is_told_and_not_its_cancellation(home: ErasureHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    // What is told meanwhile waits for a time at which the job is unknown.
    receiver.answer(503);
    let mut job =
        json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[900], [800]] } } });
    job["completionCallback"] = json!(receiver.url);
    job["callbackEvents"] = json!(["job.cancelled", "job.erased"]);
    let live = app.accepted("me", job, "a.jpg", jpeg(1000, 1000, 1)).await;
    app.processing(&live).await;

    erased(&app, &manager("me"), &format!("job_id={}", text(&live["job_id"]))).await;

    receiver.answer(200);
    until_none_is_owed(&app).await;
    let mut last = receiver.call().await;
    while let Some(call) = receiver.unexpected().await {
        last = call;
    }
    assert_eq!((text(&last.body["type"]), &last.body["files"]), ("job.erased", &json!([])));
    assert_unknown(&app, &live).await;
}

async fn what_another_job_keeps_is_not_told_as_gone(home: ErasureHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let job = told_job(&receiver, small_job());
    let first = app.done("me", job.clone(), "a.jpg", jpeg(96, 96, 1)).await;
    let second = app.done("me", job, "a.jpg", jpeg(96, 96, 1)).await;

    erased(&app, &manager("me"), &format!("job_id={}", text(&first["job_id"]))).await;
    let call = receiver.call().await;
    assert_eq!((&call.body["job_id"], &call.body["files"]), (&first["job_id"], &json!([])));

    erased(&app, &manager("me"), &format!("job_id={}", text(&second["job_id"]))).await;
    let call = receiver.call().await;
    assert_eq!((&call.body["job_id"], locations(&call)), (&second["job_id"], locations_of(&second)));
}

async fn what_waits_for_its_receiver_can_be_read_by_nobody_and_is_told_under_one_id(home: ErasureHome) {
    let settings = [("PIXERVE_CALLBACK_RETRY_WAITS", "1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s")];
    let (mut app, receiver) = (home.start(&settings).await, Receiver::start().await);
    receiver.answer(500);
    let mut job = told_job(&receiver, small_job());
    job["subDir"] = json!("canary-directory");
    job["callbackHeaders"] = json!({ "x-of-the-job": "canary-header" });
    job["ref"] = json!("canary-reference");
    app.done("bystander", small_job(), "b.jpg", jpeg(96, 96, 2)).await;
    let job = app.done("canary-subject", job, "canary-name.jpg", jpeg(96, 96, 1)).await;
    let hash = text(&job["hash"]).to_owned();
    assert!(!home.traces_of(&app, &hash).await.is_empty(), "the test finds what is there");

    let answer = erased(&app, &manager("canary-subject"), "sub=canary-subject").await;
    let id = text(&answer["erasure_id"]);
    until(&app, &manager("canary-subject"), id, |erasure| erasure["purged_at"].is_string()).await;

    let first = receiver.call().await;
    assert_eq!(owed_events(&app).await, 1);
    let host = receiver.url.trim_start_matches("http://").trim_end_matches("/hook");
    for canary in
        ["canary-subject", "canary-directory", "canary-name", "canary-header", "canary-reference", &hash, host]
    {
        assert_eq!(home.traces_of(&app, canary).await, [""; 0], "{canary}");
    }
    for path in ["/deliveries?state=pending", "/deliveries?state=given_up"] {
        let listed = app.admin(Method::GET, path, None).await.text().await.expect("text");
        assert!(!listed.contains(text(&job["job_id"])), "{listed}");
    }
    let ids = json!({ "ids": [format!("{}_erased", text(&job["job_id"]))] });
    let again = app.admin(Method::POST, "/deliveries/redeliver", Some(ids)).await;
    assert_eq!(again.json::<Value>().await.expect("JSON")["count"], 0);

    // What waits outlives its process.
    app.restart().await;
    receiver.answer(200);
    until_none_is_owed(&app).await;
    let mut next = Some(receiver.call().await);
    while let Some(call) = next {
        assert_eq!(call.headers["webhook-id"], first.headers["webhook-id"]);
        assert_eq!(call.headers["x-of-the-job"], "canary-header");
        assert_eq!(call.bytes, first.bytes, "the same body at every try");
        next = receiver.unexpected().await;
    }
}

async fn a_receiver_that_is_gone_is_asked_no_more(home: ErasureHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    receiver.answer(410);
    app.done("me", told_job(&receiver, small_job()), "a.jpg", jpeg(96, 96, 1)).await;

    erased(&app, &manager("me"), "sub=me").await;

    receiver.call().await;
    until_none_is_owed(&app).await;
}

async fn it_is_told_of_a_job_whose_record_is_gone(home: ErasureHome) {
    let (mut app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let mut job = told_job(&receiver, small_job());
    job["callbackHeaders"] = json!({ "x-of-the-job": "canary" });
    let job = app.done("me", job, "a.jpg", jpeg(96, 96, 1)).await;
    home.lose_records(&mut app).await;

    erased(&app, &manager("me"), "sub=me").await;

    let call = receiver.call().await;
    assert_eq!((&call.body["hash"], locations(&call)), (&job["hash"], locations_of(&job)));
    assert_eq!(call.headers["x-of-the-job"], "canary");
}

async fn it_is_told_of_a_job_that_stored_nothing(home: ErasureHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let failed = app.done("me", told_job(&receiver, small_job()), "a.jpg", damaged()).await;
    assert_eq!(failed["state"], "failed", "{failed}");

    erased(&app, &manager("me"), &format!("job_id={}", text(&failed["job_id"]))).await;

    let call = receiver.call().await;
    assert_eq!((&call.body["job_id"], &call.body["files"]), (&failed["job_id"], &json!([])));
}

/// Waits until the metrics tell of so many callbacks that are owed: since how many seconds the oldest is.
async fn until_so_many_are_pending(app: &TestApp, wanted: u64) -> f64 {
    let started = Instant::now();
    loop {
        let told = app.admin(Method::GET, "/metrics", None).await.text().await.expect("text");
        let value = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).expect("it is told").trim();
        if value("pixerve_callbacks_pending ") == wanted.to_string() {
            return value("pixerve_callback_oldest_pending_seconds ").parse().expect("a number");
        }
        assert!(started.elapsed() < WAIT_MAX, "{told}");
        poll_delay().await;
    }
}

async fn what_is_owed_is_counted_as_a_callback_that_is_pending_until_it_is_taken(home: ErasureHome) {
    let settings = [("PIXERVE_CALLBACK_RETRY_WAITS", "1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s")];
    let (mut app, receiver) = (home.start(&settings).await, Receiver::start().await);
    receiver.answer(503);
    for seed in 0..2 {
        app.done("me", told_job(&receiver, small_job()), "a.jpg", jpeg(96, 96, seed)).await;
    }
    let _ = until_so_many_are_pending(&app, 0).await;

    erased(&app, &manager("me"), "sub=me").await;

    let oldest = until_so_many_are_pending(&app, 2).await;
    assert!(oldest > 0.0, "it says since when the receiver is not there");
    // Whoever starts anew knows of what was owed before.
    app.restart().await;
    assert!(until_so_many_are_pending(&app, 2).await > oldest);
    receiver.answer(200);
    let _ = until_so_many_are_pending(&app, 0).await;
    assert_eq!(owed_events(&app).await, 0);
}

/// A picture with a good header, and little behind it.
pub(super) fn damaged() -> Vec<u8> {
    let mut bytes = jpeg(600, 600, 1);
    bytes.truncate(bytes.len() / 4);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_kept_for_three_days_and_no_longer() {
    let home = ErasureHome::one_machine().await;
    let settings = [("PIXERVE_CALLBACK_RETRY_WAITS", "1h,1h,1h")];
    let (mut app, receiver) = (home.start(&settings).await, Receiver::start().await);
    receiver.answer(500);
    for seed in 0..2 {
        app.done("me", told_job(&receiver, small_job()), "a.jpg", jpeg(96, 96, seed)).await;
    }
    erased(&app, &manager("me"), "sub=me").await;
    let ledger = Arc::clone(&app.app().state().ledger);
    for _ in 0..2 {
        receiver.call().await;
    }
    let now = app.app().state().clock.now();
    // Until both tries are noted: what notes one would write over what comes here.
    let started = Instant::now();
    let owed = loop {
        let owed = ledger.due_events(now.after(Duration::from_hours(2)), 10).await.expect("read").events;
        if owed.len() == 2 && owed.iter().all(|event| event.attempts > 0) {
            break owed;
        }
        assert!(started.elapsed() < WAIT_MAX, "{owed:?}");
        poll_delay().await;
    };
    let ids: Vec<_> = owed.iter().map(|event| event.job_id).collect();
    for (event, hours) in owed.into_iter().zip([73, 71]) {
        let event = ErasedEvent { since: now.before(Duration::from_hours(hours)), due_at: now, ..event };
        ledger.put_event(&event).await.expect("written");
    }
    while receiver.unexpected().await.is_some() {}

    app.restart().await;

    let call = receiver.call().await;
    assert_eq!(text(&call.body["job_id"]), ids[1].to_string(), "the other is too old to be told");
    let started = Instant::now();
    loop {
        let owed = app.app().state().ledger.events(None, 10).await.expect("read");
        if owed.iter().all(|event| event.job_id == ids[1]) {
            return assert_eq!(owed.len(), 1);
        }
        assert!(started.elapsed() < WAIT_MAX, "{owed:?}");
        poll_delay().await;
    }
}

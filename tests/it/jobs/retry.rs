//! `POST /retry`: failed and cancelled jobs run again, each as a new job.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::home::{JobsHome, admin, get, ids, text, with_scope};
use crate::harness::app::{TestApp, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::stores::{GIVES_UP_SOON, dead_store};
use crate::harness::token::Claims;
use crate::http::idempotency::KEY;

every_home! {
    a_failed_job_is_run_again_as_a_new_one_with_the_same_callback,
    what_can_not_be_run_again_is_said_why,
    one_request_runs_again_what_an_outage_left_the_oldest_first_and_each_once,
    one_job_is_run_again_once_however_many_ask,
    nothing_is_run_again_whose_original_is_not_kept,
    a_repeated_request_is_answered_as_before_and_runs_nothing_again,
    of_a_tenant_that_has_no_room_nothing_more_is_tried_and_that_is_said,
}

/// One that fails for its store, and calls back.
fn job(store: &str, receiver: &Receiver) -> Value {
    json!({
        "storageKeys": { "s3": store }, "completionCallback": receiver.url, "callbackHeaders": { "x-secret": "canary" },
        "formats": { "jpg": { "sizes": [[16]] } }
    })
}

fn manager() -> Claims {
    with_scope(&Claims::of("me"), "manage")
}

async fn retry(app: &TestApp, query: &str) -> Response {
    let request = app.request(Method::POST, &format!("/retry?{query}")).bearer_auth(manager().sign());
    request.send().await.expect("an answer")
}

async fn retried(app: &TestApp, id: &str) -> Value {
    let response = retry(app, &format!("job_id={id}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.expect("JSON")
}

async fn retry_many(app: &TestApp, body: Value) -> Value {
    let request = app.request(Method::POST, "/retry").bearer_auth(manager().sign()).json(&body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    response.json().await.expect("JSON")
}

async fn cancel(app: &TestApp, id: &str) {
    let request = app.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(Claims::of("me").sign());
    assert_eq!(request.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
}

async fn a_failed_job_is_run_again_as_a_new_one_with_the_same_callback(home: JobsHome) {
    let (app, receiver) = (home.start(&GIVES_UP_SOON).await, Receiver::start().await);
    let store = app.register(dead_store()).await;
    let failed = app.done("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 1)).await;
    assert_eq!(failed["state"], "failed");
    let first = receiver.call().await;
    assert_eq!(first.body["status"], "failed");

    let again = retried(&app, text(&failed["job_id"])).await;
    assert_ne!(again["job_id"], failed["job_id"]);
    assert_eq!((&again["retry_of"], &again["hash"]), (&failed["job_id"], &failed["hash"]));
    let ended = app.ended(&again).await;
    assert_eq!((&ended["state"], &ended["retry_of"]), (&json!("failed"), &failed["job_id"]));
    let second = receiver.call().await;
    assert_eq!((&second.body["job_id"], &second.headers["x-secret"]), (&again["job_id"], &first.headers["x-secret"]));
    let old = app.get_json(&format!("/status?job_id={}", text(&failed["job_id"]))).await;
    assert_eq!((&old["state"], &old["retried_as"]), (&json!("failed"), &again["job_id"]));
    let record = app.get_json(&format!("/failures?job_id={}", text(&failed["job_id"]))).await;
    assert_eq!(record["retried_as"], again["job_id"]);

    // Named again, it stands for what ran it again last.
    let third = retried(&app, text(&failed["job_id"])).await;
    assert_eq!(third["retry_of"], again["job_id"]);
    app.ended(&third).await;
}

async fn what_can_not_be_run_again_is_said_why(home: JobsHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let store = app.register(dead_store()).await;
    let completed = app.done("me", small_job(), "a.jpg", jpeg(32, 32, 1)).await;
    assert_problem(retry(&app, &format!("hash={}", text(&completed["hash"]))).await, 409, "job_completed").await;

    let live = app.accepted("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 2)).await;
    let id = text(&live["job_id"]);
    assert_problem(retry(&app, &format!("job_id={id}")).await, 409, "job_live").await;
    cancel(&app, id).await;
    let again = app.accepted("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 2)).await;
    let problem = assert_problem(retry(&app, &format!("job_id={id}")).await, 409, "duplicate_job").await;
    assert_eq!(problem["job_id"], again["job_id"]);
    cancel(&app, text(&again["job_id"])).await;

    app.admin(Method::DELETE, &format!("/register?access_key={store}"), None).await;
    let problem = assert_problem(retry(&app, &format!("job_id={id}")).await, 422, "invalid_fields").await;
    assert_eq!(problem["errors"][0]["pointer"], "/job/storageKeys/s3");

    let other = app.accepted("you", small_job(), "a.jpg", jpeg(32, 32, 3)).await;
    assert_problem(retry(&app, &format!("job_id={}", text(&other["job_id"]))).await, 404, "not_found").await;
    assert_problem(retry(&app, "job_id=01890a5d-ac96-774b-bcce-b302099a8057").await, 404, "not_found").await;
    for (body, pointer) in [
        (json!({}), "/state"),
        (json!({ "state": "completed" }), "/state"),
        (json!({ "state": "failed", "error": "timeout" }), "/error"),
        (json!({ "state": "failed", "since": "yesterday" }), "/since"),
        (json!({ "state": "failed", "limit": 1001 }), "/limit"),
        (json!({ "state": "failed", "sub": "me" }), "/sub"),
    ] {
        let request = app.request(Method::POST, "/retry").bearer_auth(manager().sign()).json(&body);
        let problem = assert_problem(request.send().await.expect("an answer"), 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}

async fn one_request_runs_again_what_an_outage_left_the_oldest_first_and_each_once(home: JobsHome) {
    let (app, receiver) = (home.start(&GIVES_UP_SOON).await, Receiver::start().await);
    let store = app.register(dead_store()).await;
    let mut failed = Vec::new();
    for seed in 1..=3 {
        let done = app.done("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, seed)).await;
        failed.push(text(&done["job_id"]).to_owned());
    }
    let mut cut = jpeg(64, 64, 9);
    cut.truncate(cut.len() / 2);
    app.done("me", small_job(), "a.jpg", cut).await;
    let by_outage =
        |limit: u64| json!({ "state": "failed", "error": ["store_unreachable", "timeout"], "limit": limit });

    assert_eq!(retry_many(&app, by_outage(2)).await, json!({ "count": 2, "skipped": 0 }));
    let newest = get(&app, &manager(), "/jobs?limit=2").await;
    let of: Vec<_> = newest["jobs"].as_array().expect("jobs").iter().map(|job| text(&job["retry_of"])).collect();
    assert_eq!(of, [failed[1].as_str(), &failed[0]], "the oldest first");
    assert!(newest["jobs"].as_array().expect("jobs").iter().all(|job| job["priority"] == 1));
    for id in ids(&newest) {
        app.ended(&json!({ "status_url": format!("/status?job_id={id}") })).await;
    }
    // The third, and those two, which have failed again themselves.
    assert_eq!(retry_many(&app, by_outage(1000)).await, json!({ "count": 3, "skipped": 2 }));
}

async fn one_job_is_run_again_once_however_many_ask(home: JobsHome) {
    let (app, receiver) = (home.start(&[]).await, Receiver::start().await);
    let store = app.register(dead_store()).await;
    let accepted = app.accepted("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 1)).await;
    cancel(&app, text(&accepted["job_id"])).await;
    let query = format!("job_id={}", text(&accepted["job_id"]));
    let answers = futures_util::future::join_all((0..8).map(|_| retry(&app, &query))).await;
    let (mut run, mut refused) = (Vec::new(), 0);
    for answer in answers {
        if answer.status() == StatusCode::OK {
            run.push(answer.json::<Value>().await.expect("JSON"));
        } else {
            assert_problem(answer, 409, "duplicate_job").await;
            refused += 1;
        }
    }
    assert_eq!((run.len(), refused), (1, 7));
    let listed = get(&app, &manager(), "/jobs").await;
    assert_eq!(ids(&listed), [text(&run[0]["job_id"]), text(&accepted["job_id"])]);
}

async fn nothing_is_run_again_whose_original_is_not_kept(home: JobsHome) {
    let app = home.start(&[("PIXERVE_QUEUE_FAILED_ORIGINALS_KEPT", "0s")]).await;
    let receiver = Receiver::start().await;
    let store = app.register(dead_store()).await;
    let accepted = app.accepted("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 1)).await;
    cancel(&app, text(&accepted["job_id"])).await;
    loop {
        let answer = retry(&app, &format!("job_id={}", text(&accepted["job_id"]))).await;
        if answer.status() == StatusCode::GONE {
            assert_problem(answer, 410, "original_gone").await;
            return;
        }
        poll_delay().await;
    }
}

async fn with_key(app: &TestApp, query: &str, body: Option<&Value>, key: &str) -> Response {
    let request = app.request(Method::POST, &format!("/retry{query}")).bearer_auth(manager().sign());
    let request = request.header("idempotency-key", key);
    let request = body.into_iter().fold(request, RequestBuilder::json);
    request.send().await.expect("an answer")
}

async fn a_repeated_request_is_answered_as_before_and_runs_nothing_again(home: JobsHome) {
    let (app, receiver) = (home.start(&GIVES_UP_SOON).await, Receiver::start().await);
    let store = app.register(dead_store()).await;
    let first = app.done("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 1)).await;
    let second = app.done("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, 2)).await;
    let [named, other] = [&first, &second].map(|job| format!("?job_id={}", text(&job["job_id"])));
    let answer = with_key(&app, &named, None, KEY).await;
    assert!(!answer.headers().contains_key("idempotency-replayed"));
    let told = answer.text().await.expect("text");
    // It has failed again by then, and would be run again by another request.
    app.ended(&serde_json::from_str(&told).expect("JSON")).await;
    let answer = with_key(&app, &named, None, &format!("\"{KEY}\"")).await;
    assert_eq!(answer.headers()["idempotency-replayed"], "true");
    assert_eq!(answer.text().await.expect("text"), told);
    assert_problem(with_key(&app, &other, None, KEY).await, 422, "idempotency_key_reused").await;
    let body = json!({ "state": "failed", "limit": 1 });
    assert_problem(with_key(&app, "", Some(&body), KEY).await, 422, "idempotency_key_reused").await;
    assert_problem(with_key(&app, &named, None, "short").await, 400, "bad_idempotency_key").await;

    let key = "another-key-0123456789";
    let completed = app.done("me", small_job(), "a.jpg", jpeg(32, 32, 3)).await;
    let refused = format!("?job_id={}", text(&completed["job_id"]));
    assert_problem(with_key(&app, &refused, None, key).await, 409, "job_completed").await;
    // That refusal has left the key free. The first was run again before.
    let reordered = json!({ "limit": 1, "state": "failed" });
    for (body, is_replayed) in [(&body, false), (&reordered, true), (&body, true)] {
        let answer = with_key(&app, "", Some(body), key).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!(answer.headers().contains_key("idempotency-replayed"), is_replayed);
        assert_eq!(answer.json::<Value>().await.expect("JSON"), json!({ "count": 1, "skipped": 1 }));
    }
    let all = json!({ "state": "failed" });
    assert_problem(with_key(&app, "", Some(&all), key).await, 422, "idempotency_key_reused").await;
    let jobs = get(&app, &manager(), "/jobs").await;
    assert_eq!(jobs["count"], 5, "three uploads, and two that were run again: {jobs}");
}

async fn of_a_tenant_that_has_no_room_nothing_more_is_tried_and_that_is_said(home: JobsHome) {
    let app = home.start(&[("PIXERVE_QUEUE_OWNER_DEPTH_MAX", "2")]).await;
    let receiver = Receiver::start().await;
    let store = app.register(dead_store()).await;
    for seed in 1..=3 {
        let accepted = app.accepted("me", job(&store, &receiver), "a.jpg", jpeg(32, 32, seed)).await;
        cancel(&app, text(&accepted["job_id"])).await;
    }
    let other = app.accepted("other", job(&store, &receiver), "a.jpg", jpeg(32, 32, 4)).await;
    let request = app.request(Method::DELETE, &format!("/cancel?job_id={}", text(&other["job_id"])));
    let cancelled = request.bearer_auth(Claims::of("other").sign()).send().await.expect("an answer");
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    let all = json!({ "state": "cancelled" });
    // Of another owner, whose jobs are behind those that have no room, one is run again all the same.
    let request = app.request(Method::POST, "/retry").bearer_auth(admin().sign()).json(&all);
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer, json!({ "count": 3, "skipped": 1 }));
    // None is left but for want of room: it isn't time to stop asking.
    let request = app.request(Method::POST, "/retry").bearer_auth(manager().sign()).json(&all);
    assert_problem(request.send().await.expect("an answer"), 429, "too_many_jobs").await;
}

//! `/deliveries`: what became of callbacks, who sees it, and making them again.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::harness::app::{TestApp, assert_problem, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;
use crate::harness::token::Claims;

/// A receiver is given up after its second refusal.
const TWO_TRIES: [(&str, &str); 1] = [("PIXERVE_CALLBACK_RETRY_WAITS", "1ms")];

fn job(receiver: &Receiver) -> Value {
    json!({ "directHost": true, "completionCallback": receiver.url, "formats": { "jpg": { "sizes": [[32]] } } })
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

async fn get(app: &TestApp, token: &Claims, path: &str) -> Response {
    app.request(Method::GET, path).bearer_auth(token.sign()).send().await.expect("an answer")
}

async fn list(app: &TestApp, token: &Claims, query: &str) -> Value {
    let response = get(app, token, &format!("/deliveries?{query}")).await;
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

async fn redeliver(app: &TestApp, token: &Claims, body: Value) -> Response {
    let request = app.request(Method::POST, "/deliveries/redeliver").bearer_auth(token.sign()).json(&body);
    request.send().await.expect("an answer")
}

async fn count(app: &TestApp, token: &Claims, body: Value) -> u64 {
    let response = redeliver(app, token, body).await;
    assert_eq!(response.status(), 202);
    response.json::<Value>().await.expect("JSON")["count"].as_u64().expect("a count")
}

fn manager(sub: &str) -> Claims {
    Claims::of(sub).with("scope", json!("manage"))
}

async fn user(app: &TestApp, name: &str) -> (String, String) {
    let response = app.admin(Method::POST, "/register", Some(json!({ "user": name }))).await;
    let user: Value = response.json().await.expect("JSON");
    (text(&user["access_key"]).to_owned(), text(&user["secret"]).to_owned())
}

/// Until the job's callback is in this state.
async fn callback_in(app: &TestApp, accepted: &Value, state: &str) -> Value {
    app.wait_for(accepted, state, |status| status["callback"]["state"] == state).await["callback"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_shown_with_its_last_try_and_neither_its_path_nor_its_headers() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = job(&receiver);
    job["callbackHeaders"] = json!({ "Authorization": "Bearer canary-header" });
    receiver.answer(503);
    let accepted = app.accepted("me", job, "a.jpg", jpeg(40, 30, 1)).await;
    let id = text(&accepted["job_id"]).to_owned();
    receiver.call().await;
    let shown = loop {
        let list = list(&app, &manager("me"), &format!("job_id={id}")).await;
        if list["deliveries"][0]["attempts"] == 1 {
            break list;
        }
        poll_delay().await;
    };
    assert_eq!((&shown["count"], &shown["next_cursor"]), (&json!(1), &Value::Null));
    let delivery = &shown["deliveries"][0];
    for (field, value) in
        [("id", &*id), ("job_id", &*id), ("type", "job.completed"), ("host", "127.0.0.1"), ("state", "pending")]
    {
        assert_eq!(delivery[field], value, "{field}");
    }
    let last = &delivery["last"];
    assert_eq!(
        (&last["status"], &last["error"]),
        (&json!(503), &json!("the receiver answered 503 Service Unavailable"))
    );
    assert!(last["duration_ms"].is_u64() && text(&last["at"]) < text(&delivery["next_attempt_at"]), "{delivery}");
    let told = shown.to_string();
    assert!(!told.contains("hook") && !told.contains("canary-header"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_and_the_record_tell_what_became_of_the_callback() {
    let (app, receiver) = (TestApp::start_with(&TWO_TRIES).await, Receiver::start().await);
    let delivered = app.accepted("me", job(&receiver), "a.jpg", jpeg(40, 30, 1)).await;
    let fate = callback_in(&app, &delivered, "delivered").await;
    let expected =
        json!({ "state": "delivered", "attempts": 1, "next_attempt_at": null, "last_status": 200, "error": null });
    assert_eq!(fate, expected);
    let record = app.get_json(&format!("/success?job_id={}", text(&delivered["job_id"]))).await;
    assert_eq!(record["callback"], expected);

    receiver.answer(500);
    let given_up = app.accepted("me", job(&receiver), "a.jpg", jpeg(40, 30, 2)).await;
    let fate = callback_in(&app, &given_up, "given_up").await;
    assert_eq!((&fate["attempts"], &fate["last_status"]), (&json!(2), &json!(500)));
    assert_eq!(fate["error"], "the receiver answered 500 Internal Server Error");

    let untold = json!({ "directHost": true, "keepOriginal": true });
    let untold = app.done("me", untold, "a.jpg", jpeg(40, 30, 3)).await;
    assert_eq!(untold["callback"]["state"], "none");
    let mut only_failures = job(&receiver);
    only_failures["callbackEvents"] = json!(["job.failed"]);
    let only_failures = app.done("me", only_failures, "a.jpg", jpeg(40, 30, 4)).await;
    assert_eq!(only_failures["callback"]["state"], "none", "it didn't ask to be told of this end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_delivered_again_under_the_same_id_with_the_same_body() {
    let (app, receiver) = (TestApp::start_with(&TWO_TRIES).await, Receiver::start().await);
    receiver.answer(410);
    let accepted = app.accepted("me", job(&receiver), "a.jpg", jpeg(40, 30, 1)).await;
    let first = receiver.call().await;
    callback_in(&app, &accepted, "given_up").await;
    let listed = list(&app, &manager("me"), "state=given_up").await;
    assert_eq!(listed["deliveries"][0]["job_id"], accepted["job_id"], "410 is given up, too");

    receiver.answer(200);
    let since = app.ended(&accepted).await["finished_at"].clone();
    assert_eq!(count(&app, &manager("me"), json!({ "state": "given_up", "since": "2999-01-01T00:00:00Z" })).await, 0);
    assert_eq!(count(&app, &manager("me"), json!({ "state": "given_up", "since": since })).await, 1);
    let second = receiver.call().await;
    assert_eq!((&second.headers["webhook-id"], &second.bytes), (&first.headers["webhook-id"], &first.bytes));
    assert_eq!(callback_in(&app, &accepted, "delivered").await["attempts"], 1, "tries are counted anew");

    let id = accepted["job_id"].clone();
    let unknown =
        ["nonsense", "01890a5d-ac96-774b-bcce-b302099a8057", &format!("{}_file_0", text(&id))].map(str::to_owned);
    let ids: Vec<_> = unknown.iter().map(|id| json!(id)).chain([id.clone(), id]).collect();
    assert_eq!(count(&app, &manager("me"), json!({ "ids": ids })).await, 1, "each known one once");
    assert_eq!(receiver.call().await.bytes, first.bytes, "and what was delivered before");
    assert!(receiver.unexpected().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_scope_reaches_as_far_as_it_says_and_no_further() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let (shop, other) = (user(&app, "shop").await, user(&app, "other").await);
    let by = |claims: Claims, (key, secret): &(String, String)| claims.by(key, secret);
    let mut jobs = Vec::new();
    let owners = [
        by(Claims::of("a"), &shop),
        by(Claims::of("b"), &shop),
        by(Claims::of("a"), &other),
        Claims::of("a"),
        Claims::of("b"),
    ];
    for (seed, owner) in (1..).zip(&owners) {
        let token = owner.clone().job(job(&receiver)).sign();
        let accepted: Value = app.upload(&token, "a.jpg", jpeg(40, 30, seed)).await.json().await.expect("JSON");
        callback_in(&app, &accepted, "delivered").await;
        jobs.push(accepted);
    }
    let ids: Vec<_> = jobs.iter().map(|job| job["job_id"].clone()).collect();
    let scope = |claims: &Claims, word: &str| claims.clone().with("scope", json!(word));
    // Which of the five jobs each token reaches, newest first.
    let reach: [(Claims, &[usize]); 7] = [
        (scope(&owners[0], "manage"), &[0]),
        (scope(&owners[0], "read manage write"), &[0]),
        (scope(&owners[0], "manage-user"), &[1, 0]),
        (scope(&owners[0], "manage-user admin"), &[1, 0]),
        (scope(&owners[3], "manage"), &[3]),
        (scope(&owners[3], "manage-user"), &[4, 3]),
        (scope(&owners[3], "admin"), &[4, 3, 2, 1, 0]),
    ];
    for (token, reached) in &reach {
        let listed = list(&app, token, "state=delivered&limit=200").await;
        let listed: Vec<_> =
            listed["deliveries"].as_array().expect("a list").iter().map(|delivery| &delivery["job_id"]).collect();
        assert_eq!(listed, reached.iter().map(|n| &ids[*n]).collect::<Vec<_>>());
        for (n, id) in ids.iter().enumerate() {
            let answer = get(&app, token, &format!("/deliveries?job_id={}", text(id))).await;
            if reached.contains(&n) {
                assert_eq!(answer.status(), 200);
            } else {
                assert_problem(answer, 404, "not_found").await;
            }
        }
        assert_eq!(count(&app, token, json!({ "ids": ids })).await, reached.len() as u64);
        for n in *reached {
            callback_in(&app, &jobs[*n], "delivered").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_scope_is_told_the_least_one_that_would_do() {
    let app = TestApp::start().await;
    let (key, secret) = user(&app, "shop").await;
    let challenge = |scope: &str| format!("Bearer realm=\"pixerve\", error=\"insufficient_scope\", scope=\"{scope}\"");
    let manager = Claims::of("me").with("scope", json!("manage")).by(&key, &secret);
    for (method, path, token, least) in [
        (Method::GET, "/deliveries?state=pending", Claims::of("me"), "manage"),
        (Method::POST, "/deliveries/redeliver", Claims::of("me").with("scope", json!("managers")), "manage"),
        (Method::POST, "/register/webhook-secret", manager.clone(), "manage-user"),
        (Method::GET, "/success/list", manager, "admin"),
    ] {
        let request = app.request(method, path).bearer_auth(token.sign()).json(&json!({}));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["www-authenticate"], challenge(least), "{path}");
        assert_problem(answer, 403, "forbidden").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_manages_a_user_renews_its_webhook_secret_and_no_other() {
    let app = TestApp::start().await;
    let ((key, secret), (other, _)) = (user(&app, "shop").await, user(&app, "other").await);
    let token = Claims::of("me").with("scope", json!("manage-user")).by(&key, &secret).sign();
    let renew = async |access_key: &str| {
        let request = app.request(Method::POST, "/register/webhook-secret").bearer_auth(&token);
        request.json(&json!({ "access_key": access_key })).send().await.expect("an answer")
    };
    let renewed = renew(&key).await;
    assert_eq!(renewed.status(), 201);
    assert!(text(&renewed.json::<Value>().await.expect("JSON")["webhook_secret"]).starts_with("whsec_"));
    assert_problem(renew(&other).await, 404, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_in_a_wrong_way_is_a_400_or_a_422() {
    let app = TestApp::start().await;
    for query in
        ["", "state=lost", "job_id=no-uuid", "state=pending&limit=-1", "state=pending&host=a", "state=pending&cursor=-"]
    {
        let answer = get(&app, &manager("me"), &format!("/deliveries?{query}")).await;
        let code = if query.contains("cursor") { "bad_request" } else { "bad_parameter" };
        assert_problem(answer, 400, code).await;
    }
    let many: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
    for (body, pointer) in [
        (json!({}), ""),
        (json!({ "ids": [], "state": "pending" }), ""),
        (json!({ "ids": "all" }), "/ids"),
        (json!({ "ids": [1] }), "/ids"),
        (json!({ "ids": many }), "/ids"),
        (json!({ "ids": [], "since": "2026-01-01T00:00:00Z" }), "/since"),
        (json!({ "state": "lost" }), "/state"),
        (json!({ "state": "given_up", "since": "yesterday" }), "/since"),
        (json!({ "state": "given_up", "host": "a" }), "/host"),
    ] {
        let problem = assert_problem(redeliver(&app, &manager("me"), body).await, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_told_of_when_it_is_stored_and_the_end_when_that_comes() {
    let (app, receiver) = (TestApp::start().await, Receiver::start().await);
    let mut job = job(&receiver);
    job["formats"] = json!({ "jpg": { "sizes": [[32]] }, "png": { "sizes": [[16]] } });
    job["callbackEvents"] = json!(["file.stored"]);
    job["ref"] = json!("order 42");
    let accepted = app.accepted("me", job, "a.jpg", jpeg(40, 30, 1)).await;
    let status = app.ended(&accepted).await;
    assert_eq!(status["callback"]["state"], "none", "nobody asked to be told of the end");
    let mut calls = [receiver.call().await, receiver.call().await];
    calls.sort_by_key(|call| call.headers["webhook-id"].to_str().expect("text").to_owned());
    for (n, call) in calls.iter().enumerate() {
        assert_eq!(call.headers["webhook-id"], format!("{}_file_{n}", text(&accepted["job_id"])));
        let name = &accepted["expected_files"][n];
        let files = status["files"].as_array().expect("files");
        let file = files.iter().find(|file| file["name"] == *name).expect("it is stored");
        let sequence = call.body["sequence"].as_u64().expect("a number");
        let expected = json!({
            "type": "file.stored", "hash": accepted["hash"], "job_id": accepted["job_id"], "ref": "order 42",
            "sequence": sequence, "file": file
        });
        assert_eq!(call.body, expected);
        assert!(call.headers.contains_key("webhook-signature"), "signed as every other");
    }
    assert_ne!(calls[0].body["sequence"], calls[1].body["sequence"]);
    let listed = loop {
        let listed = list(&app, &manager("me"), &format!("job_id={}&state=delivered", text(&accepted["job_id"]))).await;
        if listed["count"] == 2 {
            break listed;
        }
        poll_delay().await;
    };
    assert!(listed["deliveries"].as_array().expect("a list").iter().all(|delivery| delivery["type"] == "file.stored"));
}

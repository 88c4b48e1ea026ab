//! `PUT` and `DELETE /register`, for jobs that are under way and tokens that are in use.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::home::{JobsHome, RegisteredUser, get, text, with_scope};
use crate::harness::app::{TestApp, assert_problem, poll_delay, small_job};
use crate::harness::picture::jpeg;
use crate::harness::stores::{dead_store, s3};
use crate::harness::token::Claims;

every_home! {
    jobs_that_wait_for_a_store_go_on_with_its_new_credentials,
    jobs_that_wait_for_a_store_go_on_at_its_new_address,
    a_store_stays_what_it_is_and_whose_it_is,
    a_store_for_which_jobs_wait_is_deregistered_by_force_alone,
    both_secrets_of_a_user_are_good_for_the_overlap,
    what_can_not_be_changed_is_said_why,
}

/// Tried again soon.
const SOON: [(&str, &str); 2] = [("PIXERVE_STORES_BACKOFF_MIN", "100ms"), ("PIXERVE_STORES_BACKOFF_MAX", "500ms")];

async fn put(app: &TestApp, access_key: &str, body: Value) -> Response {
    app.admin(Method::PUT, &format!("/register?access_key={access_key}"), Some(body)).await
}

async fn changed(app: &TestApp, access_key: &str, body: Value) -> Value {
    let response = put(app, access_key, body).await;
    let status = response.status();
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!((status, &answer["access_key"]), (StatusCode::OK, &json!(access_key)), "{answer}");
    answer
}

fn for_store(access_key: &str) -> Value {
    json!({ "storageKeys": { "s3": access_key }, "formats": { "jpg": { "sizes": [[16]] } } })
}

/// Uploads what waits for a store.
async fn waiting(app: &TestApp, access_key: &str, seed: u32) -> Value {
    let accepted = app.accepted("me", for_store(access_key), "a.jpg", jpeg(32, 32, seed)).await;
    app.wait_for(&accepted, "to wait for its store", |status| status["waiting_for"].is_array()).await;
    accepted
}

async fn completes(app: &TestApp, accepted: &Value) {
    let ended = app.ended(accepted).await;
    assert_eq!((&ended["state"], &ended["attempt"]), (&json!("completed"), &json!(1)), "{ended}");
}

async fn jobs_that_wait_for_a_store_go_on_with_its_new_credentials(home: JobsHome) {
    // The one that takes the change need not be the one that stores.
    let (app, s3) = (home.start(&SOON).await, s3().await);
    s3.create_bucket("pictures");
    let registration = s3.registration("pictures");
    let key = app.register(registration.clone()).await;
    let done = app.done("me", for_store(&key), "a.jpg", jpeg(32, 32, 1)).await;
    assert_eq!(done["state"], "completed", "a client of it is kept from now on");
    s3.shut_out(&s3.access_key);
    let mut waits = Vec::new();
    for seed in 2..5 {
        waits.push(waiting(&app, &key, seed).await);
    }
    s3.let_in("renewed", "another-secret-0123456789");
    let mut renewed = registration;
    renewed["access_key_id"] = json!("renewed");
    renewed["secret_access_key"] = json!("another-secret-0123456789");
    renewed["prefix"] = json!("later");
    let other = home.other(&SOON).await;
    let changing = other.as_ref().unwrap_or(&app);
    let path = format!("/register?access_key={key}&verify=true");
    let tried = changing.admin(Method::PUT, &path, Some(renewed)).await;
    assert_eq!(tried.status(), StatusCode::OK);
    for accepted in &waits {
        completes(&app, accepted).await;
    }
    s3.let_in(&s3.access_key, &s3.secret);
    let stored = s3.keys("pictures").await;
    assert_eq!(stored.iter().filter(|key| key.starts_with("later/")).count(), 3, "{stored:?}");
    let listed = app.admin(Method::GET, "/register", None).await.json::<Value>().await.expect("JSON");
    assert_eq!((&listed["count"], &listed["registrations"][0]["prefix"]), (&json!(1), &json!("later")), "{listed}");
}

async fn jobs_that_wait_for_a_store_go_on_at_its_new_address(home: JobsHome) {
    let (app, s3) = (home.start(&SOON).await, s3().await);
    s3.create_bucket("nowhere");
    let key = app.register(dead_store()).await;
    let accepted = waiting(&app, &key, 1).await;
    changed(&app, &key, s3.registration("nowhere")).await;
    completes(&app, &accepted).await;
}

async fn a_store_stays_what_it_is_and_whose_it_is(home: JobsHome) {
    let app = home.start(&[]).await;
    let (shop, other) = (RegisteredUser::register(&app, "shop").await, RegisteredUser::register(&app, "other").await);
    let mut registration = dead_store();
    registration["user"] = json!("shop");
    let key = app.register(registration.clone()).await;
    for (field, value, pointer) in [
        ("type", json!("gcs"), ""),
        ("bucket", json!("elsewhere"), "/bucket"),
        ("user", json!("other"), "/user"),
        ("user", json!(7), "/user"),
        ("secret_access_key", json!(""), "/secret_access_key"),
        ("typo", json!(1), "/typo"),
    ] {
        let mut body = registration.clone();
        body[field] = value;
        let problem = assert_problem(put(&app, &key, body).await, 422, "invalid_fields").await;
        assert!(text(&problem["errors"][0]["pointer"]).starts_with(pointer), "{problem}");
    }
    let gcs = json!({ "type": "gcs", "bucket": "nowhere", "endpoint": "http://127.0.0.1:9" });
    let problem = assert_problem(put(&app, &key, gcs).await, 422, "invalid_fields").await;
    assert_eq!(problem["errors"][0]["pointer"], "/type");
    for user in [json!("shop"), json!(shop.access_key), json!(null), json!("")] {
        registration["user"] = user;
        changed(&app, &key, registration.clone()).await;
        for (owner, status) in [(&shop, 200), (&other, 422)] {
            let token = owner.claims("a").job(for_store(&key)).sign();
            let response = app.upload(&token, "a.jpg", jpeg(16, 16, 1)).await;
            assert_eq!(response.status(), status);
            if status == 200 {
                let id = text(&response.json::<Value>().await.expect("JSON")["job_id"]).to_owned();
                let cancel = app.request(Method::DELETE, &format!("/cancel?job_id={id}")).bearer_auth(token);
                assert_eq!(cancel.send().await.expect("an answer").status(), StatusCode::NO_CONTENT);
            }
        }
    }
}

async fn a_store_for_which_jobs_wait_is_deregistered_by_force_alone(home: JobsHome) {
    let app = home.start(&SOON).await;
    let (needed, free) = (app.register(dead_store()).await, app.register(dead_store()).await);
    let mut waits = Vec::new();
    for seed in 1..4 {
        waits.push(waiting(&app, &needed, seed).await);
    }
    let delete = async |key: &str, force: &str| {
        app.admin(Method::DELETE, &format!("/register?access_key={key}{force}"), None).await
    };
    for force in ["", "&force=false"] {
        let problem = assert_problem(delete(&needed, force).await, 409, "store_in_use").await;
        assert_eq!(problem["jobs"], 3, "{problem}");
    }
    assert_problem(delete(&needed, "&force=perhaps").await, 400, "bad_request").await;
    assert_eq!(delete(&free, "").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(delete(&needed, "&force=true").await.status(), StatusCode::NO_CONTENT);
    for accepted in &waits {
        let ended = app.ended(accepted).await;
        assert_eq!(ended["state"], "failed");
        assert!(text(&ended["error"]).contains("deregistered"), "{ended}");
    }
    assert_problem(delete(&needed, "").await, 404, "not_found").await;
}

async fn both_secrets_of_a_user_are_good_for_the_overlap(home: JobsHome) {
    let mut app = home.start(&[]).await;
    let user = RegisteredUser::register(&app, "shop").await;
    let by = |secret: &str| with_scope(&Claims::of("a"), "manage").by(&user.access_key, secret);
    let is_good = async |app: &TestApp, secret: &str| {
        let request = app.request(Method::GET, "/jobs").bearer_auth(by(secret).sign());
        request.send().await.expect("an answer").status() == StatusCode::OK
    };
    let rotated = changed(&app, &user.access_key, json!({ "rotate": true })).await;
    assert_eq!(rotated["algorithm"], "HS256");
    let second = text(&rotated["secret"]).to_owned();
    assert_ne!(second, user.secret);
    assert!(is_good(&app, &user.secret).await && is_good(&app, &second).await);
    // It is one user: what it uploaded with the one, it reaches with the other.
    let token = by(&user.secret).job(small_job()).sign();
    let accepted: Value = app.upload(&token, "a.jpg", jpeg(16, 16, 1)).await.json().await.expect("JSON");
    app.ended(&accepted).await;
    assert_eq!(get(&app, &by(&second), "/jobs").await["count"], 1);

    app.restart().await;
    assert!(is_good(&app, &user.secret).await && is_good(&app, &second).await, "after a restart, too");
    if let Some(other) = home.other(&[]).await {
        assert!(is_good(&other, &user.secret).await && is_good(&other, &second).await, "on every node");
        let third = changed(&app, &user.access_key, json!({ "rotate": true, "overlap": "0s" })).await;
        let third = text(&third["secret"]);
        for node in [&app, &other] {
            assert!(!is_good(node, &user.secret).await && !is_good(node, &second).await, "at once, and everywhere");
            assert!(is_good(node, third).await);
        }
        return;
    }
    let third = changed(&app, &user.access_key, json!({ "rotate": true, "overlap": "1s" })).await;
    let third = text(&third["secret"]).to_owned();
    tokio::time::timeout(Duration::from_mins(1), async {
        while is_good(&app, &user.secret).await || is_good(&app, &second).await {
            poll_delay().await;
        }
    })
    .await
    .expect("both end with the shorter overlap");
    assert!(is_good(&app, &third).await);
}

async fn what_can_not_be_changed_is_said_why(home: JobsHome) {
    let app = home.start(&[]).await;
    let user = RegisteredUser::register(&app, "shop").await;
    let key = &user.access_key;
    for (body, pointer) in [
        (json!({}), "/rotate"),
        (json!({ "rotate": false }), "/rotate"),
        (json!({ "rotate": "true" }), "/rotate"),
        (json!({ "rotate": true, "overlap": "soon" }), "/overlap"),
        (json!({ "rotate": true, "overlap": 3600 }), "/overlap"),
        (json!({ "rotate": true, "overlap": "367days" }), "/overlap"),
        (json!({ "rotate": true, "user": "other" }), "/user"),
    ] {
        let problem = assert_problem(put(&app, key, body).await, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let problem = assert_problem(put(&app, key, dead_store()).await, 422, "invalid_fields").await;
    let pointers: Vec<_> =
        problem["errors"].as_array().expect("errors").iter().map(|error| &error["pointer"]).collect();
    assert!(pointers.contains(&&json!("/type")) && pointers.contains(&&json!("/rotate")), "{problem}");
    assert_problem(put(&app, "pxs_none", dead_store()).await, 404, "not_found").await;
    assert_problem(put(&app, "", dead_store()).await, 400, "bad_request").await;
    let store = app.register(dead_store()).await;
    assert_problem(put(&app, &store, json!({ "rotate": true })).await, 422, "invalid_fields").await;
    let path = format!("/register?access_key={store}&verify=true");
    assert_problem(app.admin(Method::PUT, &path, Some(dead_store())).await, 422, "store_refused").await;
    let request = app.request(Method::PUT, &path).bearer_auth(user.claims("a").admin().sign()).json(&dead_store());
    assert_problem(request.send().await.expect("an answer"), 403, "forbidden").await;
}

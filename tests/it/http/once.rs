//! Tokens that are good for one upload.

use std::collections::HashSet;

use futures_util::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::upload_refused::assert_nothing_is_left;
use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

pub(crate) fn once(sub: &str, jti: &str) -> Claims {
    let mut job = small_job();
    job["once"] = json!(true);
    Claims::of(sub).job(job).with("jti", json!(jti))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_upload_is_good_for_one_and_names_it_ever_after() {
    let mut app = TestApp::start().await;
    let token = once("me", "token-1").sign();
    let accepted = app.upload(&token, "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(accepted.status(), StatusCode::OK);
    let accepted: Value = accepted.json().await.expect("JSON");
    for (round, picture) in [(1, jpeg(40, 30, 2)), (2, jpeg(40, 30, 1)), (3, b"no picture".to_vec())] {
        let problem = assert_problem(app.upload(&token, "b.jpg", picture).await, 409, "token_used").await;
        for field in ["job_id", "status_url"] {
            assert_eq!(problem[field], accepted[field], "{field}");
        }
        assert_eq!(app.ended(&accepted).await["state"], "completed");
        if round == 2 {
            app.restart().await;
        }
    }
    assert_nothing_waits(&app).await;
}

async fn assert_nothing_waits(app: &TestApp) {
    let list = app.admin(reqwest::Method::GET, "/success/list", None).await;
    assert_eq!(list.json::<Value>().await.expect("JSON")["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_uploads_at_once_with_one_token_exactly_one_is_accepted() {
    let app = TestApp::start().await;
    let token = once("me", "token-1").sign();
    let answers = join_all((0..16).map(|seed| app.upload(&token, "a.jpg", jpeg(40, 30, seed)))).await;
    let (mut accepted, mut named) = (Vec::new(), HashSet::new());
    for answer in answers {
        match answer.status() {
            StatusCode::OK => accepted.push(answer.json::<Value>().await.expect("JSON")),
            _ => drop(named.insert(assert_problem(answer, 409, "token_used").await["job_id"].clone())),
        }
    }
    let [accepted] = accepted.as_slice() else { panic!("one is accepted: {accepted:?}") };
    assert_eq!(named, HashSet::from([accepted["job_id"].clone()]));
    assert_eq!(app.ended(accepted).await["state"], "completed");
    assert_nothing_waits(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_uses_no_token_up() {
    let app = TestApp::start().await;
    let token = once("me", "token-1").sign();
    assert_problem(app.upload(&token, "a.jpg", b"no picture".to_vec()).await, 415, "unsupported_image").await;
    assert_nothing_is_left(&app).await;
    assert_eq!(app.upload(&token, "a.jpg", jpeg(40, 30, 1)).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_other_owners_and_other_ids_are_others() {
    let app = TestApp::start().await;
    for (sub, jti) in [("me", "token-1"), ("me", "token-2"), ("you", "token-1")] {
        let answer = app.upload(&once(sub, jti).sign(), "a.jpg", jpeg(40, 30, u32::from(jti.ends_with('2')))).await;
        assert_eq!(answer.status(), StatusCode::OK, "{sub} {jti}");
    }
    // Signed again with the same id, it is the same.
    let again = once("me", "token-1").with("iat", json!(crate::harness::token::now() - 5)).sign();
    assert_problem(app.upload(&again, "a.jpg", jpeg(40, 30, 9)).await, 409, "token_used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_upload_needs_a_jti() {
    let app = TestApp::start().await;
    let without = |jti: Value| once("me", "x").with("jti", jti).sign();
    for jti in [Value::Null, json!(""), json!(7), json!("x".repeat(257))] {
        let answer = app.upload(&without(jti.clone()), "a.jpg", jpeg(40, 30, 1)).await;
        let problem = assert_problem(answer, 422, "invalid_fields").await;
        assert_eq!(problem["errors"][0]["pointer"], "/jti", "{jti}");
    }
    assert_nothing_is_left(&app).await;
    let mut job = small_job();
    job["once"] = json!("yes");
    let answer = app.upload(&Claims::of("me").job(job).sign(), "a.jpg", jpeg(40, 30, 1)).await;
    assert_eq!(assert_problem(answer, 422, "invalid_fields").await["errors"][0]["pointer"], "/job/once");
    // One that is good for many needs none, and what it has for one counts for nothing.
    let many = Claims::of("me").job(small_job()).with("jti", json!("token-1")).sign();
    for seed in [2, 3] {
        assert_eq!(app.upload(&many, "a.jpg", jpeg(40, 30, seed)).await.status(), StatusCode::OK);
    }
}

//! A server that is paused, as one is that shows what a restored backup holds.

use reqwest::Method;
use serde_json::json;

use crate::harness::app::{TestApp, assert_problem, small_job};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_serves_and_answers_and_begins_nothing() {
    let mut app = TestApp::start().await;
    let done = app.done("me", small_job(), "a.jpg", jpeg(20, 20, 1)).await;
    let location = done["files"][0]["location"].clone();
    let slow =
        json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[400], [380]] } } });
    let waiting = app.accepted("me", slow, "b.jpg", jpeg(400, 400, 2)).await;

    app.set("PIXERVE_PAUSED", "true");
    app.restart().await;
    let health = app.get("/health").await;
    assert_eq!(health.status(), 200);
    let health: serde_json::Value = health.json().await.expect("JSON");
    assert_eq!((&health["paused"], &health["checks"]["workers"]["status"]), (&json!(true), &json!("ok")), "{health}");
    assert_eq!(health["checks"]["queue"]["pending"], 1, "what would come back to life: {health}");
    let token = Claims::of("me").job(small_job()).sign();
    let refused = app.upload(&token, "c.jpg", jpeg(20, 20, 3)).await;
    assert_problem(refused, 503, "paused").await;
    let refused = app.admin(Method::POST, "/register", Some(json!({ "user": "shop" }))).await;
    assert_problem(refused, 503, "paused").await;
    if let Some(location) = location.as_str() {
        assert!(!app.file(location).await.is_empty());
    }
    let status = app.get_json(waiting["status_url"].as_str().expect("a url")).await;
    assert_eq!(status["state"], "pending", "{status}");

    app.set("PIXERVE_PAUSED", "false");
    app.restart().await;
    assert_eq!(app.ended(&waiting).await["state"], "completed");
}

//! What every answer has.

use reqwest::Method;

use crate::harness::app::{TestApp, assert_problem};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_request_id_and_keeps_a_plain_one_of_a_proxy() {
    let app = TestApp::start().await;
    let ours = app.get("/version").await.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert_eq!(ours.len(), 36, "{ours}");
    let with = |id: &'static str| app.request(Method::GET, "/nothing").header("x-request-id", id).send();
    let kept = with("proxy-1.a_b").await.expect("an answer");
    assert_eq!(kept.headers()["x-request-id"], "proxy-1.a_b");
    let body = assert_problem(kept, 404, "not_found").await;
    assert_eq!(body["instance"], "urn:pixerve:request:proxy-1.a_b");
    let replaced = with("has spaces and \"quotes\"").await.expect("an answer");
    assert_eq!(replaced.headers()["x-request-id"].len(), 36);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_too() {
    let app = TestApp::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().expect("a client");
    let response = client.get(format!("http://{}/health", app.addr())).send().await.expect("an answer");
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

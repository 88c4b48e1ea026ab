//! Behind a proxy that shows the server under a path of its own.

use serde_json::Value;

use crate::harness::app::{TestApp, small_job};
use crate::harness::picture::jpeg;
use crate::harness::receiver::Receiver;

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_given_leads_through_the_proxy() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_PUBLIC_URL", "https://example.com/images/")]).await;
    let receiver = Receiver::start().await;
    let mut job = small_job();
    job["completionCallback"] = receiver.url.clone().into();
    let mut accepted = app.accepted("me", job, "a.jpg", jpeg(30, 20, 1)).await;
    let id = accepted["job_id"].as_str().expect("an id").to_owned();
    assert_eq!(accepted["status_url"], format!("/images/status?job_id={id}"));
    let name = accepted["expected_files"][0].as_str().expect("a name").to_owned();
    let location = format!("/images/files/{name}");
    // What the proxy asks.
    accepted["status_url"] = format!("/status?job_id={id}").into();
    let status = app.ended(&accepted).await;
    assert_eq!(status["files"][0]["stored"][0]["location"], location);
    let record: Value = app.get(&format!("/success?job_id={id}")).await.json().await.expect("JSON");
    assert_eq!(record["files"][0]["stored"][0]["location"], location);
    let told = receiver.call().await.body;
    assert_eq!(told["files"][0]["stored"][0]["location"], location);
    // The server itself knows nothing of the path: the proxy takes it away.
    assert_eq!(app.get(&format!("/files/{name}")).await.status(), 200);
}

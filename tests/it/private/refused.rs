//! Jobs that can't be private.

use serde_json::json;

use super::home::{PrivateHome, private_job};
use crate::harness::app::{TestApp, assert_problem};
use crate::harness::picture::jpeg;
use crate::harness::token::Claims;

every_home! { what_this_server_does_not_serve_alone_is_not_private }

async fn refused_at_private(app: &TestApp, job: serde_json::Value) -> String {
    let answer = app.upload(&Claims::of("ann").job(job).sign(), "cat.jpg", jpeg(8, 8, 1)).await;
    let problem = assert_problem(answer, 422, "invalid_fields").await;
    let errors = problem["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 1, "{problem}");
    assert_eq!(errors[0]["pointer"], "/job/private", "{problem}");
    errors[0]["detail"].as_str().expect("text").to_owned()
}

async fn what_this_server_does_not_serve_alone_is_not_private(home: PrivateHome) {
    let app = home.start(&[]).await;
    let store = app.register(crate::harness::stores::dead_store()).await;
    let mut with_store = private_job();
    with_store["storageKeys"] = json!({ "s3": store });
    assert!(refused_at_private(&app, with_store.clone()).await.contains("storageKeys"));
    with_store["directHost"] = json!(false);
    assert!(refused_at_private(&app, with_store).await.contains("directHost"));
    let mut nowhere = private_job();
    nowhere["directHost"] = json!(null);
    assert!(refused_at_private(&app, nowhere).await.contains("directHost"));
    assert!(home.private(&app).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_a_private_directory_that_they_share_say_so_and_serve_all_else() {
    let Some(home) = PrivateHome::shared_directory().await else { return };
    // The default is a directory of each node's own.
    let app = home.start(&[("PIXERVE_PRIVATE_DIR", "./private")]).await;
    let detail = refused_at_private(&app, private_job()).await;
    assert!(detail.contains("PIXERVE_PRIVATE_DIR"), "{detail}");
    let done = app.done("ann", crate::harness::app::small_job(), "cat.jpg", jpeg(32, 24, 1)).await;
    assert_eq!(done["state"], "completed");
    let answer = super::home::get(&app, &super::home::reading(&Claims::of("ann"), "/"), "/private/0/a.jpg").await;
    assert_problem(answer, 404, "not_found").await;
    let health = app.get_json("/health").await;
    assert!(health["checks"]["disk"]["private"].is_null(), "{health}");
}

//! `/docs` in a real browser: everything that is described is shown, and nothing comes from elsewhere.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::browser::Browser;
use crate::harness::described::Described;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_all_that_is_described_and_asks_nobody_else() {
    let Some(browser) = Browser::find() else { return };
    let app = TestApp::start().await;
    let described = Described::of(&app).await;
    let base = format!("http://{}", app.addr());
    let seen = browser.drive(include_str!("docs.mjs"), json!({ "base": base })).await;

    let requests: Vec<String> = serde_json::from_value(seen["requests"].clone()).expect("addresses");
    let asked: BTreeSet<_> = requests.iter().map(|url| url.strip_prefix(&base).unwrap_or(url)).collect();
    assert_eq!(asked, ["/docs", "/docs/script.js", "/docs/style.css", "/openapi.json"].into(), "{asked:?}");
    // The intruder of the test itself is the one that is kept out.
    let errors: Vec<String> = serde_json::from_value(seen["errors"].clone()).expect("texts");
    assert!(errors.iter().all(|error| error.contains("inline script")) && errors.len() == 1, "{errors:?}");
    assert_eq!(seen["inline"], json!(false));

    let operations = |paths: &Value| -> Vec<String> {
        let items =
            paths.as_object().expect("paths").values().flat_map(|item| item.as_object().expect("an item").values());
        items.filter_map(|operation| operation["operationId"].as_str()).map(str::to_owned).collect()
    };
    let document = described.document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas").keys();
    let mut expected: BTreeSet<_> = schemas.map(|name| format!("schema-{name}")).collect();
    expected.extend(operations(&document["paths"]));
    expected.extend(operations(&document["webhooks"]));
    let shown: Vec<String> = serde_json::from_value(seen["shown"]["sections"].clone()).expect("ids");
    assert_eq!(shown.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(shown.len(), expected.len(), "none twice");
    assert_eq!(seen["shown"]["links"].as_array().expect("links").len(), expected.len());
    assert_eq!(seen["shown"]["dangling"], json!([]));
    assert_eq!(seen["shown"]["job"], json!(true), "the page is where its address says");
    let upload = seen["shown"]["upload"].as_str().expect("text");
    for part in ["/upload", "multipart/form-data", "duplicate_job"] {
        assert!(upload.contains(part), "{part}: {upload}");
    }

    assert_eq!(seen["found"], json!(["cancel", "schema-ProblemCode"]), "what mentions it");
    assert_eq!(seen["all"].as_u64(), u64::try_from(expected.len()).ok());
    assert!(
        seen["overflow"].as_i64().is_some_and(|pixels| pixels <= 0),
        "on a phone nothing is cut off: {}",
        seen["overflow"]
    );
}

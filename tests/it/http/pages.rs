//! Pages of another origin, in a real browser: what they upload by themselves and by the libraries that people use.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;
use crate::harness::process::reserve_port;
use crate::harness::token::Claims;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_uploads_watches_and_draws_with_fetch_uppy_filepond_and_dropzone() {
    let Some(browser) = Browser::find() else { return };
    let page = reserve_port();
    let app = TestApp::start_with(&[("PIXERVE_SERVER_CORS_ORIGINS", &format!("http://{page}"))]).await;
    let job = json!({ "directHost": true, "subDir": "page", "formats": { "jpg": { "sizes": [[64]] }, "webp": { "sizes": [[32]] } } });
    let pictures: Vec<_> = (0..4).map(|seed| STANDARD.encode(jpeg(90, 60, seed))).collect();
    let order = json!({
        "base": format!("http://{}", app.addr()),
        "port": page.port(),
        "token": Claims::of("visitor").job(job).sign(),
        "pictures": pictures,
    });
    let seen = browser.drive(include_str!("pages.mjs"), order).await;

    for by in ["fetch", "uppy", "filepond", "dropzone"] {
        let answer = &seen[by];
        assert!(answer["job_id"].is_string(), "{by}: {answer}\n{seen}");
        assert_eq!(app.ended(answer).await["state"], "completed", "{by}");
    }
    let watched = &seen["watched"];
    assert_eq!(watched["end"]["state"], "completed", "{watched}");
    let statuses = watched["statuses"].as_u64().expect("a number");
    assert!(statuses >= 1 && watched["closed"] == json!(true), "{watched}");
    assert_eq!(seen["drawn"]["tainted"], json!(false), "{seen}");
    let [r, g, b, a]: [u8; 4] = serde_json::from_value(seen["drawn"]["pixel"].clone()).expect("a pixel");
    assert!(a == 255 && [r, g, b] != [0; 3], "it is a picture: {seen}");
    assert_eq!(seen["limits"]["upload"]["parts_max"], json!(8), "{seen}");
    for (what, status, code) in [
        ("bad_token", 401, "unauthorized"),
        ("no_picture", 415, "unsupported_image"),
        ("nothing_there", 404, "not_found"),
    ] {
        let refused = &seen[what];
        assert_eq!((&refused["status"], &refused["code"]), (&json!(status), &json!(code)), "{what}: {seen}");
    }
    // What is an operator's is no page's.
    assert_eq!(seen["register"], Value::Null, "{seen}");
    assert_eq!(seen["errors"], json!([]), "{seen}");
}

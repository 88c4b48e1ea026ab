//! The guest book: a form in PHP, in a Chromium without JavaScript.

use serde_json::json;

use super::Workshop;
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;
use crate::harness::tool::{Tool, program, require};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_without_javascript_sends_a_picture_and_sees_it() {
    let (Some(browser), Some(php)) = (Browser::find(), require(Tool::Php, program("php"))) else { return };
    let workshop = Workshop::open().await;
    workshop.put("form.php", include_str!("form.php"));
    let photo = workshop.put("me & you.jpg", jpeg(900, 600, 1));
    let no_photo = workshop.put("no photo.jpg", "nothing");
    let cut = &jpeg(900, 600, 2)[..20_000];
    let cut = workshop.put("cut.jpg", cut);
    let mut server = workshop.run(php);
    server.args(["-S", &workshop.page.to_string(), "form.php"]);
    let _guest_book = workshop.serve(server).await;
    let order = json!({ "form": format!("http://localhost:{}/", workshop.page.port()), "photo": photo, "no_photo": no_photo, "cut": cut });
    let seen = browser.drive(include_str!("form_visit.mjs"), order).await;

    assert_eq!(seen["picture"], json!([300, 200]), "{seen}");
    assert_eq!(seen["again"], json!([300, 200]), "the same picture, sent again: {seen}");
    assert_eq!(seen["refused"], "That didn't work: unsupported_image", "{seen}");
    assert!(seen["failed"].as_str().is_some_and(|told| told.contains("truncated")), "{seen}");
}

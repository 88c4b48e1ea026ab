//! The README's pieces, put together: pages in Chromium, a backend in Node.

use serde_json::{Value, json};

use super::{Workshop, node_modules};
use crate::harness::app::small_job;
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;

/// What `pieces.mjs` runs.
pub(super) const RUN: [&str; 7] =
    ["token.mjs", "upload.js", "send.mjs", "form.html", "receiver.mjs", "withdraw.mjs", "hash.mjs"];

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_pieces_make_an_app() {
    let (Some(browser), Some(libraries)) = (Browser::find(), node_modules()) else { return };
    let workshop = Workshop::open().await;
    workshop.install(&libraries);
    for name in RUN {
        workshop.put(name, workshop.adapted(name));
    }
    let photos: Vec<_> =
        [1, 2, 3, 4].map(|seed| workshop.put(&format!("photo {seed}.jpg"), jpeg(900, 600, seed))).into();
    let subs = ["user-123", "a@example.com", "ä", &"x".repeat(64), &"x".repeat(65)];
    let order = json!({
        "workshop": workshop.home.root(), "port": workshop.page.port(), "base": workshop.base(), "photos": photos, "subs": subs,
    });
    let seen = browser.drive(include_str!("pieces.mjs"), order).await;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text: {seen}")).to_owned();

    // In the page: an upload, a refusal, and another picture in place of the first.
    assert_eq!((&seen["first"]["ref"], &seen["told_of_first"]["job_id"]), (&json!("lamp"), &seen["first"]["job_id"]));
    assert_eq!(seen["told_of_first"]["files"].as_array().map(Vec::len), Some(3), "{seen}");
    assert!(text(&seen["refused"]).contains("image"), "{seen}");
    assert_eq!(seen["told_of_second"]["job_id"], seen["second"]["job_id"], "{seen}");
    assert_ne!(seen["first"]["expected_files"], seen["second"]["expected_files"]);
    assert_eq!(
        seen["addresses"],
        json!([200, 200, 200, 200, 200, 200]),
        "of the first picture and of the second: {seen}"
    );

    // A backend whose connection breaks before it has read the answer, and one that sends what it has sent.
    assert_eq!(seen["requests_of_sent"], json!(2), "{seen}");
    assert_eq!((&seen["sent"], &seen["sent_again"]), (&seen["lost"], &seen["lost"]), "{seen}");
    assert!(text(&seen["not_sent"]).contains("image"), "{seen}");

    // A form, in a browser without JavaScript.
    let back = text(&seen["form"]);
    let query = format!(
        "{}/back?job_id=",
        workshop.base().replace(&workshop.home.addr.port().to_string(), &workshop.page.port().to_string())
    );
    assert!(back.starts_with(&query) && back.ends_with("&state=accepted"), "{back}");
    assert!(text(&seen["refused_form"]).ends_with("/back?code=unsupported_image"), "{seen}");

    // The receiver.
    assert_eq!(seen["unsigned"], json!([401, 401]), "{seen}");
    assert_eq!(seen["orders"], json!(48), "each order, once and with everything twice: {seen}");
    assert_eq!(seen["wrong_orders"], json!([]));
    assert_eq!(seen["files_of_a_job_under_way"], json!(1), "one that was told twice: {seen}");

    // To withdraw a picture that is done, and one that is being made.
    assert_eq!(seen["left"].as_array().map(Vec::len), Some(3), "{seen}");
    for place in seen["left"].as_array().expect("places") {
        let location = text(&place["location"]);
        let path = workshop.home.serve_dir().join(location.strip_prefix("/files/").expect(&location));
        assert!(path.is_file(), "{} is where the README says", path.display());
    }
    assert_eq!(
        (&seen["cancelled"]["state"], &seen["nothing_to_withdraw"]),
        (&json!("cancelled"), &json!([])),
        "{seen}"
    );

    // And hashes.
    assert_eq!(seen["hash_of_first"], seen["first"]["hash"]);
    for (sub, hash) in subs.iter().zip(seen["hashes"].as_array().expect("hashes")) {
        let accepted = workshop.server.accepted(sub, small_job(), "a.jpg", jpeg(900, 600, 1)).await;
        assert_eq!(&accepted["hash"], hash, "of {sub:?}");
    }
}

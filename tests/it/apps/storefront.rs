//! The storefront: prints with several photos each, a close-up and a receipt that nobody else sees, in Chromium.
//!
//! `PIXERVE_TEST_PHOTOS=DIR` has it sell those photos instead of painted ones, at least six, and
//! `PIXERVE_TEST_SCREENSHOTS=DIR` keeps what was seen. What was asked of the server and how many bytes came is printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Workshop, node_modules};
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::browser::Browser;
use crate::harness::picture::jpeg;

const PRINTS: usize = 6;

/// Gives each print its photos, and says how many.
fn stock(workshop: &Workshop, own: Option<PathBuf>) -> usize {
    let Some(directory) = own else {
        for print in 1..=PRINTS {
            // One is looked at closely.
            let first = if print == 2 { (1600, 1200) } else { (800, 600) };
            for (number, (width, height)) in [first, (600, 800)].into_iter().enumerate() {
                let seed = u32::try_from(print * 31 + number * 7).expect("small");
                workshop.put(&format!("photos/{print}/{number}.jpg"), jpeg(width, height, seed));
            }
        }
        return 2;
    };
    let entries = fs::read_dir(&directory).expect("a directory");
    let mut photos: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    photos.sort();
    let each = photos.len() / PRINTS;
    assert!(each > 0, "{} has a photo of each print", directory.display());
    for (print, photos) in (1..=PRINTS).zip(photos.chunks(each)) {
        for photo in photos {
            let name = photo.file_name().expect("a name").to_string_lossy();
            workshop.put(&format!("photos/{print}/{name}"), fs::read(photo).expect("a photo"));
        }
    }
    each
}

/// Waits until the shop has been told of all its photos.
async fn opened(workshop: &Workshop, photos: usize) {
    for print in 1..=PRINTS {
        for number in 1..=photos {
            let page = format!("http://{}/prints/{print}?photo={number}", workshop.page);
            let started = Instant::now();
            while reqwest::get(&page).await.expect("an answer").status() != 200 {
                assert!(started.elapsed() < WAIT_MAX, "photo {number} of print {print} is not there");
                poll_delay().await;
            }
        }
    }
}

/// What was asked of the server, and how many bytes of pictures came.
fn amount(asked: &Value) -> (usize, u64) {
    let asked = asked.as_array().expect("requests");
    (asked.len(), asked.iter().map(|one| one["bytes"].as_u64().expect("a number")).sum())
}

/// Each was asked for once, and came.
fn assert_once_each(asked: &Value) {
    let all = asked.as_array().expect("requests");
    let paths: BTreeSet<_> = all.iter().map(|one| one["path"].as_str().expect("a path")).collect();
    assert_eq!(paths.len(), all.len(), "nothing comes twice: {asked}");
    assert!(all.iter().all(|one| one["status"] == 200), "{asked}");
}

fn types(asked: &Value) -> BTreeSet<&str> {
    asked.as_array().expect("requests").iter().map(|one| one["type"].as_str().expect("a type")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_of_pictures_shows_each_once_moves_nothing_and_asks_for_nothing_that_it_has() {
    let (Some(browser), Some(libraries)) = (Browser::find(), node_modules()) else { return };
    let workshop = Workshop::open_behind_a_gate().await;
    workshop.install(&libraries);
    workshop.install_thumbhash();
    // As quickly as it can: how pictures are made is no matter here.
    let preset = workshop.adapted("preset.sh").replace(r#""avif": {}"#, r#""avif": {"settings": {"speed": 10}}"#);
    workshop.run_bash(&preset);
    workshop.put("store.mjs", include_str!("storefront/store.mjs"));
    workshop.put("page.js", include_str!("storefront/page.js"));
    workshop.put("page.css", include_str!("storefront/page.css"));
    let own = std::env::var_os("PIXERVE_TEST_PHOTOS").map(PathBuf::from);
    let has_own = own.is_some();
    let photos = stock(&workshop, own);
    let mut node = workshop.run("node");
    node.arg("store.mjs");
    let _store = workshop.serve(node).await;
    opened(&workshop, photos).await;
    let screenshots = std::env::var_os("PIXERVE_TEST_SCREENSHOTS");
    let screenshots = screenshots.map(|directory| Path::new(env!("CARGO_MANIFEST_DIR")).join(directory));
    let order = json!({
        "shop": format!("http://localhost:{}", workshop.page.port()), "base": workshop.base(),
        "receipt": workshop.put("receipt.jpg", jpeg(1200, 900, 99)), "screenshots": screenshots,
    });
    let seen = browser.drive(include_str!("storefront/visit.mjs"), order).await;
    assert_eq!(seen["errors"], json!([]));

    for (width, screen) in seen["screens"].as_object().expect("screens") {
        for page in ["shelf", "detail"] {
            let (of, name) = (&screen[page], format!("{page} at {width}"));
            let (requests, bytes) = amount(&of["cold"]);
            println!(
                "{name}: {} pictures; cold {requests} requests, {bytes} bytes; warm {}",
                of["pictures"],
                amount(&of["warm"]).0
            );
            assert_eq!((&of["moved"], &of["moved_warm"]), (&json!([]), &json!([])), "{name}");
            assert_once_each(&of["cold"]);
            assert_eq!(types(&of["cold"]), ["image/avif"].into(), "{name}");
            assert_eq!(of["warm"], json!([]), "{name}: all of it is in the cache");
            assert_eq!(of["left_over"], 0, "{name}: nothing shows through pictures");
        }
        assert_eq!(amount(&screen["shelf"]["cold"]).0, PRINTS * photos, "every photo at {width}");
        let close_up = &screen["close_up"];
        assert_once_each(&close_up["asked"]);
        if !has_own {
            assert_eq!(amount(&close_up["asked"]).0, 1, "a wider file than the page's: {close_up}");
            assert!(close_up["shown"].as_str().is_some_and(|shown| shown.ends_with("_0_1600_.avif")), "{close_up}");
        }
        assert_eq!(close_up["closed"], true);
        assert!(close_up["near"].as_f64() > close_up["whole"].as_f64(), "{close_up}");
        let middle = close_up["middle"].as_f64().expect("a share");
        assert!((middle - 0.5).abs() < 0.01, "what is clicked on stays where it is: {middle}");
        assert_eq!(screen["order"]["moved"], json!([]), "at {width}");
        assert_once_each(&screen["order"]["cold"]);
        assert_eq!(screen["order"]["warm"], json!([]), "at {width}");
    }

    let far = json!({ "before": 0, "after": PRINTS * photos });
    assert_eq!(seen["far"], far, "nothing is loaded before it is near");

    // By what they know, in the elements and at the one address.
    for (formats, known) in seen["formats"].as_array().expect("browsers").iter().zip([
        &["image/avif", "image/webp", "image/jpeg"][..],
        &["image/webp", "image/jpeg"],
        &["image/jpeg"],
    ]) {
        for page in ["shelf", "detail"] {
            assert_eq!(types(&formats[page]), [known[0]].into(), "{page}: {known:?}");
        }
        // The one address sends whichever has the fewest bytes.
        let sent = types(&formats["order"]);
        assert!(
            !sent.is_empty() && sent.iter().all(|sent| known.contains(sent)),
            "{sent:?} to one that knows {known:?}"
        );
    }

    let receipt = &seen["receipt"];
    assert_eq!(receipt["natural"], json!([800, 600]), "{receipt}");
    assert_eq!((&receipt["without"], &receipt["as_public"]), (&json!(401), &json!(404)), "{receipt}");
    assert_eq!(receipt["cached"], "private, max-age=300", "{receipt}");
    assert!(receipt["address"].as_str().is_some_and(|address| address.contains("/private/")), "{receipt}");
}

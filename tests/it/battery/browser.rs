//! What a real browser makes of what is served: pictures, and never anything else.
//!
//! One browser for all of it, driven by `browser.mjs`. `.ci/browser.sh target/test-servers` installs Chromium and what
//! drives it.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::json;

use super::bad_input::polyglot_files::{Polyglot, polyglots};
use super::figure;
use crate::harness::app::TestApp;
use crate::harness::browser::Browser;

/// A colour for each quarter.
const QUARTERS: [[u8; 3]; 4] = [[230, 20, 20], [20, 200, 20], [20, 20, 230], [240, 240, 240]];

fn quarters(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb(QUARTERS[usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("encodes");
    bytes.into_inner()
}

/// Uploads it and keeps it as it is: where it is served.
async fn kept(app: &TestApp, polyglot: &Polyglot) -> String {
    let job = json!({ "directHost": true, "keepOriginal": true, "subDir": "browser" });
    let done = app.done(&polyglot.what.replace(' ', "-"), job, "a.html", polyglot.bytes.clone()).await;
    done["files"][0]["stored"][0]["location"].as_str().expect("a location").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_pictures_and_runs_nothing() {
    // The first of each format, and of those that are scripts.
    let mut kinds = BTreeSet::new();
    open(|polyglot| kinds.insert((polyglot.extension, kind(polyglot)))).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make battery"]
async fn a_browser_runs_nothing_of_any_polyglot() {
    open(|_| true).await;
}

/// What a careless server would have the browser take it for.
fn kind(polyglot: &Polyglot) -> &'static str {
    if polyglot.what.contains("JavaScript") { "script" } else { "html" }
}

/// Opens these in a browser, in every way there is, and shows it what is made of a picture.
async fn open(mut which: impl FnMut(&Polyglot) -> bool) {
    let Some(browser) = Browser::find() else { return };
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let mut all = polyglots(&app).await;
    all.retain(|polyglot| which(polyglot));
    let mut files = Vec::new();
    for polyglot in &all {
        let path = kept(&app, polyglot).await;
        files.push(json!({ "what": polyglot.what, "path": path, "kind": kind(polyglot), "bytes": STANDARD.encode(&polyglot.bytes) }));
    }
    let sizes = json!({ "sizes": [[0, 0], [40, 0]] });
    let job = json!({ "directHost": true, "formats": { "jpg": sizes, "png": sizes, "webp": sizes, "avif": sizes } });
    let done = app.done("me", job, "a.png", quarters(64, 48)).await;
    let pictures = done["files"].as_array().expect("files");
    let paths: Vec<_> = pictures.iter().map(|file| file["stored"][0]["location"].clone()).collect();

    let base = format!("http://{}", app.addr());
    let order = json!({ "base": base, "files": files, "pictures": paths });
    let seen = browser.drive(include_str!("browser.mjs"), order).await;

    // What is hidden is alive: a careless server would have it run. What is deflated is not, until somebody inflates it.
    let careless = seen["careless"].as_array().expect("a list");
    let alive: Vec<_> = careless.iter().filter(|one| one["signs"].as_array().is_some_and(|s| !s.is_empty())).collect();
    let dead =
        careless.iter().filter(|one| one["signs"] == json!([])).map(|one| one["what"].clone()).collect::<Vec<_>>();
    let lifeless = ["PNG and deflated PHP", "PNG and a deflated profile", "PNG and colours that spell it"];
    assert!(
        dead.iter().all(|what| lifeless.iter().any(|known| what == known)),
        "all others run where they may: {dead:?}"
    );
    assert!(alive.len() >= 8);
    assert!(seen["asked"].to_string().contains("canary"), "and asked for something: {}", seen["asked"]);

    let served = seen["served"].as_array().expect("a list");
    for one in served {
        assert_eq!(one["signs"], json!([]), "{one}");
        assert_ne!(one["outcome"], "RAN", "{one}");
        let how = one["how"].as_str().expect("text");
        if ["script", "import", "worker", "module", "service"].iter().any(|code| how.starts_with(code)) {
            assert_ne!(one["outcome"], "load", "{one}");
        }
    }
    assert!(served.len() > all.len() * 11, "{}", served.len());
    assert_eq!(seen["stray"], json!([]), "nothing else was asked for anything");

    for (file, picture) in pictures.iter().zip(seen["pictures"].as_array().expect("a list")) {
        let shown = &picture["shown"];
        assert_eq!((&shown["width"], &shown["height"]), (&file["width"], &file["height"]), "{picture}");
        for (colour, meant) in shown["colours"].as_array().expect("colours").iter().zip(QUARTERS) {
            let colour: Vec<u64> = serde_json::from_value(colour.clone()).expect("samples");
            let apart = colour.iter().zip(meant).map(|(a, b)| a.abs_diff(u64::from(b))).max().expect("samples");
            assert!(apart <= 16 && colour[3] == 255, "{colour:?} instead of {meant:?}: {picture}");
        }
    }
    figure(
        "browser",
        format!(
            "{} polyglots, {} of them alive on a careless server, opened {} times in 11 ways: 0 scripts, dialogs or requests; \
             {} variants of 4 formats shown in their size and colours",
            all.len(),
            alive.len(),
            served.len(),
            pictures.len(),
        ),
    );
}

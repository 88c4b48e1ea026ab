//! Files that are a picture and something else. What is made of them is a picture alone; what is kept of them is served
//! so that nobody takes it for anything else. That browsers agree is in `crate::battery::browser`.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::polyglot_files::{MARK, Polyglot, polyglots};
use super::{assert_spool_is_empty, assert_still_works, figure};
use crate::harness::app::TestApp;

/// What no variant may contain. The words of a credit go along, its brackets don't.
const FORBIDDEN: [&[u8]; 7] = [MARK.as_bytes(), b"<script", b"<?php", b"<svg", b"<html", b"javascript:", b"PK\x03\x04"];

async fn variants_of(app: &TestApp, polyglot: &Polyglot) -> usize {
    let Polyglot { what, extension, media_type, bytes } = polyglot;
    let sizes = json!({ "sizes": [[0, 0], [12]], "settings": { "speed": 10 } });
    let lossless = json!({ "sizes": [[0, 0], [12]], "settings": { "speed": 10, "quality": 100 } });
    let job = json!({
        "directHost": true, "keepOriginal": true, "subDir": "poly",
        "formats": { "jpg": sizes, "png": lossless, "webp": lossless, "avif": sizes }
    });
    let done = app.done(&what.replace(' ', "-"), job, "<script>alert(1)</script>.html", bytes.clone()).await;
    assert_eq!(done["state"], "completed", "{what}: {done}");
    let files = done["files"].as_array().expect("files");
    for file in files {
        let location = file["stored"][0]["location"].as_str().expect("a location");
        let response = app.get(location).await;
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{what}: {location}");
        assert_eq!(header("content-security-policy").as_deref(), Some("default-src 'none'; sandbox"), "{what}");
        let (kind, attached) = (header("content-type").expect("a type"), header("content-disposition"));
        let served = response.bytes().await.expect("a body");
        let is_original = !location.contains("_0_0_.") && !location.contains("_12_12_.");
        if is_original {
            assert_eq!(kind, *media_type, "{what}");
            assert!(location.ends_with(&format!(".{extension}")), "{what}: {location}");
            assert_eq!(attached.is_some(), ["tiff", "bmp"].contains(extension), "{what}");
            assert_eq!(served, bytes, "{what}: kept as it came");
            continue;
        }
        for marker in FORBIDDEN {
            let found = served.windows(marker.len()).position(|w| w.eq_ignore_ascii_case(marker));
            assert_eq!(found, None, "{what}: {location} holds {}", String::from_utf8_lossy(marker));
        }
    }
    assert!(!done["files"].to_string().contains('<'), "{done}");
    files.len() - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_picture_survives_and_the_original_is_served_as_one() {
    let app = TestApp::start_with(&[("PIXERVE_SERVER_RATE_PER_USER", "0")]).await;
    let files = polyglots(&app).await;
    for polyglot in &files {
        let marked = polyglot.bytes.windows(MARK.len()).any(|w| w == MARK.as_bytes());
        assert!(marked || polyglot.what.contains("deflated"), "{} carries the marker", polyglot.what);
    }
    let variants: Vec<usize> = stream::iter(&files).map(|p| variants_of(&app, p)).buffer_unordered(2).collect().await;
    assert_still_works(&app, 10).await;
    assert_spool_is_empty(&app.data_dir()).await;
    let lists: Value = app.admin(reqwest::Method::GET, "/success/list", None).await.json().await.expect("JSON");
    assert!(!lists.to_string().contains("<script"), "nor do records hold the file's name as it came");
    figure(format!(
        "{} polyglots, {} variants: no marker in any; each original served as what it is, nosniff and sandboxed",
        files.len(),
        variants.iter().sum::<usize>(),
    ));
}

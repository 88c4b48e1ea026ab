//! Every format in every size and fit, from the upload to the stored file's own pixels.

use image::ImageFormat;
use serde_json::{Value, json};

use crate::harness::app::TestApp;
use crate::harness::picture::png;

type Size = (u32, u32);

/// Boxes as a job writes them.
const BOXES: [&str; 6] = ["[48,36]", "[30]", "[40,0]", "[0,20]", "[200,100]", "[48,100]"];

/// What a picture of 90 x 60 becomes in each of [`BOXES`].
const LANDSCAPE: [(&str, [Size; 6]); 5] = [
    ("inside", [(48, 32), (30, 20), (40, 27), (30, 20), (90, 60), (48, 32)]),
    ("outside", [(54, 36), (45, 30), (40, 27), (30, 20), (90, 60), (90, 60)]),
    ("cover", [(48, 36), (30, 30), (40, 27), (30, 20), (90, 60), (48, 60)]),
    ("contain", [(48, 36), (30, 30), (40, 27), (30, 20), (200, 100), (48, 100)]),
    ("fill", [(48, 36), (30, 30), (40, 27), (30, 20), (90, 60), (48, 60)]),
];

/// The same for 31 x 77.
const PORTRAIT: [(&str, [Size; 6]); 5] = [
    ("inside", [(14, 36), (12, 30), (31, 77), (8, 20), (31, 77), (31, 77)]),
    ("outside", [(31, 77), (30, 75), (31, 77), (8, 20), (31, 77), (31, 77)]),
    ("cover", [(31, 36), (30, 30), (31, 77), (8, 20), (31, 77), (31, 77)]),
    ("contain", [(48, 36), (30, 30), (31, 77), (8, 20), (200, 100), (48, 100)]),
    ("fill", [(31, 36), (30, 30), (31, 77), (8, 20), (31, 77), (31, 77)]),
];

/// The same for 90 x 60 with `enlarge`.
const ENLARGED: [(&str, [Size; 6]); 5] = [
    ("inside", [(48, 32), (30, 20), (40, 27), (30, 20), (150, 100), (48, 32)]),
    ("outside", [(54, 36), (45, 30), (40, 27), (30, 20), (200, 133), (150, 100)]),
    ("cover", [(48, 36), (30, 30), (40, 27), (30, 20), (200, 100), (48, 100)]),
    ("contain", [(48, 36), (30, 30), (40, 27), (30, 20), (200, 100), (48, 100)]),
    ("fill", [(48, 36), (30, 30), (40, 27), (30, 20), (200, 100), (48, 100)]),
];

const FORMATS: [(&str, ImageFormat); 3] =
    [("jpg", ImageFormat::Jpeg), ("png", ImageFormat::Png), ("webp", ImageFormat::WebP)];

fn boxes() -> Vec<Value> {
    BOXES.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

fn files(status: &Value) -> &[Value] {
    assert_eq!(status["state"], "completed", "{status}");
    status["files"].as_array().expect("files")
}

/// The file's bytes.
async fn stored(app: &TestApp, file: &Value) -> Vec<u8> {
    app.file(file["stored"][0]["location"].as_str().expect("a location")).await
}

/// Asserts what a stored file is by its own bytes and by its record.
async fn assert_is(app: &TestApp, file: &Value, (name, format): (&str, ImageFormat), size: Size, context: &str) {
    let bytes = stored(app, file).await;
    assert_eq!(image::guess_format(&bytes).ok(), Some(format), "{context}");
    let picture = image::load_from_memory_with_format(&bytes, format).expect("it decodes");
    assert_eq!((picture.width(), picture.height()), size, "{context}");
    assert_eq!(
        (&file["format"], &file["width"], &file["height"]),
        (&json!(name), &json!(size.0), &json!(size.1)),
        "{context}"
    );
}

/// One job a fit: all formats, all boxes.
async fn assert_sizes(source: Size, enlarge: bool, table: &[(&str, [Size; 6]); 5]) {
    let app = TestApp::start().await;
    let bytes = png(source.0, source.1, 7);
    for (fit, sizes) in table {
        let format = json!({ "sizes": boxes(), "settings": { "speed": 10 } });
        let job = json!({
            "directHost": true, "fit": fit, "enlarge": enlarge,
            "formats": { "jpg": format, "png": format, "webp": format }
        });
        let status = app.done(fit, job, "a.png", bytes.clone()).await;
        let files = files(&status);
        assert_eq!(files.len(), FORMATS.len() * BOXES.len());
        for (of_format, format) in files.chunks(BOXES.len()).zip(FORMATS) {
            for ((file, text), size) in of_format.iter().zip(BOXES).zip(sizes) {
                assert_is(&app, file, format, *size, &format!("{source:?} {fit} {text} as {}", format.0)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landscape_gets_every_size_in_every_fit_and_format() {
    assert_sizes((90, 60), false, &LANDSCAPE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portrait_gets_every_size_in_every_fit_and_format() {
    assert_sizes((31, 77), false, &PORTRAIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_picture_grows_only_when_asked_to() {
    assert_sizes((90, 60), true, &ENLARGED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sizes_and_a_free_box_keep_the_sources_size() {
    let app = TestApp::start().await;
    let free = json!({ "sizes": [[0, 0]] });
    for (sub, format) in [("no-sizes", json!({})), ("free-box", free)] {
        for fit in ["inside", "outside", "cover", "contain", "fill"] {
            let formats = json!({ "jpg": format, "png": format, "webp": format });
            let job = json!({ "directHost": true, "fit": fit, "formats": formats });
            let status = app.done(&format!("{sub}-{fit}"), job, "a.png", png(33, 21, 7)).await;
            assert_eq!(files(&status).len(), 3);
            for (file, format) in files(&status).iter().zip(FORMATS) {
                assert_is(&app, file, format, (33, 21), sub).await;
                let name = file["name"].as_str().expect("a name");
                assert!(name.ends_with(&format!("_a_0_0_.{}", format.0)), "{name}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn avif_gets_its_sizes_too() {
    let app = TestApp::start().await;
    let expected =
        [("[12,12]", (12, 8)), ("[9]", (9, 6)), ("[6,0]", (6, 4)), ("[0,10]", (15, 10)), ("[0,0]", (24, 16))];
    let sizes: Vec<Value> = expected.iter().map(|(text, _)| serde_json::from_str(text).expect("JSON")).collect();
    let job = json!({ "directHost": true, "formats": { "avif": { "sizes": sizes, "settings": { "speed": 10 } } } });
    let status = app.done("me", job, "a.png", png(24, 16, 7)).await;
    assert_eq!(files(&status).len(), expected.len());
    for (file, (text, size)) in files(&status).iter().zip(expected) {
        assert_eq!(
            (&file["format"], &file["width"], &file["height"]),
            (&json!("avif"), &json!(size.0), &json!(size.1)),
            "{text}"
        );
        let bytes = stored(&app, file).await;
        assert_eq!(&bytes[4..12], b"ftypavif", "{text}");
        assert_eq!(spatial_extents(&bytes), size, "{text}");
    }
}

/// The first `ispe` box of an AVIF file (ISO/IEC 23008-12): after its type, version and flags, the width and the height.
fn spatial_extents(bytes: &[u8]) -> Size {
    let at = bytes.windows(4).position(|window| window == b"ispe").expect("an ispe box") + 8;
    let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (side(at), side(at + 4))
}

//! Whichever way a camera was held, what is stored is upright.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::harness::app::TestApp;

const WIDTH: u32 = 64;
const HEIGHT: u32 = 32;

/// The picture as it is meant to be seen: every quarter has a colour of its own.
fn upright(x: u32, y: u32) -> Rgb<u8> {
    match (x < WIDTH / 2, y < HEIGHT / 2) {
        (true, true) => Rgb([230, 20, 20]),
        (false, true) => Rgb([20, 230, 20]),
        (true, false) => Rgb([20, 20, 230]),
        (false, false) => Rgb([240, 240, 240]),
    }
}

/// Where the pixel in this row and column of the file belongs. The EXIF standard defines an orientation by the sides
/// of the scene that are in row 0 and column 0 of the file.
fn place(orientation: u16, row: u32, column: u32) -> (u32, u32) {
    let (right, bottom) = (WIDTH - 1, HEIGHT - 1);
    match orientation {
        1 => (column, row),
        2 => (right - column, row),
        3 => (right - column, bottom - row),
        4 => (column, bottom - row),
        5 => (row, column),
        6 => (right - row, column),
        7 => (right - row, bottom - column),
        8 => (row, bottom - column),
        other => panic!("there is no orientation {other}"),
    }
}

/// A JPEG whose file holds the scene the way a camera in this orientation writes it.
fn taken(orientation: u16) -> Vec<u8> {
    let (columns, rows) = if orientation < 5 { (WIDTH, HEIGHT) } else { (HEIGHT, WIDTH) };
    let pixels = RgbImage::from_fn(columns, rows, |column, row| {
        let (x, y) = place(orientation, row, column);
        upright(x, y)
    });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&pixels).expect("it is encoded");
    let segment = exif(orientation);
    // Right behind the start-of-image marker.
    jpeg.splice(2..2, segment);
    jpeg
}

/// An APP1 segment with one entry in its first directory: the orientation (0x0112), a SHORT, big-endian.
fn exif(orientation: u16) -> Vec<u8> {
    let mut tiff = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    tiff.extend(orientation.to_be_bytes());
    tiff.extend([0; 2 + 4]);
    let length = u16::try_from(tiff.len() + 2).expect("short");
    [&[0xFF, 0xE1], length.to_be_bytes().as_slice(), &tiff].concat()
}

async fn stored(app: &TestApp, file: &Value) -> RgbImage {
    let bytes = app.file(file["stored"][0]["location"].as_str().expect("a location")).await;
    image::load_from_memory(&bytes).expect("it decodes").into_rgb8()
}

/// The placeholder is wider than high, and each quarter of it has its colour, blurred as it is.
fn assert_drawn_upright(placeholder: &Value) {
    let hash = BASE64_STANDARD.decode(placeholder["thumbhash"].as_str().expect("a hash")).expect("base64");
    let (width, height, pixels) = thumbhash::thumb_hash_to_rgba(&hash).expect("a picture");
    assert!(width > height, "{width} x {height}");
    let at = |x: usize, y: usize| {
        <[u8; 3]>::try_from(&pixels[(height * y / 8 * width + width * x / 8) * 4..][..3]).expect("three")
    };
    let ([red, ..], [_, green, _], [.., blue]) = (at(1, 1), at(7, 1), at(1, 7));
    assert!(red > 150 && green > 150 && blue > 150 && at(7, 7).iter().all(|part| *part > 150), "{placeholder}");
    assert!(at(7, 1)[0] < red && at(1, 7)[0] < red && at(1, 1)[1] < green && at(1, 1)[2] < blue, "{placeholder}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_eight_orientations_come_out_upright() {
    let app = TestApp::start().await;
    for orientation in 1..=8 {
        let sizes = json!({ "sizes": [[0, 0], [32, 0]], "settings": { "quality": 95 } });
        let job = json!({ "directHost": true, "formats": { "jpg": sizes, "png": sizes, "webp": sizes } });
        let status = app.done("me", job, "a.jpg", taken(orientation)).await;
        assert_eq!(status["state"], "completed", "{orientation}: {status}");
        let manifest = app.get_json(&format!("/manifest?job_id={}", status["job_id"].as_str().expect("an id"))).await;
        let source = &manifest["source"];
        assert_eq!((&source["width"], &source["height"]), (&json!(WIDTH), &json!(HEIGHT)), "{orientation}: {source}");
        assert_drawn_upright(&status["placeholder"]);
        for file in status["files"].as_array().expect("files") {
            let picture = stored(&app, file).await;
            let scale = WIDTH / picture.width();
            assert_eq!((picture.width() * scale, picture.height() * scale), (WIDTH, HEIGHT), "{orientation}: {file}");
            assert_eq!((&file["width"], &file["height"]), (&json!(picture.width()), &json!(picture.height())));
            // The middle of each quarter, far from where they meet.
            for (x, y) in [(16, 8), (48, 8), (16, 24), (48, 24)] {
                let (found, meant) = (picture.get_pixel(x / scale, y / scale), upright(x, y));
                let apart = found.0.iter().zip(meant.0).map(|(a, b)| a.abs_diff(b)).max();
                assert!(apart < Some(40), "{orientation}: {found:?} instead of {meant:?} at {x},{y} of {file}");
            }
        }
    }
}

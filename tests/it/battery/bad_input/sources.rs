//! One small original of every format that is taken.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use crate::harness::app::TestApp;
use crate::harness::picture::{photo, png};

/// A format: its extension and media type in our words, and a file.
pub(super) struct Source {
    pub(super) extension: &'static str,
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// JPEG, PNG, WebP, GIF, TIFF, BMP of `width` x `height`; `seed` makes them differ from others.
pub(super) fn sources(width: u32, height: u32, seed: u32) -> Vec<Source> {
    [
        ("jpg", "image/jpeg", ImageFormat::Jpeg),
        ("png", "image/png", ImageFormat::Png),
        ("webp", "image/webp", ImageFormat::WebP),
        ("gif", "image/gif", ImageFormat::Gif),
        ("tiff", "image/tiff", ImageFormat::Tiff),
        ("bmp", "image/bmp", ImageFormat::Bmp),
    ]
    .into_iter()
    .map(|(extension, media_type, format)| {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(photo(width, height, seed)).write_to(&mut bytes, format).expect("encodes");
        Source { extension, media_type, bytes: bytes.into_inner() }
    })
    .collect()
}

/// The same and AVIF, made by the server itself; without it where AVIF isn't read.
pub(super) async fn with_avif(app: &TestApp, width: u32, height: u32, seed: u32) -> Vec<Source> {
    let mut all = sources(width, height, seed);
    if cfg!(feature = "input-avif") {
        let job = serde_json::json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 10 } } } });
        let done = app.done("maker", job, "a.png", png(width, height, seed)).await;
        let bytes = app.file(done["files"][0]["stored"][0]["location"].as_str().expect("a location")).await;
        all.push(Source { extension: "avif", media_type: "image/avif", bytes });
    }
    all
}

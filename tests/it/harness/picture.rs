//! Images made by the tests themselves.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a picture"
)]

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

/// Soft colours, edges and a little noise, the same for the same `seed`: compresses like a photo.
pub(crate) fn photo(width: u32, height: u32, seed: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ seed.wrapping_mul(97))
            .wrapping_mul(2_246_822_519)
            >> 28;
        let wave = ((x + seed) as f32 / 17.0).sin() * 40.0 + (y as f32 / 23.0).cos() * 40.0;
        let edge = if (x / 32 + y / 32) % 2 == 0 { 30.0 } else { 0.0 };
        let at = |base: f32| (base + wave + edge + noise as f32).clamp(0.0, 255.0) as u8;
        Rgb([at(100.0), at(120.0 * y as f32 / height as f32 + 40.0), at(160.0 * x as f32 / width as f32)])
    })
}

/// A JPEG of [`photo`].
pub(crate) fn jpeg(width: u32, height: u32, seed: u32) -> Vec<u8> {
    encoded(photo(width, height, seed), ImageFormat::Jpeg)
}

/// A PNG of [`photo`].
pub(crate) fn png(width: u32, height: u32, seed: u32) -> Vec<u8> {
    encoded(photo(width, height, seed), ImageFormat::Png)
}

fn encoded(picture: RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(picture).write_to(&mut bytes, format).expect("it can be encoded");
    bytes.into_inner()
}

/// A JPEG with a comment in it.
pub(crate) fn commented(mut jpeg: Vec<u8>, comment: &str) -> Vec<u8> {
    let length = u16::try_from(comment.len() + 2).expect("short");
    let segment = [&[0xff, 0xfe][..], &length.to_be_bytes()[..], comment.as_bytes()].concat();
    // Behind the mark that every JPEG begins with.
    jpeg.splice(2..2, segment);
    jpeg
}

//! Transparency: kept, flattened, dropped, and never a fringe.

use image::{DynamicImage, GrayAlphaImage, ImageFormat, LumaA, Rgba, RgbaImage};
use pixerve::job::{Background, Format, VariantSpec};

use super::picture::{assert_like, file, photo, png, render, show, variant};

/// An opaque red disc on transparent green.
fn disc() -> RgbaImage {
    RgbaImage::from_fn(120, 120, |x, y| {
        let inside = (f64::from(x) - 59.5).hypot(f64::from(y) - 59.5) < 50.0;
        if inside { Rgba([230, 0, 0, 255]) } else { Rgba([0, 255, 0, 0]) }
    })
}

#[test]
fn what_is_transparent_never_bleeds_into_the_edge() {
    for format in [Format::Png, Format::Webp, Format::Avif] {
        let quality = Some(if format == Format::Webp { 100 } else { 95 });
        let shown = show(&png(&disc()), &VariantSpec { quality, ..variant(format, 40, 40) });
        let edge: Vec<_> = shown.pixels().filter(|p| (30..225).contains(&p[3])).collect();
        assert!(edge.len() > 20, "{format} has a soft edge");
        for pixel in edge {
            assert!(pixel[1] < 40 && pixel[0] > 180, "{format}: green in {pixel:?}");
        }
        assert!(shown.get_pixel(0, 0)[3] <= 2);
        assert!(shown.get_pixel(20, 20)[3] >= 253);
    }
}

#[test]
fn jpeg_is_flattened_onto_the_background() {
    let on = |background| show(&png(&disc()), &VariantSpec { background, ..variant(Format::Jpeg, 40, 40) });
    let close = |pixel: &Rgba<u8>, colour: [u8; 3]| pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 12);
    assert!(close(on(Background::WHITE).get_pixel(0, 0), [255; 3]));
    assert!(close(on(Background([0, 0, 200, 255])).get_pixel(0, 0), [0, 0, 200]));
    assert!(close(on(Background([0; 4])).get_pixel(0, 0), [255; 3]), "nothing at all lies on white");
    assert!(close(on(Background::WHITE).get_pixel(20, 20), [230, 0, 0]));
}

#[test]
fn half_transparent_pixels_mix_with_the_background() {
    let half = RgbaImage::from_pixel(16, 16, Rgba([255, 255, 255, 128]));
    let spec = VariantSpec { background: Background([0, 0, 0, 255]), ..variant(Format::Jpeg, 0, 0) };
    assert!(show(&png(&half), &spec).pixels().all(|p| p[0].abs_diff(128) <= 2));
}

#[test]
fn an_opaque_alpha_channel_is_dropped() {
    let opaque = photo(40, 30);
    for format in [Format::Png, Format::Webp] {
        let rendered = render(&png(&opaque), &[variant(format, 0, 0)]).expect("a good source").remove(0);
        let kind = if format == Format::Png { ImageFormat::Png } else { ImageFormat::WebP };
        let decoded = image::load_from_memory_with_format(&rendered.bytes, kind).expect("decodes");
        assert!(!decoded.color().has_alpha(), "{format}");
    }
}

#[test]
fn grey_with_alpha_keeps_both() {
    let picture = GrayAlphaImage::from_fn(60, 40, |x, y| LumaA([(x * 4) as u8, (255 - y * 5) as u8]));
    let rgba = DynamicImage::from(picture.clone()).into_rgba8();
    let shown = show(&file(picture, ImageFormat::Png), &variant(Format::Png, 0, 0));
    assert_eq!(shown, rgba);
    let webp = VariantSpec { quality: Some(100), ..variant(Format::Webp, 0, 0) };
    assert_like("webp", &show(&png(&rgba), &webp), &rgba, 60.0);
}

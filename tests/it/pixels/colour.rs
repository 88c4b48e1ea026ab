//! Profiles, ink, depth.

use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageBuffer, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage};
use moxcms::ColorProfile;
use mozjpeg::{ColorSpace, Compress};
use pixerve::job::Format;

use super::picture::{file, show, variant};

fn tagged(pixels: &RgbImage, profile: &ColorProfile) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_icc_profile(profile.encode().expect("a profile")).expect("PNG holds profiles");
    let (width, height) = pixels.dimensions();
    encoder.write_image(pixels, width, height, image::ExtendedColorType::Rgb8).expect("pixels");
    bytes
}

fn decoded(value: f64) -> f64 {
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn encoded(value: f64) -> f64 {
    if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 }
}

fn times(matrix: [[f64; 3]; 3], vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

/// Linear Display P3 to linear sRGB, from the primaries of both; same white.
const P3_TO_SRGB: [[f64; 3]; 3] =
    [[1.224_94, -0.224_94, 0.0], [-0.042_06, 1.042_06, 0.0], [-0.019_64, -0.078_64, 1.098_28]];

const SRGB_TO_XYZ: [[f64; 3]; 3] =
    [[0.412_39, 0.357_58, 0.180_48], [0.212_64, 0.715_17, 0.072_19], [0.019_33, 0.119_19, 0.950_53]];

fn lab(linear: [f64; 3]) -> [f64; 3] {
    let [x, y, z] = times(SRGB_TO_XYZ, linear);
    let f = |t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
    let (x, y, z) = (f(x / 0.950_46), f(y), f(z / 1.089_06));
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// CIE 1976 distance. For small differences dE00 is smaller for all but near-neutral colours, where it is at most
/// about 1.5 times as large.
fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    lab(a).iter().zip(lab(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn a_display_p3_patch_lands_on_its_srgb() {
    for patch in [[200, 100, 50], [100, 150, 110], [90, 90, 180], [128, 128, 128], [250, 240, 230], [20, 30, 25]] {
        let source = tagged(&RgbImage::from_pixel(16, 16, Rgb(patch)), &ColorProfile::new_display_p3());
        let shown = show(&source, &variant(Format::Png, 8, 8));
        let expected = times(P3_TO_SRGB, patch.map(|c| decoded(f64::from(c) / 255.0)));
        let found = shown.get_pixel(4, 4).0;
        let linear = [found[0], found[1], found[2]].map(|c| decoded(f64::from(c) / 255.0));
        let distance = distance(linear, expected);
        let wanted = expected.map(|c| (encoded(c) * 255.0).round());
        assert!(distance < 1.2, "{patch:?} became {found:?}, not {wanted:?}: {distance:.2}");
    }
}

#[test]
fn a_profile_that_is_srgb_or_nonsense_changes_nothing() {
    let pixels = RgbImage::from_fn(16, 16, |x, y| Rgb([x as u8 * 17, y as u8 * 17, 77]));
    let expected = DynamicImage::from(pixels.clone()).into_rgba8();
    let srgb = tagged(&pixels, &ColorProfile::new_srgb());
    assert_eq!(show(&srgb, &variant(Format::Png, 0, 0)), expected);

    let mut nonsense = Vec::new();
    let mut encoder = PngEncoder::new(&mut nonsense);
    encoder.set_icc_profile(vec![7; 300]).expect("PNG holds anything");
    encoder.write_image(&pixels, 16, 16, image::ExtendedColorType::Rgb8).expect("pixels");
    assert_eq!(show(&nonsense, &variant(Format::Png, 0, 0)), expected);
}

#[test]
fn no_profile_leaves() {
    let p3 = tagged(&RgbImage::from_pixel(16, 16, Rgb([200, 100, 50])), &ColorProfile::new_display_p3());
    for format in Format::ALL {
        let rendered = super::picture::render(&p3, &[variant(format, 0, 0)]).expect("a good source").remove(0);
        for marker in [&b"ICC_PROFILE"[..], b"iCCP", b"ICCP", b"acsp"] {
            assert!(!rendered.bytes.windows(marker.len()).any(|w| w == marker), "{format}");
        }
    }
}

#[test]
fn sixteen_bits_are_rounded_once() {
    let deep = ImageBuffer::<Luma<u16>, _>::from_fn(256, 4, |x, y| Luma([(x * 257 + y * 85).min(65_535) as u16]));
    let shown = show(&file(deep.clone(), ImageFormat::Png), &variant(Format::Png, 0, 0));
    for (x, y, pixel) in shown.enumerate_pixels() {
        let expected = (f64::from(deep.get_pixel(x, y)[0]) / 257.0).round() as u8;
        assert_eq!(pixel[0], expected, "at {x}, {y}");
    }
    let deep = ImageBuffer::<Rgb<u16>, _>::from_fn(64, 64, |x, y| Rgb([(x * 1000) as u16, (y * 1000) as u16, 30_000]));
    let eight = DynamicImage::from(deep.clone()).into_rgba8();
    let resized = show(&file(deep, ImageFormat::Tiff), &variant(Format::Png, 32, 32));
    let reference = image::imageops::resize(&eight, 32, 32, image::imageops::FilterType::Lanczos3);
    super::picture::assert_like("16-bit TIFF", &resized, &reference, 45.0);
}

/// A CMYK JPEG of one colour: samples as given, signed by Adobe or not. Ink is stored inverted in both.
fn ink(samples: [u8; 4], adobe: bool) -> Vec<u8> {
    let mut compress = Compress::new(ColorSpace::JCS_CMYK);
    compress.set_size(16, 16);
    compress.set_quality(98.0);
    let mut started = compress.start_compress(Vec::new()).expect("starts");
    started.write_scanlines(&samples.repeat(256)).expect("writes");
    let mut bytes = started.finish().expect("finishes");
    if !adobe {
        let at = bytes.windows(2).position(|w| w == [0xFF, 0xEE]).expect("libjpeg signs CMYK for Adobe");
        let length = 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        bytes.drain(at..at + length);
    }
    bytes
}

#[test]
fn cmyk_without_a_profile_looks_printed_signed_by_adobe_or_not() {
    let shows = |source: &[u8]| {
        let shown = show(source, &variant(Format::Png, 0, 0));
        let [r, g, b, _] = shown.get_pixel(8, 8).0;
        [r, g, b]
    };
    let close = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 6);
    let cases = [
        ([0, 0, 0, 0], [255; 3]),
        ([255, 0, 0, 0], [0, 158, 224]),
        ([0, 255, 255, 0], [227, 6, 19]),
        ([0, 0, 0, 255], [29, 29, 27]),
    ];
    for (inks, colour) in cases {
        for adobe in [true, false] {
            let seen = shows(&ink(inks.map(|amount| 255 - amount), adobe));
            assert!(close(seen, colour), "{inks:?}, signed {adobe}, shows as {seen:?}");
        }
    }
}

#[test]
fn a_plain_colour_keeps_its_value_at_every_size() {
    for (from, to) in [(12, 6), (12, 5), (100, 33), (64, 63), (300, 7)] {
        for level in (0..=255).step_by(23) {
            let colour = Rgb([level, 23, 255 - level]);
            let source = file(RgbImage::from_pixel(from, from, colour), ImageFormat::Png);
            for pixel in show(&source, &variant(Format::Png, to, to)).pixels() {
                assert_eq!(pixel.0[..3], colour.0, "{from} to {to}");
            }
        }
    }
}

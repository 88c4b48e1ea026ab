//! Inputs, outputs, and how far apart two pictures are.

use std::io::Cursor;
use std::sync::{Mutex, OnceLock};

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use pixerve::encoder::Registry;
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{Engine, PipelineError, PixelLimits, Rendered};

/// A picture like a photo: soft gradients, hard edges, some texture; no two corners alike, opaque.
pub(super) fn photo(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        let (u, v) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let texture = 6.0 * ((f64::from(x) * 0.9).sin() + (f64::from(y) * 0.7).cos());
        let disc = (u - 0.3).hypot((v - 0.6) * 0.75) < 0.15;
        let bar = (0.7..0.8).contains(&u) && v < 0.8;
        let [r, g, b] = match (disc, bar) {
            (true, _) => [210.0, 60.0, 40.0],
            (_, true) => [30.0, 50.0, 90.0],
            _ => [60.0 + 150.0 * u, 200.0 - 120.0 * v, 90.0 + 100.0 * u * v],
        };
        Rgba([r, g, b, 255.0].map(|c: f64| (c + if c < 255.0 { texture } else { 0.0 }).clamp(0.0, 255.0) as u8))
    })
}

pub(crate) fn variant(format: Format, width: u32, height: u32) -> VariantSpec {
    VariantSpec {
        format,
        width,
        height,
        // Near the top, so that what is compared is the geometry and not the quantiser.
        quality: Some(if format == Format::Webp { 98 } else { 95 }),
        speed: Some(10),
        fit: Fit::Inside,
        position: Position::default(),
        background: Background::WHITE,
        enlarge: false,
        animated: false,
        tolerant: false,
    }
}

pub(super) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(2, PixelLimits::default(), Registry::built_in()).expect("threads"))
}

/// Everything that `variants` of `source` give, in their order.
pub(crate) fn render(source: &[u8], variants: &[VariantSpec]) -> Result<Vec<Rendered>, PipelineError> {
    let delivered = Mutex::new(vec![None; variants.len()]);
    engine().render(source, variants, &|_| true, &|| false, &|| (), &|i, rendered| {
        let before = delivered.lock().expect("no panic")[i].replace(rendered);
        assert_eq!(before, None, "variant {i} came twice");
    })?;
    let delivered = delivered.into_inner().expect("no panic");
    Ok(delivered.into_iter().map(|rendered| rendered.expect("every variant is delivered")).collect())
}

/// The picture that one variant of `source` shows; its dimensions are those that the engine announced.
pub(super) fn show(source: &[u8], variant: &VariantSpec) -> RgbaImage {
    let rendered = render(source, std::slice::from_ref(variant)).expect("a good source").remove(0);
    let picture = decode(variant.format, &rendered.bytes);
    assert_eq!(picture.dimensions(), (rendered.width, rendered.height));
    picture
}

pub(super) fn decode(format: Format, bytes: &[u8]) -> RgbaImage {
    let format = match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::Webp => ImageFormat::WebP,
        Format::Avif => return super::avif::decode(bytes),
    };
    image::load_from_memory_with_format(bytes, format).expect("the output decodes").into_rgba8()
}

/// `picture` as a file that loses nothing.
pub(super) fn file(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

pub(super) fn png(picture: &RgbaImage) -> Vec<u8> {
    file(picture.clone(), ImageFormat::Png)
}

pub(super) fn jpeg(picture: &RgbaImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let rgb = DynamicImage::from(picture.clone()).into_rgb8();
    JpegEncoder::new_with_quality(&mut bytes, 97).encode_image(&rgb).expect("encodes");
    bytes
}

/// Peak signal-to-noise ratio over all four channels, in dB; infinite for equal pictures.
pub(super) fn psnr(a: &RgbaImage, b: &RgbaImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let squares: f64 = a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    10.0 * (255.0_f64.powi(2) * a.as_raw().len() as f64 / squares).log10()
}

pub(super) fn assert_like(what: &str, picture: &RgbaImage, reference: &RgbaImage, psnr_min: f64) {
    let psnr = psnr(picture, reference);
    assert!(psnr >= psnr_min, "{what}: {psnr:.1} dB, at least {psnr_min} expected");
}

/// How well a format keeps a picture at the quality of [`variant`].
pub(super) fn psnr_min(format: Format) -> f64 {
    match format {
        Format::Png => 42.0,
        Format::Jpeg => 33.0,
        // Colour at half the resolution, always.
        Format::Webp => 30.0,
        Format::Avif => 32.0,
    }
}

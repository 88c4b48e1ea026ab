//! Originals too large to be held whole are decoded smaller, without a visible difference.

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, GrayImage, ImageEncoder, ImageFormat, Rgba, RgbaImage};
use pixerve::encoder::Registry;
use pixerve::job::{Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{Engine, PipelineError, PixelLimits, Rendered};
use std::sync::Mutex;

use super::orientation::{exif, with_exif};
use super::picture::{assert_like, decode, file, jpeg, photo, png, variant};

/// What an engine makes that takes every picture for a large one, and what one makes that takes none.
fn both(source: &[u8], variant: &VariantSpec) -> [Result<RgbaImage, PipelineError>; 2] {
    [0, u64::MAX].map(|source_whole_max| {
        let limits = PixelLimits { source_whole_max, ..PixelLimits::default() };
        let engine = Engine::new(1, limits, Registry::built_in()).expect("threads");
        let rendered: Mutex<Option<Rendered>> = Mutex::new(None);
        let deliver = |_, file| *rendered.lock().expect("no panic") = Some(file);
        engine.render(source, std::slice::from_ref(variant), &|_| true, &|| false, &|| (), &deliver)?;
        let rendered = rendered.into_inner().expect("no panic").expect("delivered");
        Ok(decode(variant.format, &rendered.bytes))
    })
}

fn assert_same(what: &str, source: &[u8], variant: &VariantSpec, psnr_min: f64) {
    let [reduced, whole] = both(source, variant).map(|picture| picture.expect("a good source"));
    assert!(reduced != whole, "{what}: nothing was reduced");
    assert_like(what, &reduced, &whole, psnr_min);
}

/// Smooth enough to be told apart by geometry only.
fn scene(width: u32, height: u32) -> RgbaImage {
    let small = photo(width / 16, height / 16);
    image::imageops::resize(&small, width, height, image::imageops::FilterType::Triangle)
}

#[test]
fn a_large_picture_looks_like_one_that_was_decoded_whole() {
    let picture = scene(1203, 807);
    let sources = [("JPEG", jpeg(&picture)), ("PNG", png(&picture))];
    for (what, source) in sources {
        for width in [90, 180, 350] {
            assert_same(&format!("{what} at {width}"), &source, &variant(Format::Png, width, 0), 38.0);
        }
    }
}

#[test]
fn every_model_and_depth_is_reduced_right() {
    let picture = scene(800, 600);
    let opaque = DynamicImage::from(picture.clone());
    let glassy = RgbaImage::from_fn(800, 600, |x, y| {
        let Rgba([r, g, b, _]) = *picture.get_pixel(x, y);
        Rgba([r, g, b, u8::try_from(80 + x * 175 / 799).expect("a byte")])
    });
    let grey: GrayImage = opaque.to_luma8();
    let mut grey_jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut grey_jpeg, 95)
        .write_image(&grey, 800, 600, image::ColorType::L8.into())
        .expect("encodes");
    let sources = [
        ("grey JPEG", grey_jpeg),
        ("grey PNG", file(grey, ImageFormat::Png)),
        ("grey and alpha", file(DynamicImage::from(glassy.clone()).into_luma_alpha8(), ImageFormat::Png)),
        ("RGBA", file(glassy.clone(), ImageFormat::Png)),
        ("16 bits", file(opaque.to_rgb16(), ImageFormat::Png)),
        ("16 bits and alpha", file(DynamicImage::from(glassy).into_rgba16(), ImageFormat::Png)),
    ];
    for (what, source) in sources {
        assert_same(what, &source, &variant(Format::Png, 130, 0), 38.0);
    }
}

#[test]
fn a_cut_out_of_a_large_picture_is_the_same_cut_out() {
    let source = jpeg(&scene(1201, 803));
    for (x, y) in [(-1, -1), (1, 1), (0, 0)] {
        let cover = VariantSpec { fit: Fit::Cover, position: Position { x, y }, ..variant(Format::Png, 120, 140) };
        assert_same(&format!("cut out at {x}, {y}"), &source, &cover, 38.0);
    }
}

#[test]
fn every_orientation_of_a_large_picture_is_upright() {
    let source = jpeg(&scene(1001, 603));
    for orientation in 1..=8_u8 {
        let turned = with_exif(&source, &exif(orientation));
        assert_same(&format!("orientation {orientation}"), &turned, &variant(Format::Png, 140, 0), 38.0);
    }
}

#[test]
fn a_picture_that_is_wanted_whole_is_not_reduced() {
    let source = jpeg(&photo(200, 150));
    let [reduced, whole] = both(&source, &variant(Format::Png, 150, 0)).map(|picture| picture.expect("a good source"));
    assert!(reduced == whole);
}

/// `source` without `gone` of its bytes, from the middle of its picture data.
fn with_a_gap(source: &[u8], gone: usize) -> Vec<u8> {
    let middle = source.len() * 2 / 3;
    [&source[..middle], &source[middle + gone..]].concat()
}

#[test]
fn a_large_jpeg_with_a_gap_is_refused_like_a_small_one() {
    let source = jpeg(&photo(640, 480));
    for gone in [source.len() / 4, source.len() / 10] {
        let damaged = with_a_gap(&source, gone);
        let outcomes = both(&damaged, &variant(Format::Png, 80, 0));
        assert!(outcomes.iter().all(Result::is_err), "{:?}", outcomes.map(|o| o.map(|p| p.dimensions())));
        let tolerant = VariantSpec { tolerant: true, ..variant(Format::Png, 80, 0) };
        for outcome in both(&damaged, &tolerant) {
            assert_eq!(outcome.expect("what is there").dimensions(), (80, 60));
        }
    }
}

/// Another attempt at a job makes only what is missing, and the files that the first one stored stay the job's.
#[test]
fn a_variant_is_the_same_file_whether_or_not_the_others_are_made_too() {
    let limits = PixelLimits { source_whole_max: 0, ..PixelLimits::default() };
    let engine = Engine::new(2, limits, Registry::built_in()).expect("threads");
    let source = jpeg(&scene(1203, 807));
    let made = |variants: &[VariantSpec], wanted: &(dyn Fn(usize) -> bool + Sync)| {
        let files = Mutex::new(Vec::new());
        let deliver = |index, file: Rendered| files.lock().expect("no panic").push((index, file.bytes));
        engine.render(&source, variants, wanted, &|| false, &|| (), &deliver).expect("a good source");
        let mut files = files.into_inner().expect("no panic");
        files.sort();
        files
    };
    let variants = [variant(Format::Jpeg, 900, 0), variant(Format::Webp, 200, 0), variant(Format::Png, 90, 0)];
    let all = made(&variants, &|_| true);
    assert_eq!(all.len(), 3);
    assert_eq!(made(&variants, &|index| index == 1), all[1..2]);
    // Alone it would have been made of fewer pixels.
    assert_ne!(made(&variants[1..2], &|_| true)[0].1, all[1].1);
}

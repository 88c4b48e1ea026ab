//! Single steps of a job, each on one thread: `cargo bench --bench steps`, with a part of a name to run some only.
//!
//! The pictures are made here, like photos in what they cost: soft shapes with fine grain. Absolute figures are this
//! machine's; compare runs.

use std::hint::black_box;
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use pixerve::encoder::{EncodeSettings, Picture, Pixels, Registry};
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::steps::{DecodedOriginal, placeholder};
use pixerve::pipeline::{Engine, PixelLimits};

/// Soft shapes with grain.
fn photo(width: u32, height: u32) -> RgbImage {
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24).to_le_bytes()[0]
    };
    let blobs =
        RgbImage::from_fn(width.div_ceil(96), height.div_ceil(96), |_, _| image::Rgb([noise(), noise(), noise()]));
    let mut picture = resize(&blobs, width, height, FilterType::CatmullRom);
    for sample in picture.iter_mut() {
        *sample = sample.saturating_add(noise() / 16);
    }
    picture
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(picture).expect("encodes");
    bytes
}

fn file(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

fn with_alpha(picture: &RgbImage) -> RgbaImage {
    let mut picture = DynamicImage::from(picture.clone()).into_rgba8();
    for (x, _, pixel) in picture.enumerate_pixels_mut() {
        pixel.0[3] = x.to_le_bytes()[0];
    }
    picture
}

fn decoding(c: &mut Criterion) {
    let picture = photo(4032, 3024);
    let mut group = c.benchmark_group("decode 12 MP");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let source = jpeg(&picture);
    for (name, reduction) in [("jpeg", 1), ("jpeg, a half", 2), ("jpeg, a quarter", 4)] {
        group
            .bench_function(name, |b| b.iter(|| DecodedOriginal::decode(black_box(&source), reduction).expect("good")));
    }
    let source = file(picture, ImageFormat::Png);
    for (name, reduction) in [("png", 1), ("png, a half", 2)] {
        group
            .bench_function(name, |b| b.iter(|| DecodedOriginal::decode(black_box(&source), reduction).expect("good")));
    }
}

fn resizing(c: &mut Criterion) {
    let picture = photo(4032, 3024);
    let mut group = c.benchmark_group("12 MP to 1600, 800, 400");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (name, source) in [("rgb", jpeg(&picture)), ("rgba", file(with_alpha(&picture), ImageFormat::Png))] {
        let original = DecodedOriginal::decode(&source, 1).expect("good");
        group.bench_function(name, |b| b.iter(|| original.cascade(black_box(&[1600, 800, 400])).expect("good")));
    }
}

fn colours(c: &mut Criterion) {
    let original = DecodedOriginal::decode(&jpeg(&photo(1600, 1200)), 1).expect("good");
    let size = original.cascade(&[1599]).expect("good").remove(0);
    let p3 = moxcms::ColorProfile::new_display_p3().encode().expect("a profile");
    let mut group = c.benchmark_group("colours of 1600 px");
    group.bench_function("none", |b| b.iter(|| size.convert(None).expect("good")));
    group.bench_function("display p3", |b| b.iter(|| size.convert(Some(black_box(&p3))).expect("good")));
}

/// What a job's placeholder takes: made of a size that is made anyway; where all sizes are cropped, of one more.
fn placeholders(c: &mut Criterion) {
    let mut group = c.benchmark_group("placeholder");
    for width in [400, 1600] {
        let original = DecodedOriginal::decode(&jpeg(&photo(width, width * 3 / 4)), 1).expect("good");
        let picture = original.cascade(&[width]).expect("good")[0].convert(None).expect("good");
        group.bench_function(format!("of {width} px"), |b| b.iter(|| placeholder(black_box(&picture)).expect("good")));
    }
    let original = DecodedOriginal::decode(&jpeg(&photo(4032, 3024)), 1).expect("good");
    group.bench_function("of 12 MP that are cropped", |b| {
        b.iter(|| {
            let size = original.cascade(black_box(&[100])).expect("good").remove(0);
            placeholder(&size.convert(None).expect("good")).expect("good")
        });
    });
}

fn encoding(c: &mut Criterion) {
    let picture = photo(1600, 1200);
    let alpha = with_alpha(&picture);
    let rgb = Picture { width: 1600, height: 1200, pixels: Pixels::Rgb(picture.into_raw()) };
    let rgba = Picture { width: 1600, height: 1200, pixels: Pixels::Rgba(alpha.into_raw()) };
    let registry = Registry::built_in();
    let mut group = c.benchmark_group("encode 1600 px");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for format in Format::ALL {
        let encoder = registry.encoder(format);
        let settings = EncodeSettings::default();
        group.bench_function(format.extension(), |b| {
            b.iter(|| encoder.encode(black_box(&rgb), &settings).expect("good"));
        });
        if format.info().alpha {
            group.bench_function(format!("{} with alpha", format.extension()), |b| {
                b.iter(|| encoder.encode(black_box(&rgba), &settings).expect("good"));
            });
        }
    }
}

/// Six jobs, one after the other and several at once.
fn jobs(c: &mut Criterion) {
    let source = jpeg(&photo(4032, 3024));
    let specs: Vec<VariantSpec> = [1600, 800, 400]
        .into_iter()
        .flat_map(|width| [Format::Webp, Format::Jpeg].map(|format| variant(format, width)))
        .collect();
    let engine = Engine::new(0, PixelLimits::default(), Registry::built_in()).expect("threads");
    let mut group = c.benchmark_group("6 jobs of 12 MP to jpg and webp, in flight");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for in_flight in 1..=3 {
        group.bench_function(in_flight.to_string(), |b| {
            b.iter(|| {
                let left = AtomicUsize::new(6);
                std::thread::scope(|scope| {
                    for _ in 0..in_flight {
                        scope.spawn(|| {
                            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                                engine.render(&source, &specs, &|_| true, &|| false, &|| (), &|_, _| ()).expect("good");
                            }
                        });
                    }
                });
            });
        });
    }
}

fn variant(format: Format, width: u32) -> VariantSpec {
    VariantSpec {
        format,
        width,
        height: 0,
        quality: None,
        speed: None,
        fit: Fit::Inside,
        position: Position::default(),
        background: Background::WHITE,
        enlarge: false,
        animated: false,
        tolerant: false,
    }
}

criterion_group!(steps, decoding, resizing, colours, placeholders, encoding, jobs);
criterion_main!(steps);

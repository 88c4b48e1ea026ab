//! Animations stay animated where the job asks for it, and are still pictures where not.

use std::io::Cursor;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::webp::WebPDecoder;
use image::metadata::LoopCount;
use image::{AnimationDecoder, Delay, Frame, Rgba, RgbaImage};
use pixerve::encoder::Registry;
use pixerve::job::{Format, JobSpec, VariantSpec, Warning, Warnings};
use pixerve::pipeline::{Engine, PipelineError, PixelLimits, check_outputs, inspect};

use super::picture::{assert_like, render, show, variant};

const DURATIONS_MS: [u32; 5] = [100, 40, 250, 30, 500];

/// A square that walks over a background; the rest is transparent.
fn scene(step: u32) -> RgbaImage {
    RgbaImage::from_fn(60, 40, |x, y| match (x / 10 == step, y < 10) {
        (true, _) => Rgba([250, 0, 0, 255]),
        (_, true) => Rgba([0, 0, 250, 255]),
        _ => Rgba([0; 4]),
    })
}

fn gif(repeat: Repeat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    encoder.set_repeat(repeat).expect("a header");
    for (step, ms) in (0..).zip(DURATIONS_MS) {
        let delay = Delay::from_saturating_duration(Duration::from_millis(u64::from(ms)));
        encoder.encode_frame(Frame::from_parts(scene(step), 0, 0, delay)).expect("a frame");
    }
    drop(encoder);
    bytes
}

fn moving(side: u32) -> VariantSpec {
    VariantSpec { animated: true, quality: Some(100), ..variant(Format::Webp, side, side) }
}

/// How often it plays, 0 for ever, and the frames with their durations in milliseconds.
pub(super) fn frames(webp: &[u8]) -> (u32, Vec<(RgbaImage, u32)>) {
    let decoder = WebPDecoder::new(Cursor::new(webp)).expect("a WebP");
    let plays = match decoder.loop_count() {
        LoopCount::Infinite => 0,
        LoopCount::Finite(plays) => plays.get(),
    };
    let frames = decoder.into_frames().collect_frames().expect("frames");
    let frames = frames.into_iter().map(|f| {
        let ms = f.delay().numer_denom_ms().0;
        (f.into_buffer(), ms)
    });
    (plays, frames.collect())
}

#[test]
fn an_animated_gif_becomes_an_animated_webp_frame_by_frame() {
    let rendered = render(&gif(Repeat::Infinite), &[moving(0)]).expect("a good source").remove(0);
    let (plays, frames) = frames(&rendered.bytes);
    assert_eq!(plays, 0);
    assert_eq!(frames.iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), DURATIONS_MS);
    for (step, (frame, _)) in (0..).zip(&frames) {
        let flat = |picture: &RgbaImage| {
            RgbaImage::from_fn(60, 40, |x, y| match picture.get_pixel(x, y) {
                Rgba([_, _, _, 0]) => Rgba([0; 4]),
                pixel => *pixel,
            })
        };
        assert_like(&format!("frame {step}"), &flat(frame), &flat(&scene(step)), 35.0);
    }
}

#[test]
fn it_can_be_resized_and_read_again() {
    let once = render(&gif(Repeat::Finite(2)), &[moving(0)]).expect("a good source").remove(0);
    let info = inspect(Cursor::new(&once.bytes), &PixelLimits::default()).expect("a WebP");
    assert_eq!((info.width, info.height, info.frames), (60, 40, 5));
    let again = render(&once.bytes, &[moving(30)]).expect("a good source").remove(0);
    assert_eq!((again.width, again.height), (30, 20));
    let (first_plays, _) = frames(&once.bytes);
    let (plays, frames) = frames(&again.bytes);
    assert_eq!(first_plays, plays);
    assert_eq!(plays, 3, "two more than once");
    assert_eq!(frames.len(), 5);
    let small = image::imageops::resize(&scene(3), 30, 20, image::imageops::FilterType::Lanczos3);
    assert!(frames[3].0.get_pixel(17, 15)[0] > 240 && small.get_pixel(17, 15)[0] > 240);
}

#[test]
fn without_being_asked_only_the_first_frame_shows() {
    for format in Format::ALL {
        let shown = show(&gif(Repeat::Infinite), &variant(format, 0, 0));
        assert!(shown.get_pixel(5, 20)[0] > 230 && shown.get_pixel(5, 20)[1] < 20, "{format}");
        assert!(shown.get_pixel(25, 5)[2] > 230, "{format}");
    }
}

#[test]
fn an_apng_moves_too() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 60, 40);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_animated(3, 0).expect("animated");
    encoder.set_frame_delay(80, 1000).expect("a delay");
    let mut writer = encoder.write_header().expect("a header");
    for step in 0..3 {
        writer.write_image_data(&scene(step)).expect("a frame");
    }
    writer.finish().expect("an end");
    let rendered = render(&bytes, &[moving(0)]).expect("a good source").remove(0);
    let (_, frames) = frames(&rendered.bytes);
    assert_eq!(frames.iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), [80; 3]);
    assert!(frames[2].0.get_pixel(25, 20)[0] > 230);
}

#[test]
fn frames_count_against_the_limits() {
    let source = gif(Repeat::Infinite);
    let limits = PixelLimits { source_max: 60 * 40 * 4, ..PixelLimits::default() };
    let info = inspect(Cursor::new(&source), &limits).expect("one frame is small enough");
    let spec = JobSpec {
        priority: pixerve::job::Priority::Realtime,
        keep_original: false,
        direct_host: true,
        private: false,
        unique: false,
        storage: Vec::new(),
        sub_dir: pixerve::job::SubDir::default(),
        variants: vec![moving(10)],
        placeholder: true,
        manifest: false,
        expires_after: None,
    };
    let errors = check_outputs(&spec, &info, &limits).expect_err("five frames are too many");
    assert_eq!(errors.fields()[0].pointer, "/job/formats/webp/animated");
    let engine = Engine::new(1, limits, Registry::built_in()).expect("threads");
    let error =
        engine.render(&source, &spec.variants, &|_| true, &|| false, &|| (), &|_, _| ()).expect_err("too large");
    assert!(matches!(error, PipelineError::TooLarge { .. }), "{error}");
    engine
        .render(&source, &[variant(Format::Webp, 10, 10)], &|_| true, &|| false, &|| (), &|_, _| ())
        .expect("one frame is allowed");
}

#[test]
fn a_cut_animation_is_refused_or_ends_early() {
    let source = gif(Repeat::Infinite);
    let whole = render(&source, &[VariantSpec { tolerant: true, ..moving(0) }]).expect("every frame").remove(0);
    assert_eq!(whole.warnings, Warnings::new());
    let cut = &source[..source.len() * 2 / 3];
    assert!(matches!(render(cut, &[moving(0)]), Err(PipelineError::Truncated)));
    let rendered = render(cut, &[VariantSpec { tolerant: true, ..moving(0) }]).expect("some frames").remove(0);
    assert_eq!(rendered.warnings, Warnings::from([Warning::Truncated]));
    let (_, frames) = frames(&rendered.bytes);
    assert!((1..5).contains(&frames.len()), "{} frames", frames.len());
}

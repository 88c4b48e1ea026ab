//! What is refused, when, and what a tolerant job still gets.

use std::io::Cursor;

use image::ImageFormat;
use pixerve::job::{Fit, Format, JobSpec, Priority, SubDir, VariantSpec, Warning, Warnings};
use pixerve::pipeline::{InspectError, PipelineError, PixelLimits, SourceInfo, check_outputs, inspect};

use super::orientation::with_exif;
use super::picture::{assert_like, file, jpeg, photo, png, render, show, variant};

fn inspected(source: &[u8]) -> Result<SourceInfo, InspectError> {
    inspect(Cursor::new(source), &PixelLimits::default())
}

/// A PNG that has a header and nothing else.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgba);
    drop(encoder.write_header().expect("a header"));
    bytes
}

#[test]
fn a_header_that_claims_too_much_is_refused_before_the_data_is_looked_at() {
    let mut small = jpeg(&photo(16, 16));
    let frame = small.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a baseline JPEG");
    small[frame + 5..frame + 9].fill(0xFF);
    small.truncate(frame + 40);
    for source in [small, png_header(30_000, 30_000), png_header(70_000, 1)] {
        let error = inspected(&source).expect_err("too large");
        assert!(matches!(error, InspectError::TooLarge { .. }), "{error}");
        let error = render(&source, &[variant(Format::Png, 8, 8)]).expect_err("too large");
        assert!(matches!(error, PipelineError::TooLarge { .. }), "{error}");
        assert!(!error.can_pass_on_retry());
    }
    assert!(inspected(&png_header(10_000, 10_000)).is_ok(), "100 MP exactly are allowed");
}

#[test]
fn nonsense_headers_are_damage() {
    let mut zero = jpeg(&photo(16, 16));
    let frame = zero.windows(2).position(|w| w == [0xFF, 0xC0]).expect("a baseline JPEG");
    zero[frame + 5..frame + 7].fill(0);
    let text_mode: Vec<u8> = png(&photo(4, 4)).iter().copied().filter(|b| *b != b'\r').collect();
    let flipped = {
        let mut bytes = png(&photo(4, 4));
        bytes[19] ^= 1;
        bytes
    };
    for source in [zero, text_mode, flipped, b"\x89PNG\r\n\x1a\n".to_vec(), b"GIF89a".to_vec(), b"BM12".to_vec()] {
        let error = inspected(&source).expect_err("damaged");
        assert!(matches!(error, InspectError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_webp_whose_picture_is_larger_than_its_canvas_is_refused() {
    let whole = file(photo(40, 30), ImageFormat::WebP);
    let mut extended = whole[..12].to_vec();
    extended.extend(b"VP8X\x0A\0\0\0\0\0\0\0\x07\0\0\x07\0\0");
    extended.extend(&whole[12..]);
    let size = u32::try_from(extended.len() - 8).expect("small");
    extended[4..8].copy_from_slice(&size.to_le_bytes());
    let error = inspected(&extended).expect_err("8 x 8 holding 40 x 30");
    assert!(matches!(error, InspectError::Damaged { .. }), "{error}");
}

#[test]
fn every_cut_is_noticed() {
    let picture = photo(64, 48);
    let sources = [
        jpeg(&picture),
        png(&picture),
        file(picture.clone(), ImageFormat::WebP),
        file(picture.clone(), ImageFormat::Gif),
        file(picture.clone(), ImageFormat::Tiff),
        file(picture, ImageFormat::Bmp),
    ];
    for source in sources {
        let kind = inspected(&source).expect("whole").format;
        for cut in (0..100).map(|percent| source.len() * percent / 100) {
            let error = render(&source[..cut], &[variant(Format::Png, 8, 8)]).err();
            let error = error.unwrap_or_else(|| panic!("{kind:?} cut to {cut} of {} bytes passed", source.len()));
            assert!(!error.can_pass_on_retry(), "{kind:?} cut to {cut}: {error}");
        }
    }
}

#[test]
fn a_tolerant_job_gets_the_rows_that_are_there() {
    let picture = photo(64, 64);
    for source in [jpeg(&picture), png(&picture)] {
        let cut = &source[..source.len() * 2 / 3];
        let strict = variant(Format::Png, 0, 0);
        let tolerant = VariantSpec { tolerant: true, ..strict.clone() };
        assert!(matches!(render(cut, std::slice::from_ref(&strict)), Err(PipelineError::Truncated)));
        let top = |shown: &image::RgbaImage| image::imageops::crop_imm(shown, 0, 0, 64, 24).to_image();
        assert_like("the top", &top(&show(cut, &tolerant)), &top(&picture), 33.0);
        let both = [tolerant, VariantSpec { width: 8, ..strict }];
        assert!(matches!(render(cut, &both), Err(PipelineError::Truncated)), "the strict one fails the job");
    }
}

#[test]
fn a_tolerant_job_gets_what_is_there_of_every_format() {
    let picture = photo(96, 96);
    let lossy = |alpha: bool| {
        let mut picture = picture.clone();
        if alpha {
            picture.pixels_mut().for_each(|p| p[3] = 200);
        }
        webp::Encoder::from_rgba(picture.as_raw(), 96, 96).encode(95.0).to_vec()
    };
    let opaque = |shown: image::RgbaImage| image::DynamicImage::from(shown).into_rgb8();
    let tiff = {
        let rows = picture.pixels().take(96 * 64).flat_map(|p| [p[0], p[1], p[2]]).collect();
        super::tiff::Tiff::new((96, 96), 2, 8, 3, rows).file()
    };
    let sources: [(&str, Vec<u8>, usize, f64); 6] = [
        ("GIF", file(picture.clone(), ImageFormat::Gif), 3, 24.0),
        ("lossless WebP", file(picture.clone(), ImageFormat::WebP), 3, 60.0),
        ("lossy WebP", lossy(false), 3, 28.0),
        ("lossy WebP with alpha", lossy(true), 4, 28.0),
        ("TIFF", tiff, 1, 60.0),
        ("PNG", png(&picture), 3, 60.0),
    ];
    let strict = variant(Format::Png, 0, 0);
    let tolerant = VariantSpec { tolerant: true, ..strict.clone() };
    for (what, source, parts, psnr_min) in sources {
        let cut = if parts == 1 { &source[..] } else { &source[..source.len() - source.len() / parts] };
        assert!(matches!(render(cut, std::slice::from_ref(&strict)), Err(PipelineError::Truncated)), "{what}");
        let shown = show(cut, &tolerant);
        assert_eq!(shown.dimensions(), (96, 96), "{what}");
        let rendered = render(cut, std::slice::from_ref(&tolerant)).expect("a tolerant job").remove(0);
        assert_eq!(rendered.warnings, Warnings::from([Warning::Truncated]), "{what}");
        let top = |shown: &image::RgbImage| {
            let top = image::imageops::crop_imm(shown, 0, 0, 96, 24).to_image();
            image::DynamicImage::from(top).into_rgba8()
        };
        assert_like(what, &top(&opaque(shown)), &top(&opaque(picture.clone())), psnr_min);
    }
}

#[test]
fn what_follows_the_end_is_harmless() {
    let picture = photo(48, 32);
    let whole = jpeg(&picture);
    let garbage = [&whole[..], &[0; 1000], b"trailing"].concat();
    let second_picture = [&whole[..], &jpeg(&photo(8, 8))[..100]].concat();
    for source in [garbage, second_picture] {
        assert_like("the first picture", &show(&source, &variant(Format::Png, 0, 0)), &picture, 33.0);
    }
}

#[test]
fn the_end_of_a_thumbnail_is_not_the_end() {
    let thumbnail = jpeg(&photo(8, 8));
    let source = with_exif(&jpeg(&photo(64, 48)), &thumbnail);
    let cut = &source[..source.len() - source.len() / 4];
    assert!(matches!(render(cut, &[variant(Format::Png, 0, 0)]), Err(PipelineError::Truncated)));
}

#[test]
fn flipped_bytes_never_panic() {
    let picture = photo(40, 30);
    let sources = [
        jpeg(&picture),
        png(&picture),
        file(picture.clone(), ImageFormat::WebP),
        file(picture.clone(), ImageFormat::Gif),
        file(picture.clone(), ImageFormat::Tiff),
        file(picture, ImageFormat::Bmp),
    ];
    let mut state = 1_u32;
    for source in sources {
        for _ in 0..40 {
            let mut bytes = source.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % bytes.len();
                bytes[at] = (state >> 8) as u8;
            }
            let tolerant = VariantSpec { tolerant: true, ..variant(Format::Png, 8, 8) };
            if let Err(PipelineError::Panicked { detail, .. }) = render(&bytes, &[tolerant]) {
                panic!("a codec panicked: {detail}");
            }
        }
    }
}

fn job(variants: Vec<VariantSpec>) -> JobSpec {
    JobSpec {
        priority: Priority::Realtime,
        keep_original: false,
        direct_host: true,
        private: false,
        unique: false,
        storage: Vec::new(),
        sub_dir: SubDir::default(),
        variants,
        placeholder: true,
        manifest: false,
        expires_after: None,
    }
}

#[test]
fn outputs_that_are_too_large_are_named_at_upload() {
    let limits = PixelLimits { output_max: 1_000_000, ..PixelLimits::default() };
    let source = inspected(&png_header(20_000, 100)).expect("a header");
    let pointers = |variants: Vec<VariantSpec>| {
        let errors = check_outputs(&job(variants), &source, &limits).err();
        errors.map(|e| e.fields().iter().map(|f| f.pointer.clone()).collect::<Vec<_>>()).unwrap_or_default()
    };
    assert_eq!(pointers(vec![variant(Format::Webp, 0, 0)]), ["/job/formats/webp", "/job/formats"]);
    assert_eq!(pointers(vec![variant(Format::Webp, 16_383, 0)]), ["/job/formats"]);
    assert!(pointers(vec![variant(Format::Png, 10_000, 0)]).is_empty());
    assert_eq!(
        pointers(vec![variant(Format::Png, 10_000, 0), variant(Format::Avif, 10_000, 0), variant(Format::Jpeg, 1, 1)]),
        ["/job/formats"]
    );
    let grown = VariantSpec { fit: Fit::Outside, enlarge: true, ..variant(Format::Jpeg, 10, 60_000) };
    assert_eq!(pointers(vec![grown]), ["/job/formats/jpg", "/job/formats"]);
}

//! HEIC as original.
//!
//! There is no HEVC encoder in Rust, so two small files are kept: `data/plain.heic` and `data/alpha.heic`, the picture
//! below written once by x265 through libheif (quality 80 and 70, 4:2:0). Everything else is made of them.

use std::io::Cursor;

use image::imageops::{crop_imm, rotate90};
use image::{Rgba, RgbaImage};
use pixerve::job::{Format, SourceFormat, VariantSpec};
use pixerve::pipeline::{InspectError, PipelineError, PixelLimits, inspect};

use super::heif_file::{File, Item, find, grid, ispe};
use super::picture::{assert_like, render, show, variant};

const PLAIN: &[u8] = include_bytes!("data/plain.heic");
const ALPHA: &[u8] = include_bytes!("data/alpha.heic");

/// What the files show: gradients and a disc; in one of them, opacity grows to the right.
fn picture(alpha: bool) -> RgbaImage {
    RgbaImage::from_fn(96, 64, |x, y| {
        let (u, v) = (f64::from(x) / 96.0, f64::from(y) / 64.0);
        let disc = (f64::from(x) - 30.0).hypot(f64::from(y) - 36.0) < 14.0;
        let [r, g, b] =
            if disc { [200.0, 60.0, 40.0] } else { [40.0 + 150.0 * u, 210.0 - 150.0 * v, 90.0 + 60.0 * u * v] };
        let opacity = if alpha { 255.0 * f64::from(x) / 95.0 } else { 255.0 };
        Rgba([r, g, b, opacity].map(|c| c.round() as u8))
    })
}

/// The picture of `plain.heic` as an item.
fn item() -> Item {
    let data = find(PLAIN, b"mdat");
    Item { kind: *b"hvc1", data, properties: Vec::new() }
        .with(b"ispe", &find(PLAIN, b"ispe"))
        .with(b"hvcC", &find(PLAIN, b"hvcC"))
        .with(b"colr", &find(PLAIN, b"colr"))
}

fn png() -> VariantSpec {
    variant(Format::Png, 0, 0)
}

#[test]
fn a_photo_keeps_its_picture() {
    let info = inspect(Cursor::new(PLAIN), &PixelLimits::default()).expect("a HEIC");
    assert_eq!((info.format, info.width, info.height, info.bits), (SourceFormat::Heic, 96, 64, 8));
    assert_like("HEIC", &show(PLAIN, &png()), &picture(false), 32.0);
}

#[test]
fn opacity_is_read() {
    let (shown, expected) = (show(ALPHA, &png()), picture(true));
    for (ours, theirs) in shown.pixels().zip(expected.pixels()) {
        assert!(ours[3].abs_diff(theirs[3]) <= 12, "{ours:?} for {theirs:?}");
    }
}

#[test]
fn a_grid_of_hevc_tiles_is_put_together_turned_and_cut() {
    let whole = grid(2, 2, 180, 120).with(b"irot", &[3]);
    let file = File::of(vec![whole, item(), item(), item(), item()]).refers(b"dimg", 1, &[2, 3, 4, 5]);
    let mut expected = RgbaImage::new(192, 128);
    for (x, y) in [(0, 0), (96, 0), (0, 64), (96, 64)] {
        image::imageops::replace(&mut expected, &picture(false), x, y);
    }
    let expected = rotate90(&crop_imm(&expected, 0, 0, 180, 120).to_image());
    assert_like("a grid", &show(&file.bytes(), &png()), &expected, 32.0);
}

#[test]
fn every_cut_of_a_heic_is_noticed() {
    for cut in (0..60).map(|part| PLAIN.len() * part / 60).chain([PLAIN.len() - 1]) {
        let error = render(&PLAIN[..cut], &[variant(Format::Png, 8, 8)]).err();
        let error = error.unwrap_or_else(|| panic!("cut to {cut} of {} bytes passed", PLAIN.len()));
        assert!(!error.can_pass_on_retry(), "cut to {cut}: {error}");
    }
}

#[test]
fn a_container_that_contradicts_its_stream_is_refused() {
    let mut wrong = item();
    wrong.properties[0].1 = ispe(960, 640);
    let error = inspect(Cursor::new(File::of(vec![wrong]).bytes()), &PixelLimits::default()).expect_err("a lie");
    assert!(matches!(error, InspectError::Damaged { .. }), "{error}");
}

#[test]
fn flipped_bytes_of_a_heic_never_panic() {
    let mut state = 11_u32;
    for source in [PLAIN, ALPHA] {
        for _ in 0..150 {
            let mut bytes = source.to_vec();
            for _ in 0..3 {
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

//! Which pixel format a picture gets, and that nothing is lost by it.

use super::*;
use crate::encoder::Pixels;

fn picture(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 4]) -> Picture {
    let pixels: Vec<[u8; 4]> =
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
    let pixels = if pixels.iter().all(|p| p[3] == 255) {
        Pixels::Rgb(pixels.iter().flat_map(|p| [p[0], p[1], p[2]]).collect())
    } else {
        Pixels::Rgba(pixels.concat())
    };
    Picture { width, height, pixels }
}

fn texture(x: u32, y: u32) -> u8 {
    u8::try_from((x * x * 3 + y * y * 7 + x * y) % 61).expect("small")
}

fn byte(n: u32) -> u8 {
    u8::try_from(n % 256).expect("a byte")
}

/// The file's colour type and bits a sample, after its pixels have been found to be those of `picture`.
fn kept(picture: &Picture, speed: u8) -> (u8, u8, usize) {
    let settings = EncodeSettings { quality: None, speed: Some(speed), ..EncodeSettings::default() };
    let file = Png.encode(picture, &settings).expect("a file");
    let decoded = image::load_from_memory(&file).expect("a PNG");
    assert_eq!((decoded.width(), decoded.height()), (picture.width, picture.height));
    match &picture.pixels {
        Pixels::Rgb(samples) => assert_eq!(decoded.into_rgb8().as_raw(), samples),
        Pixels::Rgba(samples) => assert_eq!(decoded.into_rgba8().as_raw(), samples),
    }
    // Of IHDR: behind the signature, the chunk's length and name, width and height.
    (file[25], file[24], file.len())
}

const GREY: u8 = 0;
const RGB: u8 = 2;
const INDEXED: u8 = 3;
const GREY_ALPHA: u8 = 4;
const RGBA: u8 = 6;

#[test]
fn every_kind_of_picture_keeps_its_pixels_in_the_smallest_format() {
    let opaque = |grey: u8| [grey, grey, grey, 255];
    let cases: [(&str, Picture, (u8, u8)); 11] = [
        ("black and white", picture(13, 7, |x, y| opaque(if (x + y) % 2 == 0 { 0 } else { 255 })), (GREY, 1)),
        ("four even greys", picture(13, 7, |x, _| opaque(byte(x % 4) * 85)), (GREY, 2)),
        ("sixteen even greys", picture(33, 7, |x, _| opaque(byte(x % 16) * 17)), (GREY, 4)),
        ("uneven greys", picture(33, 7, |x, _| opaque(byte(x % 3) + 7)), (INDEXED, 2)),
        ("two colours", picture(9, 3, |x, _| [byte(x % 2) * 200, 10, 20, 255]), (INDEXED, 1)),
        ("nine colours", picture(31, 9, |x, _| [byte(x % 9) * 20, 10, 20, 255]), (INDEXED, 4)),
        ("a see-through colour", picture(31, 9, |x, _| [byte(x % 2) * 20, 0, 0, byte(x % 2) * 255]), (INDEXED, 1)),
        ("a grey photo", picture(90, 70, |x, y| opaque(byte(x + y) / 2 + texture(x, y) / 16)), (GREY, 8)),
        (
            "a grey one with alpha",
            picture(90, 70, |x, y| [byte(x * 2), byte(x * 2), byte(x * 2), byte(y * 3 + 1)]),
            (GREY_ALPHA, 8),
        ),
        ("a photo", picture(90, 70, |x, y| [byte(x * 2) ^ 1, texture(x, y), byte(y * 3), 255]), (RGB, 8)),
        ("a photo with alpha", picture(90, 70, |x, y| [byte(x * 2), texture(x, y), byte(y * 3), byte(x)]), (RGBA, 8)),
    ];
    for (what, picture, expected) in &cases {
        for speed in [1, 4, 6, 9, 10] {
            let (colour, depth, _) = kept(picture, speed);
            assert_eq!((colour, depth), *expected, "{what} at speed {speed}");
        }
    }
}

#[test]
fn many_colours_in_no_order_are_numbers_of_a_palette() {
    let noise = picture(64, 64, |x, y| {
        let n = byte((x * 2_654_435 + y * 40_503 + x * y * 977) >> 3) % 200;
        [n, n.wrapping_mul(77), n.wrapping_mul(13), 255]
    });
    assert_eq!(kept(&noise, 6).0, INDEXED);
}

#[test]
fn a_single_pixel_and_single_rows_and_columns_are_whole() {
    for (width, height) in [(1, 1), (1, 300), (300, 1), (31, 2), (33, 2)] {
        kept(&picture(width, height, |x, y| [byte(x), texture(x, y), byte(y), 255]), 6);
        kept(&picture(width, height, |x, y| [byte(x), texture(x, y), byte(y), byte(x + y)]), 6);
    }
}

#[test]
fn a_slower_speed_gives_no_larger_file() {
    let photo = picture(300, 200, |x, y| [byte(x / 2) ^ (texture(x, y) / 8), byte(y) / 2 + texture(y, x) / 9, 90, 255]);
    let sizes: Vec<usize> = (1..=10).map(|speed| kept(&photo, speed).2).collect();
    // libdeflate's neighbouring levels may differ by a hair in the wrong direction.
    assert!(sizes.windows(2).all(|pair| pair[0] <= pair[1] + pair[1] / 50), "{sizes:?}");
    assert!(sizes[0] < sizes[5] && sizes[5] < sizes[9], "{sizes:?}");
}

/// A picture whose edges were softened by scaling: rings of some colours on paper, in eight by eight samples a pixel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number of a ring")]
fn scaled_drawing(paper: [u8; 4]) -> Picture {
    let inks = [[20, 40, 160, 255], paper, [230, 60, 30, 255], paper, [250, 200, 0, 255], [10, 150, 60, 255]];
    let colour = |x: f64, y: f64| inks[((x - 70.0).hypot(y - 50.0) / 7.0 + x / 60.0) as usize % inks.len()];
    picture(160, 120, |x, y| {
        let samples = (0..64).map(|i| colour(f64::from(x * 8 + i % 8) / 8.0, f64::from(y * 8 + i / 8) / 8.0));
        let sums = samples.fold([0_u32; 4], |sums, c| std::array::from_fn(|i| sums[i] + u32::from(c[i])));
        sums.map(|sum| byte(sum / 64))
    })
}

fn encoded(picture: &Picture, few_colours: bool) -> Vec<u8> {
    Png.encode(picture, &EncodeSettings { few_colours, ..EncodeSettings::default() }).expect("a file")
}

#[test]
fn what_had_a_palette_gets_one_again_where_that_does_not_show() {
    for paper in [[255; 4], [0; 4]] {
        let drawing = scaled_drawing(paper);
        let (exact, fewer) = (encoded(&drawing, false), encoded(&drawing, true));
        assert!(exact[25] != INDEXED && fewer[25] == INDEXED, "{paper:?}");
        assert!(fewer.len() * 3 < exact.len() * 2, "{paper:?}: {} of {}", fewer.len(), exact.len());
        let shown = image::load_from_memory(&fewer).expect("a PNG");
        let pixels = match &drawing.pixels {
            Pixels::Rgb(_) => Pixels::Rgb(shown.into_rgb8().into_raw()),
            Pixels::Rgba(_) => Pixels::Rgba(shown.into_rgba8().into_raw()),
        };
        let (Pixels::Rgb(ours) | Pixels::Rgba(ours)) = &pixels;
        let (Pixels::Rgb(theirs) | Pixels::Rgba(theirs)) = &drawing.pixels;
        let worst = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst < Some(60), "{paper:?}: {worst:?}");
    }
}

#[test]
fn colours_that_would_be_missed_are_kept() {
    // All hues at all lightnesses: in 256 of them there are steps.
    let wheel = picture(240, 180, |x, y| [byte(x), byte(y + 60), byte(255 - x / 2 - y / 3), 255]);
    let settings = EncodeSettings { few_colours: true, ..EncodeSettings::default() };
    let file = Png.encode(&wheel, &settings).expect("a file");
    let Pixels::Rgb(samples) = &wheel.pixels else { panic!("it is opaque") };
    assert_eq!(image::load_from_memory(&file).expect("a PNG").into_rgb8().as_raw(), samples);
}

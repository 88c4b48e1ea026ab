//! PNG in every depth, with and without a transparent colour.

use image::{Rgba, RgbaImage};
use pixerve::job::Format;
use png::{BitDepth, ColorType};

use super::picture::{show, variant};

struct Kind<'a> {
    colour: ColorType,
    depth: BitDepth,
    palette: Option<&'a [u8]>,
    transparent: Option<&'a [u8]>,
}

fn file(size: (u32, u32), kind: &Kind<'_>, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
    encoder.set_color(kind.colour);
    encoder.set_depth(kind.depth);
    if let Some(palette) = kind.palette {
        encoder.set_palette(palette);
    }
    if let Some(transparent) = kind.transparent {
        encoder.set_trns(transparent);
    }
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(data).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

fn shown(size: (u32, u32), kind: &Kind<'_>, data: &[u8]) -> RgbaImage {
    show(&file(size, kind, data), &variant(Format::Png, 0, 0))
}

/// Rows of 13 samples below a byte.
fn packed(bits: usize, f: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let row = |y: usize| {
        let mut row = vec![0_u8; (13 * bits).div_ceil(8)];
        for x in 0..13 {
            row[x * bits / 8] |= f(x, y) << (8 - bits - x * bits % 8);
        }
        row
    };
    (0..7).flat_map(row).collect()
}

const DEPTHS: [(usize, BitDepth); 4] =
    [(1, BitDepth::One), (2, BitDepth::Two), (4, BitDepth::Four), (8, BitDepth::Eight)];

#[test]
fn grey_of_every_depth_with_and_without_a_transparent_level() {
    for (bits, depth) in DEPTHS {
        let full = ((1_u32 << bits) - 1) as u8;
        let level = |x: usize, y: usize| ((x * 5 + y * 2) % (usize::from(full) + 1)) as u8;
        // Of a level's two bytes only as many bits count as a sample has.
        for transparent in [None, Some([0, 1]), Some([0xFF, 1]), Some([0, 1 | (full ^ 0xFF)])] {
            let kind = Kind {
                colour: ColorType::Grayscale,
                depth,
                palette: None,
                transparent: transparent.as_ref().map(|t| &t[..]),
            };
            let expected = RgbaImage::from_fn(13, 7, |x, y| {
                let level = level(x as usize, y as usize);
                let v = level * (255 / full);
                Rgba([v, v, v, if transparent.is_some() && level == 1 { 0 } else { 255 }])
            });
            let found = shown((13, 7), &kind, &packed(bits, level));
            // What is fully transparent has no colour to compare.
            let same = found.pixels().zip(expected.pixels()).all(|(a, b)| a[3] == b[3] && (a[3] == 0 || a == b));
            assert!(same, "{bits} bits, {transparent:?}");
        }
    }
}

#[test]
fn palettes_of_every_depth_with_and_without_transparent_entries() {
    for (bits, depth) in DEPTHS {
        let entries = 1_usize << bits;
        let palette: Vec<u8> = (0..entries).flat_map(|i| [(i * 11) as u8, (255 - i) as u8, (i * 77) as u8]).collect();
        let index = |x: usize, y: usize| ((x * 3 + y) % entries) as u8;
        for transparent in [None, Some([100, 200])] {
            let kind = Kind {
                colour: ColorType::Indexed,
                depth,
                palette: Some(&palette),
                transparent: transparent.as_ref().map(|t| &t[..]),
            };
            let expected = RgbaImage::from_fn(13, 7, |x, y| {
                let i = usize::from(index(x as usize, y as usize));
                let alpha = transparent.and_then(|t| t.get(i).copied()).unwrap_or(255);
                Rgba([palette[i * 3], palette[i * 3 + 1], palette[i * 3 + 2], alpha])
            });
            assert_eq!(shown((13, 7), &kind, &packed(bits, index)), expected, "{bits} bits, {transparent:?}");
        }
    }
}

#[test]
fn a_transparent_colour_of_rgb_counts_in_all_its_bits() {
    let kind = |depth, transparent: &'static [u8]| Kind {
        colour: ColorType::Rgb,
        depth,
        palette: None,
        transparent: Some(transparent),
    };
    let eight = shown((2, 1), &kind(BitDepth::Eight, &[0, 9, 0, 8, 0, 7]), &[9, 8, 7, 9, 8, 6]);
    assert_eq!([eight.get_pixel(0, 0)[3], eight.get_pixel(1, 0)[3]], [0, 255]);
    let data = [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 7];
    let sixteen = shown((2, 1), &kind(BitDepth::Sixteen, &[1, 2, 3, 4, 5, 6]), &data);
    assert_eq!([sixteen.get_pixel(0, 0)[3], sixteen.get_pixel(1, 0)[3]], [0, 255]);
}

#[test]
fn sixteen_bits_with_alpha_are_resized_premultiplied_and_rounded_once() {
    // Opaque red beside what is transparent and green: no green may show.
    let mut data = Vec::new();
    for _ in 0..64 {
        for x in 0..64 {
            let pixel: [u16; 4] = if x < 29 { [60_000, 0, 0, 65_535] } else { [0, 65_535, 0, 0] };
            data.extend(pixel.iter().flat_map(|v| v.to_be_bytes()));
        }
    }
    let kind = Kind { colour: ColorType::Rgba, depth: BitDepth::Sixteen, palette: None, transparent: None };
    let source = file((64, 64), &kind, &data);
    let small = show(&source, &variant(Format::Png, 16, 16));
    let edge: Vec<_> = small.pixels().filter(|p| (20..236).contains(&p[3])).collect();
    assert!(!edge.is_empty(), "the edge falls inside a pixel");
    assert!(edge.iter().all(|p| p[1] <= 2 && p[0].abs_diff(233) <= 2), "{edge:?}");

    let levels: Vec<u8> = (0..256_u32).flat_map(|i| ((i * 257 + 64).min(65_535) as u16).to_be_bytes()).collect();
    let kind = Kind { colour: ColorType::Grayscale, depth: BitDepth::Sixteen, palette: None, transparent: None };
    let shown = shown((256, 1), &kind, &levels);
    assert!((0..256).all(|x| u32::from(shown.get_pixel(x, 0)[0]) == x.min(255)));
}

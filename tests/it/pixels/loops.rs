//! How often a GIF plays, how long its frames show, and what explains the colours of an APNG.

use image::{Rgba, RgbaImage};
use pixerve::job::{Format, VariantSpec};

use super::animation::frames;
use super::picture::{render, show, variant};

const LOOP_BLOCK: &[u8] = b"!\xFF\x0B";

/// Two frames of one pixel, red and green, behind what `head` is and each behind its `controls`.
fn gif(head: &[u8], controls: [&[u8]; 2]) -> Vec<u8> {
    let mut file = b"GIF89a\x01\0\x01\0\x80\0\0\xC8\0\0\0\xC8\0".to_vec();
    file.extend(head);
    for (control, colour) in controls.into_iter().zip([0x44, 0x4C]) {
        file.extend(control);
        file.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02");
        file.extend([colour, 0x01, 0]);
    }
    file.push(b';');
    file
}

fn control(flags: u8, hundredths: u8) -> Vec<u8> {
    vec![b'!', 0xF9, 4, flags, hundredths, 0, 0, 0]
}

fn moving() -> VariantSpec {
    VariantSpec { animated: true, quality: Some(100), ..variant(Format::Webp, 0, 0) }
}

fn played(source: &[u8]) -> (u32, Vec<(RgbaImage, u32)>) {
    frames(&render(source, &[moving()]).expect("a good source").remove(0).bytes)
}

#[test]
fn a_gif_plays_as_often_as_its_loop_block_says_and_once_more() {
    let counted = |name: &[u8], count: u16| [LOOP_BLOCK, name, &[3, 1], &count.to_le_bytes(), &[0]].concat();
    let plain = control(0, 5);
    let plays = |head: &[u8]| played(&gif(head, [&plain, &plain])).0;
    assert_eq!(plays(b""), 1, "no loop block");
    for name in [&b"NETSCAPE2.0"[..], b"ANIMEXTS1.0"] {
        for (count, expected) in [(0, 0), (1, 2), (2, 3), (9, 10), (u16::MAX, u32::from(u16::MAX))] {
            assert_eq!(plays(&counted(name, count)), expected, "{} of {count}", name.escape_ascii());
        }
    }
    assert_eq!(plays(&counted(b"OTHERAPP1.0", 7)), 1, "an extension that says something else");
    let comment = [b"!\xFE\x02hi\0", &counted(b"NETSCAPE2.0", 4)[..]].concat();
    assert_eq!(plays(&comment), 5, "behind a comment");
}

#[test]
fn of_two_graphic_controls_the_last_rules() {
    let first = [control(0, 50), control(0, 7)].concat();
    // Transparent by the first, opaque by the last.
    let second = [control(1, 90), b"!\xFE\x02hi\0".to_vec(), control(0, 11)].concat();
    let (_, found) = played(&gif(b"", [&first, &second]));
    let found: Vec<_> = found.into_iter().map(|(frame, ms)| (*frame.get_pixel(0, 0), ms)).collect();
    assert_eq!(found, [(Rgba([200, 0, 0, 255]), 70), (Rgba([0, 200, 0, 255]), 110)]);
}

/// A PNG, moving or not, with `chunks` before its pixels.
fn png(picture: &RgbaImage, frames: u32, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width(), picture.height());
    encoder.set_color(png::ColorType::Rgba);
    if frames > 1 {
        encoder.set_animated(frames, 0).expect("animated");
    }
    let mut writer = encoder.write_header().expect("a header");
    for (id, data) in chunks {
        writer.write_chunk(png::chunk::ChunkType(**id), data).expect("a chunk");
    }
    (0..frames).for_each(|_| writer.write_image_data(picture).expect("a frame"));
    writer.finish().expect("an end");
    bytes
}

#[test]
fn an_apng_shows_the_colours_that_the_still_has() {
    let picture = RgbaImage::from_fn(16, 4, |x, y| Rgba([(x * 16) as u8, (y * 60) as u8, (255 - x * 10) as u8, 255]));
    let explained: [(&str, &[u8; 4], &[u8]); 2] =
        [("gAMA", b"gAMA", &100_000_u32.to_be_bytes()), ("cICP", b"cICP", &[12, 13, 0, 1])];
    for (what, id, data) in explained {
        let still = show(&png(&picture, 1, &[(id, data)]), &variant(Format::Png, 0, 0));
        assert_ne!(still, picture, "{what} changes colours");
        let (_, found) = played(&png(&picture, 2, &[(id, data)]));
        assert_eq!(found.len(), 2, "{what}");
        let off = |frame: &RgbaImage| frame.as_raw().iter().zip(still.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(found.iter().all(|(frame, _)| off(frame) <= Some(1)), "{what}");
    }
}

#[test]
fn an_apng_of_any_depth_moves() {
    let kinds = [
        (png::ColorType::Grayscale, png::BitDepth::Sixteen, vec![0x80, 0x7F], [128, 128, 128, 255]),
        (png::ColorType::Rgba, png::BitDepth::Sixteen, vec![10, 0, 20, 0, 30, 0, 255, 255], [10, 20, 30, 255]),
        (png::ColorType::GrayscaleAlpha, png::BitDepth::Eight, vec![9, 255], [9, 9, 9, 255]),
        (png::ColorType::Rgb, png::BitDepth::Eight, vec![1, 2, 3], [1, 2, 3, 255]),
    ];
    for (colour, depth, pixel, expected) in kinds {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        encoder.set_animated(2, 3).expect("animated");
        let mut writer = encoder.write_header().expect("a header");
        (0..2).for_each(|_| writer.write_image_data(&pixel.repeat(6)).expect("a frame"));
        writer.finish().expect("an end");
        let (plays, found) = played(&bytes);
        assert_eq!((plays, found.len()), (3, 2), "{colour:?} {depth:?}");
        assert!(found.iter().all(|(frame, _)| frame.get_pixel(1, 1).0 == expected), "{colour:?} {depth:?}");
    }
}

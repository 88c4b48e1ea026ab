//! Frames that cover a part, and what becomes of them: GIF and APNG against a canvas that is painted here by the rules.

use image::{Rgba, RgbaImage};
use pixerve::job::{Format, VariantSpec};
use png::{BlendOp, DisposeOp};

use super::animation::frames;
use super::picture::{render, show, variant};

const COLOURS: [[u8; 4]; 4] = [[250, 0, 0, 255], [0, 250, 0, 255], [0, 0, 250, 255], [0; 4]];

/// The colour that is transparent.
const CLEAR: u8 = 3;

/// What becomes of a frame before the next.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Keep,
    Clear,
    Restore,
}

struct Part {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    then: Then,
    delay_ms: u32,
    pixels: Vec<u8>,
}

fn part(at: (u32, u32), size: (u32, u32), then: Then, delay_ms: u32, f: impl Fn(u32, u32) -> u8) -> Part {
    let pixels = (0..size.1).flat_map(|y| (0..size.0).map(move |x| (x, y))).map(|(x, y)| f(x, y)).collect();
    Part { left: at.0, top: at.1, width: size.0, height: size.1, then, delay_ms, pixels }
}

fn parts(then: [Then; 6]) -> Vec<Part> {
    vec![
        part((0, 0), (9, 6), then[0], 100, |x, y| if (x + y) % 5 == 0 { CLEAR } else { 0 }),
        part((2, 1), (4, 3), then[1], 50, |x, _| (x % 2) as u8 + 1),
        part((0, 0), (3, 3), then[2], 20, |_, _| 2),
        part((5, 3), (4, 3), then[3], 0, |x, y| if x == y { CLEAR } else { 1 }),
        part((1, 1), (7, 4), then[4], 70, |x, _| if x < 3 { 2 } else { CLEAR }),
        part((8, 5), (1, 1), then[5], 10, |_, _| 1),
    ]
}

/// What each frame looks like, transparent pixels showing what was there.
fn painted(parts: &[Part]) -> Vec<RgbaImage> {
    let mut canvas = RgbaImage::new(9, 6);
    let mut seen = Vec::new();
    for part in parts {
        let before = canvas.clone();
        let places = (0..part.height).flat_map(|y| (0..part.width).map(move |x| (x, y)));
        for ((x, y), colour) in places.clone().zip(&part.pixels) {
            if *colour != CLEAR {
                canvas.put_pixel(part.left + x, part.top + y, Rgba(COLOURS[usize::from(*colour)]));
            }
        }
        seen.push(canvas.clone());
        match part.then {
            Then::Keep => {}
            Then::Clear => {
                places.for_each(|(x, y)| canvas.put_pixel(part.left + x, part.top + y, Rgba([0; 4])));
            }
            Then::Restore => canvas = before,
        }
    }
    seen
}

fn gif(parts: &[Part]) -> Vec<u8> {
    let mut file = b"GIF89a\x09\0\x06\0\x81\0\0".to_vec();
    file.extend(COLOURS.iter().flat_map(|c| &c[..3]));
    file.extend(b"!\xFF\x0BNETSCAPE2.0\x03\x01\x05\0\0");
    for part in parts {
        let then = match part.then {
            Then::Keep => 1,
            Then::Clear => 2,
            Then::Restore => 3,
        };
        file.extend([b'!', 0xF9, 4, then << 2 | 1, (part.delay_ms / 10) as u8, 0, CLEAR, 0, b',']);
        for v in [part.left, part.top, part.width, part.height] {
            file.extend((v as u16).to_le_bytes());
        }
        file.extend([0, 2]);
        // Codes of three bits throughout: the table is cleared before it grows.
        let mut codes: Vec<u8> = part.pixels.chunks(2).flat_map(|two| [&[4], two].concat()).collect();
        codes.push(5);
        let bits: Vec<u8> = codes.iter().flat_map(|code| (0..3).map(move |bit| code >> bit & 1)).collect();
        let data: Vec<u8> =
            bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (i, bit)| sum | bit << i)).collect();
        for block in data.chunks(255) {
            file.push(block.len() as u8);
            file.extend(block);
        }
        file.push(0);
    }
    file.push(b';');
    file
}

fn apng(parts: &[Part]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 9, 6);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_animated(parts.len() as u32, 5).expect("animated");
    encoder.set_blend_op(BlendOp::Over).expect("blended");
    let mut writer = encoder.write_header().expect("a header");
    for part in parts {
        // In this order: a frame may not stick out at any moment.
        writer.reset_frame_position().expect("a place");
        writer.set_frame_dimension(part.width, part.height).expect("a size");
        writer.set_frame_position(part.left, part.top).expect("a place");
        writer.set_frame_delay(part.delay_ms as u16, 1000).expect("a delay");
        let then = match part.then {
            Then::Keep => DisposeOp::None,
            Then::Clear => DisposeOp::Background,
            Then::Restore => DisposeOp::Previous,
        };
        writer.set_dispose_op(then).expect("disposal");
        let pixels: Vec<u8> = part.pixels.iter().flat_map(|colour| COLOURS[usize::from(*colour)]).collect();
        writer.write_image_data(&pixels).expect("a frame");
    }
    writer.finish().expect("an end");
    file
}

/// Colours of what is fully transparent say nothing.
fn same(a: &RgbaImage, b: &RgbaImage) -> bool {
    a.dimensions() == b.dimensions() && a.pixels().zip(b.pixels()).all(|(a, b)| a[3] == b[3] && (a[3] == 0 || a == b))
}

#[test]
fn parts_are_painted_disposed_of_and_repeated_by_the_rules() {
    use Then::{Clear, Keep, Restore};
    let orders = [[Keep, Clear, Restore, Keep, Restore, Keep], [Keep, Restore, Keep, Clear, Keep, Restore]];
    let moving = VariantSpec { animated: true, quality: Some(100), ..variant(Format::Webp, 0, 0) };
    // A GIF that says it plays 5 times more, and a PNG that says it plays 5 times.
    for (kind, order) in orders.into_iter().flat_map(|order| [("GIF", order), ("APNG", order)]) {
        let parts = parts(order);
        let expected = painted(&parts);
        let source = if kind == "GIF" { gif(&parts) } else { apng(&parts) };
        let rendered = render(&source, std::slice::from_ref(&moving)).expect("a good source").remove(0);
        let (plays, found) = frames(&rendered.bytes);
        assert_eq!(plays, if kind == "GIF" { 6 } else { 5 }, "{kind}");
        assert_eq!(found.len(), expected.len(), "{kind}");
        for (i, ((found, ms), expected)) in found.iter().zip(&expected).enumerate() {
            assert!(same(found, expected), "{kind}, frame {i}");
            // Browsers show what asks for 10 ms or less for 100.
            let wanted = if parts[i].delay_ms <= 10 { 100 } else { parts[i].delay_ms };
            assert_eq!(*ms, wanted, "{kind}, frame {i}");
        }
        let still = show(&source, &variant(Format::Png, 0, 0));
        assert!(same(&still, &expected[0]), "{kind} standing still");

        let rendered = render(&rendered.bytes, std::slice::from_ref(&moving)).expect("our own WebP").remove(0);
        for (i, ((found, _), expected)) in frames(&rendered.bytes).1.iter().zip(&expected).enumerate() {
            assert!(same(found, expected), "{kind}, through WebP twice, frame {i}");
        }
    }
}

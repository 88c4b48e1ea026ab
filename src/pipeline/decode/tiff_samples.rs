//! TIFF samples to those of a raster.

use std::io::{BufRead, Seek};

use crate::pipeline::PipelineError;
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::tiff::tag;
use crate::pipeline::inspect::{Meaning, Predictor, TiffPage};
use crate::pipeline::raster::Samples;

/// Samples of the depth that the pipeline works in, out of a row of bytes as a file stores them: whole numbers keep their
/// share of the range, floating point is taken from 0 to 1.
pub(super) trait SampleRow: Copy + Default {
    /// Fills `into` with the samples of `row`, which is changed on the way.
    fn of_row(row: &mut [u8], page: &TiffPage, into: &mut [Self]);
}

impl SampleRow for u8 {
    fn of_row(row: &mut [u8], page: &TiffPage, into: &mut [Self]) {
        let bits = usize::from(page.bits);
        if bits < 8 {
            // What is no palette's index fills the range of a byte.
            let full = u16::from(u8::MAX >> (8 - bits));
            let scale = |value: u16| if page.meaning == Meaning::Palette { value } else { value * 255 / full };
            let values = unpacked(row, bits).map(scale);
            into.iter_mut().zip(values).for_each(|(to, value)| *to = u8::try_from(value).unwrap_or(u8::MAX));
            return;
        }
        if page.predictor == Predictor::Horizontal {
            add_up(row, neighbours(page));
        }
        into.copy_from_slice(&row[..into.len()]);
    }
}

impl SampleRow for u16 {
    fn of_row(row: &mut [u8], page: &TiffPage, into: &mut [Self]) {
        let big_endian = page.directory.big_endian;
        if page.bits < 16 {
            let full = f64::from((1_u32 << page.bits) - 1);
            let values = unpacked(row, usize::from(page.bits)).map(|value| share(f64::from(value) / full));
            into.iter_mut().zip(values).for_each(|(to, value)| *to = value);
            return;
        }
        if page.bits == 16 && page.predictor != Predictor::FloatingPoint {
            let (twos, _) = row.as_chunks::<2>();
            let value = |two: &[u8; 2]| if big_endian { Self::from_be_bytes(*two) } else { Self::from_le_bytes(*two) };
            into.iter_mut().zip(twos).for_each(|(to, two)| *to = value(two));
            if page.predictor == Predictor::Horizontal {
                let step = neighbours(page);
                for i in step..into.len() {
                    into[i] = into[i].wrapping_add(into[i - step]);
                }
            }
            if page.float {
                for value in into {
                    *value = share(half(*value));
                }
            }
            return;
        }
        let bytes = usize::from(page.bits / 8);
        let mut values: Vec<u64> = if page.predictor == Predictor::FloatingPoint {
            add_up(row, neighbours(page));
            // All highest bytes come first.
            let byte = |i: usize, place: usize| u64::from(row[place * into.len() + i]);
            (0..into.len()).map(|i| (0..bytes).fold(0, |value, place| value << 8 | byte(i, place))).collect()
        } else {
            let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            let value = |value: &[u8]| {
                if big_endian { value.iter().fold(0, fold) } else { value.iter().rev().fold(0, fold) }
            };
            row.chunks_exact(bytes).map(value).collect()
        };
        let full = u64::MAX >> (64 - u32::from(page.bits));
        if page.predictor == Predictor::Horizontal {
            let step = neighbours(page);
            for i in step..values.len() {
                values[i] = values[i].wrapping_add(values[i - step]) & full;
            }
        }
        let sample = |value: u64| match (page.float, page.bits) {
            (true, 16) => share(half(Self::try_from(value).unwrap_or(Self::MAX))),
            (true, 32) => share(f64::from(f32::from_bits(u32::try_from(value).unwrap_or(0)))),
            (true, _) => share(f64::from_bits(value)),
            (false, _) => {
                let rounded = (u128::from(value) * 65_535 + u128::from(full / 2)) / u128::from(full);
                Self::try_from(rounded).unwrap_or(Self::MAX)
            }
        };
        into.iter_mut().zip(values).for_each(|(to, value)| *to = sample(value));
    }
}

/// How many samples lie between one and its neighbour of the same kind.
fn neighbours(page: &TiffPage) -> usize {
    if page.planar { 1 } else { page.samples }
}

/// Undoes that each byte was stored as the difference from the one `step` before.
fn add_up(row: &mut [u8], step: usize) {
    for i in step..row.len() {
        row[i] = row[i].wrapping_add(row[i - step]);
    }
}

/// Samples of fewer than 16 bits, one after the other from the highest bit of the first byte on.
fn unpacked(row: &[u8], bits: usize) -> impl Iterator<Item = u16> {
    let full = (1_u32 << bits) - 1;
    let byte = |i: usize| u32::from(row.get(i).copied().unwrap_or(0));
    (0..row.len() * 8 / bits).map(move |i| {
        let bit = i * bits;
        let three = byte(bit / 8) << 16 | byte(bit / 8 + 1) << 8 | byte(bit / 8 + 2);
        u16::try_from(three >> (24 - bits - bit % 8) & full).unwrap_or(u16::MAX)
    })
}

/// The value of half-precision floating point.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2.0_f64.powi(-24),
        31 => f64::MAX,
        _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range; NaN is 0")]
fn share(value: f64) -> u16 {
    (value.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

/// R, G, B, and alpha if there was, in place of indices.
pub(super) fn in_place_of_palette<R: BufRead + Seek>(
    file: &mut BoundedReader<R>,
    page: &TiffPage,
    samples: &Samples,
) -> Result<Samples, PipelineError> {
    let Samples::U8(indices) = samples else { return Err(PipelineError::bad_image("a palette of 16 bits")) };
    let entries = 1 << page.bits;
    let map = page.directory.numbers(file, tag::COLOUR_MAP, 3 * entries).unwrap_or_default();
    if map.len() < 3 * entries {
        return Err(PipelineError::bad_image("its palette is too short"));
    }
    // Some writers give 8 bits where 16 are asked for.
    let divisor = if map.iter().all(|value| *value < 256) { 1 } else { 257 };
    let colour = |value: u64| u8::try_from((value + divisor / 2) / divisor).unwrap_or(u8::MAX);
    let palette: Vec<[u8; 3]> =
        (0..entries).map(|i| [colour(map[i]), colour(map[entries + i]), colour(map[2 * entries + i])]).collect();
    Ok(Samples::U8(indices.iter().flat_map(|index| palette[usize::from(*index) % entries]).collect()))
}

/// Full-range YCbCr of BT.601 to RGB, in place.
pub(super) fn rgb_of_ycbcr(samples: Samples, channels: usize) -> Samples {
    let Samples::U8(mut samples) = samples else { return samples };
    for pixel in samples.chunks_exact_mut(channels) {
        let [r, g, b] = super::jpeg::rgb_of_ycbcr(pixel[0], pixel[1], pixel[2]);
        pixel[..3].copy_from_slice(&[r, g, b]);
    }
    Samples::U8(samples)
}

/// CIELAB of white point D50 to sRGB of 16 bits.
pub(super) fn cielab(samples: Samples, channels: usize, signed: bool) -> Samples {
    // L fills the range; a and b go in steps of 1 (8 bits) or 1/256 (16 bits), either signed or with 128 added.
    let (values, lightness, step): (Vec<u16>, f64, f64) = match samples {
        Samples::U8(samples) => (samples.into_iter().map(u16::from).collect(), 100.0 / 255.0, 1.0),
        Samples::U16(samples) => (samples, 100.0 / 65_535.0, 1.0 / 256.0),
    };
    let half = 128.0;
    let chroma = |value: u16| {
        let value = f64::from(value) * step;
        match (signed, value < half) {
            (true, true) => value,
            (true, false) => value - 2.0 * half,
            (false, _) => value - half,
        }
    };
    let full = |value: u16| if step < 1.0 { value } else { value * 257 };
    let mut converted = Vec::with_capacity(values.len());
    for pixel in values.chunks_exact(channels) {
        converted.extend(srgb_of_lab(f64::from(pixel[0]) * lightness, chroma(pixel[1]), chroma(pixel[2])).map(share));
        converted.extend(pixel[3..].iter().map(|alpha| full(*alpha)));
    }
    Samples::U16(converted)
}

/// Encoded sRGB of L, a, b under D50, adapted to D65 by Bradford's method.
fn srgb_of_lab(l: f64, a: f64, b: f64) -> [f64; 3] {
    let y = (l + 16.0) / 116.0;
    let linear = |t: f64| if t > 6.0 / 29.0 { t.powi(3) } else { 3.0 * (6.0_f64 / 29.0).powi(2) * (t - 4.0 / 29.0) };
    let xyz = [0.964_22 * linear(y + a / 500.0), linear(y), 0.825_21 * linear(y - b / 200.0)];
    // XYZ under D50 to linear sRGB.
    let rows = [
        [3.133_856_1, -1.616_866_7, -0.490_614_6],
        [-0.978_768_4, 1.916_141_5, 0.033_454_0],
        [0.071_945_3, -0.228_991_4, 1.405_242_7],
    ];
    rows.map(|row| encoded(row.iter().zip(xyz).map(|(weight, value)| weight * value).sum()))
}

/// sRGB's curve.
fn encoded(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 }
}

/// Encoded sRGB for each level of linear light.
pub(super) fn srgb_encoded() -> Vec<u16> {
    (0..=u16::MAX).map(|level| share(encoded(f64::from(level) / 65_535.0))).collect()
}

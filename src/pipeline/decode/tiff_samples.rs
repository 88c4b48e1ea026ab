//! TIFF samples to those of a raster.

use std::io::{Read, Seek};

use tiff::tags::Tag;

use crate::pipeline::PipelineError;
use crate::pipeline::inspect::{Meaning, TiffPage};
use crate::pipeline::raster::Samples;

/// Half-precision floating point, as its bits.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub(super) struct Half(u16);

/// A stored sample that becomes an `Out`: whole numbers keep their share of the range, floating point is taken from 0 to 1.
pub(super) trait TiffSample<Out>: Copy {
    fn all(samples: Vec<Self>) -> Vec<Out>;
}

impl TiffSample<u8> for u8 {
    fn all(samples: Vec<Self>) -> Vec<u8> {
        samples
    }
}

impl TiffSample<u16> for u16 {
    fn all(samples: Vec<Self>) -> Vec<u16> {
        samples
    }
}

impl TiffSample<u16> for u32 {
    fn all(samples: Vec<Self>) -> Vec<u16> {
        let rounded = |v: u32| (u64::from(v) * 65_535 + u64::from(u32::MAX / 2)) / u64::from(u32::MAX);
        samples.into_iter().map(|v| u16::try_from(rounded(v)).unwrap_or(u16::MAX)).collect()
    }
}

impl TiffSample<u16> for u64 {
    fn all(samples: Vec<Self>) -> Vec<u16> {
        samples.into_iter().map(|v| u16::try_from(v >> 48).unwrap_or(u16::MAX)).collect()
    }
}

impl TiffSample<u16> for Half {
    fn all(samples: Vec<Self>) -> Vec<u16> {
        samples.into_iter().map(|half| share(half.value())).collect()
    }
}

impl TiffSample<u16> for f32 {
    fn all(samples: Vec<Self>) -> Vec<u16> {
        samples.into_iter().map(|v| share(f64::from(v))).collect()
    }
}

impl TiffSample<u16> for f64 {
    fn all(samples: Vec<Self>) -> Vec<u16> {
        samples.into_iter().map(share).collect()
    }
}

impl Half {
    fn value(self) -> f64 {
        let sign = if self.0 >> 15 == 1 { -1.0 } else { 1.0 };
        let (exponent, fraction) = (i32::from(self.0 >> 10 & 31), f64::from(self.0 & 1023));
        sign * match exponent {
            0 => fraction * 2.0_f64.powi(-24),
            31 => f64::MAX,
            _ => (1.0 + fraction / 1024.0) * 2.0_f64.powi(exponent - 15),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range; NaN is 0")]
fn share(value: f64) -> u16 {
    (value.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

/// One byte a sample out of packed bits, rows of each plane beginning at whole bytes. What is no palette's index fills the
/// range of a byte.
pub(super) fn unpacked<R: Read + Seek>(bytes: &[u8], page: &TiffPage<R>) -> Vec<u8> {
    let bits = usize::from(page.bits);
    let in_row = page.width as usize * if page.planar { 1 } else { page.samples };
    let full = u8::MAX >> (8 - bits);
    let scale = if page.meaning == Meaning::Palette { 1 } else { u8::MAX / full };
    bytes
        .chunks_exact((in_row * bits).div_ceil(8))
        .flat_map(|row| {
            (0..in_row).map(move |i| {
                let bit = i * bits;
                (row[bit / 8] >> (8 - bits - bit % 8) & full) * scale
            })
        })
        .collect()
}

/// R, G, B, and alpha if there was, in place of indices.
pub(super) fn in_place_of_palette<R: Read + Seek>(
    page: &mut TiffPage<R>,
    samples: &Samples,
) -> Result<Samples, PipelineError> {
    let Samples::U8(indices) = samples else { return Err(PipelineError::bad_image("a palette of 16 bits")) };
    let map = page.decoder.get_tag_u16_vec(Tag::ColorMap).map_err(PipelineError::bad_image)?;
    let entries = 1 << page.bits;
    if map.len() < 3 * entries {
        return Err(PipelineError::bad_image("its palette is too short"));
    }
    // Some writers give 8 bits where 16 are asked for.
    let divisor = if map.iter().all(|value| *value < 256) { 1 } else { 257 };
    let colour = |value: u16| u8::try_from((u32::from(value) + divisor / 2) / divisor).unwrap_or(u8::MAX);
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

//! How far apart two pictures are.

use std::path::Path;

use image::RgbaImage;

use super::ciede::{ciede2000, lab};

pub(crate) enum Difference {
    /// The reference has another size.
    Size { width: u32, height: u32 },
    /// Over all pixels, on white.
    Pixels {
        /// Mean CIEDE2000.
        de: f64,
        psnr: f64,
    },
}

/// Compares two files, if both are there. `gamma` is the exponent that makes theirs linear, if it isn't sRGB yet.
pub(crate) fn difference(ours: &Path, theirs: &Path, gamma: Option<f64>) -> Option<Difference> {
    let (ours, mut theirs) = (open(ours)?, open(theirs)?);
    if let Some(gamma) = gamma {
        let table: Vec<u8> = (0..=255).map(|v| srgb(f64::from(v) / 255.0, gamma)).collect();
        theirs.pixels_mut().for_each(|p| p.0[..3].iter_mut().for_each(|v| *v = table[usize::from(*v)]));
    }
    let (width, height) = theirs.dimensions();
    if ours.dimensions() != (width, height) {
        return Some(Difference::Size { width, height });
    }
    let (mut de, mut squares) = (0.0, 0.0);
    for (a, b) in ours.pixels().zip(theirs.pixels()) {
        let (a, b) = (on_white(a.0), on_white(b.0));
        de += ciede2000(lab(a), lab(b));
        squares += a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    }
    let pixels = f64::from(width) * f64::from(height);
    Some(Difference::Pixels { de: de / pixels, psnr: 10.0 * (pixels * 3.0 / squares).log10() })
}

/// sRGB of 8 bits for an encoded value of another curve.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
fn srgb(value: f64, gamma: f64) -> u8 {
    let linear = value.powf(gamma);
    let encoded = if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    (encoded * 255.0).round() as u8
}

fn open(path: &Path) -> Option<RgbaImage> {
    Some(image::open(path).ok()?.into_rgba8())
}

fn on_white([r, g, b, a]: [u8; 4]) -> [f64; 3] {
    let alpha = f64::from(a) / 255.0;
    [r, g, b].map(|value| f64::from(value) / 255.0 * alpha + 1.0 - alpha)
}

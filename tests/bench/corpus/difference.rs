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

/// Compares two files, if both are there.
pub(crate) fn difference(ours: &Path, theirs: &Path) -> Option<Difference> {
    let (ours, theirs) = (open(ours)?, open(theirs)?);
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

fn open(path: &Path) -> Option<RgbaImage> {
    Some(image::open(path).ok()?.into_rgba8())
}

fn on_white([r, g, b, a]: [u8; 4]) -> [f64; 3] {
    let alpha = f64::from(a) / 255.0;
    [r, g, b].map(|value| f64::from(value) / 255.0 * alpha + 1.0 - alpha)
}

//! How far apart two pictures are.

use std::path::Path;

use image::RgbaImage;

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

/// CIELAB, under D65, of encoded sRGB.
fn lab(rgb: [f64; 3]) -> [f64; 3] {
    let [r, g, b] = rgb.map(|v| if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) });
    let x = (0.412_39 * r + 0.357_58 * g + 0.180_48 * b) / 0.950_46;
    let y = 0.212_64 * r + 0.715_17 * g + 0.072_19 * b;
    let z = (0.019_33 * r + 0.119_19 * g + 0.950_53 * b) / 1.089_06;
    let [x, y, z] = [x, y, z].map(|t: f64| if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// The CIEDE2000 distance, all weights 1, as CIE 142 has it.
#[expect(clippy::similar_names, reason = "the standard's names")]
fn ciede2000([l1, a1, b1]: [f64; 3], [l2, a2, b2]: [f64; 3]) -> f64 {
    let c_mean = f64::midpoint(a1.hypot(b1), a2.hypot(b2));
    let g = 0.5 * (1.0 - (c_mean.powi(7) / (c_mean.powi(7) + 25.0_f64.powi(7))).sqrt());
    let (a1, a2) = (a1 * (1.0 + g), a2 * (1.0 + g));
    let (c1, c2) = (a1.hypot(b1), a2.hypot(b2));
    let hue = |a: f64, b: f64| b.atan2(a).to_degrees().rem_euclid(360.0);
    let (h1, h2) = (hue(a1, b1), hue(a2, b2));
    let grey = c1 * c2 == 0.0;
    let dh = match h2 - h1 {
        _ if grey => 0.0,
        d if d > 180.0 => d - 360.0,
        d if d < -180.0 => d + 360.0,
        d => d,
    };
    let h_mean = match (h1 + h2) / 2.0 {
        _ if grey => h1 + h2,
        mean if (h1 - h2).abs() <= 180.0 => mean,
        mean if mean < 180.0 => mean + 180.0,
        mean => mean - 180.0,
    };
    let (l_mean, c_mean) = (f64::midpoint(l1, l2), f64::midpoint(c1, c2));
    let cos = |degrees: f64| degrees.to_radians().cos();
    let t = 1.0 - 0.17 * cos(h_mean - 30.0) + 0.24 * cos(2.0 * h_mean) + 0.32 * cos(3.0 * h_mean + 6.0)
        - 0.20 * cos(4.0 * h_mean - 63.0);
    let sl = 1.0 + 0.015 * (l_mean - 50.0).powi(2) / (20.0 + (l_mean - 50.0).powi(2)).sqrt();
    let (sc, sh) = (1.0 + 0.045 * c_mean, 1.0 + 0.015 * c_mean * t);
    let rotation = -(60.0 * (-((h_mean - 275.0) / 25.0).powi(2)).exp()).to_radians().sin()
        * 2.0
        * (c_mean.powi(7) / (c_mean.powi(7) + 25.0_f64.powi(7))).sqrt();
    let (dl, dc) = ((l2 - l1) / sl, (c2 - c1) / sc);
    let dh = 2.0 * (c1 * c2).sqrt() * (dh / 2.0).to_radians().sin() / sh;
    (dl * dl + dc * dc + dh * dh + rotation * dc * dh).sqrt()
}

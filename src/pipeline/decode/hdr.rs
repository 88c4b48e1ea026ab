//! High dynamic range on an ordinary screen: PQ and HLG (ITU-R BT.2100) to the sRGB curve.
//!
//! Paper white, 203 cd/m2 (ITU-R BT.2408), stays a little below the screen's white; what is brighter is compressed into
//! the rest, up to 1000 cd/m2, by one curve over the brightest of the three colours, so that hues stay. This is a
//! rendition; there is no right one.

use crate::pipeline::raster::Samples;

/// The light of diffuse white, cd/m2.
const WHITE: f32 = 203.0;

/// The light that becomes the screen's white, in units of diffuse white.
const PEAK: f32 = 1000.0 / WHITE;

/// Up to here, in units of diffuse white, light is passed through.
const KNEE: f32 = 0.6;

/// Replaces the curve of `samples` (RGB, or RGBA) by sRGB's. They become 16 bits deep.
pub(super) fn to_screen(transfer: u8, samples: &mut Samples, alpha: bool) {
    let mut deep = match std::mem::replace(samples, Samples::U8(Vec::new())) {
        Samples::U16(samples) => samples,
        Samples::U8(samples) => samples.into_iter().map(|sample| u16::from(sample) * 257).collect(),
    };
    let light: Vec<f32> = (0..=u16::MAX).map(|sample| light(transfer, f32::from(sample) / 65_535.0)).collect();
    for pixel in deep.chunks_exact_mut(if alpha { 4 } else { 3 }) {
        let linear = [pixel[0], pixel[1], pixel[2]].map(|sample| light[usize::from(sample)]);
        // HLG's light is the scene's: a display of 1000 cd/m2 raises its luminance to the power of 1.2.
        let luminance = 0.2627 * linear[0] + 0.678 * linear[1] + 0.0593 * linear[2];
        let system = if transfer == 18 { PEAK * luminance.max(1e-6).powf(0.2) } else { 1.0 };
        let brightest = linear.iter().fold(0.0, |a: f32, b| a.max(*b)) * system;
        let scale = if brightest > KNEE { compressed(brightest) / brightest } else { 1.0 };
        for (sample, linear) in pixel.iter_mut().zip(linear) {
            *sample = encoded(linear * system * scale);
        }
    }
    *samples = Samples::U16(deep);
}

/// Of a signal: light in units of diffuse white for PQ, of the scene's peak for HLG.
fn light(transfer: u8, signal: f32) -> f32 {
    if transfer == 16 {
        let (m1, m2) = (2610.0 / 16_384.0, 2523.0 / 4096.0 * 128.0);
        let (c1, c2, c3) = (3424.0 / 4096.0, 2413.0 / 4096.0 * 32.0, 2392.0 / 4096.0 * 32.0);
        let root = signal.powf(1.0 / m2);
        return 10_000.0 / WHITE * ((root - c1).max(0.0) / (c2 - c3 * root)).powf(1.0 / m1);
    }
    let (a, b, c) = (0.178_832_77, 0.284_668_92, 0.559_910_7);
    if signal <= 0.5 { signal * signal / 3.0 } else { (((signal - c) / a).exp() + b) / 12.0 }
}

/// Light from the knee to the peak, into what is left up to 1: steady, flat at the end.
fn compressed(light: f32) -> f32 {
    let (room, range) = (1.0 - KNEE, PEAK - KNEE);
    let x = ((light - KNEE) / range).min(1.0);
    // Slope 1 at the knee, in the units of both, and 1 at the peak: 1 - (1 - x)^p with p = range / room.
    KNEE + room * (1.0 - (1.0 - x).powf(range / room))
}

fn encoded(linear: f32) -> u16 {
    let curve = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
    to_sample(curve)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floating point saturate")]
fn to_sample(signal: f32) -> u16 {
    (signal * 65_535.0 + 0.5) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(transfer: u8, signal: f32) -> f32 {
        let mut samples = Samples::U16(vec![to_sample(signal); 3]);
        to_screen(transfer, &mut samples, false);
        match samples {
            Samples::U16(samples) => f32::from(samples[1]) / 65_535.0,
            Samples::U8(_) => unreachable!("16 bits come out"),
        }
    }

    #[test]
    fn paper_white_is_nearly_white_and_the_peak_is() {
        // BT.2408: diffuse white is a PQ signal of 58 % and an HLG signal of 75 %.
        for (transfer, signal) in [(16, 0.5807), (18, 0.75)] {
            let white = shown(transfer, signal);
            assert!((0.85..0.97).contains(&white), "{transfer}: {white}");
        }
        assert!(shown(16, 0.7518) > 0.995 && shown(16, 1.0) > 0.995 && shown(18, 1.0) > 0.995);
        assert!(shown(16, 0.0) < 0.001 && shown(18, 0.0) < 0.001);
    }

    #[test]
    fn more_light_never_shows_darker() {
        for transfer in [16, 18] {
            let mut before = 0.0;
            for step in 0_u16..=200 {
                let now = shown(transfer, f32::from(step) / 200.0);
                assert!(now >= before, "{transfer} at {step}: {now} after {before}");
                before = now;
            }
        }
    }
}

//! What `quality` and `speed` mean to AVIF's two engines.

use super::super::EncodeSettings;

/// The speed of a job that names none.
const SPEED_DEFAULT: u8 = 9;

/// The quality of a job that names none.
const QUALITY_DEFAULT: u8 = 85;

/// libaom's knobs.
#[cfg(feature = "aom")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AomKnobs {
    /// 0 (finest) to 63.
    pub(super) quantizer: u32,
    /// The same for the alpha channel: an edge that is off shows more than a colour that is.
    pub(super) alpha_quantizer: u32,
    /// Whether colour is kept in full resolution.
    pub(super) full_colour: bool,
    /// 0 (small) to 9 (fast).
    cpu_used: u32,
}

#[cfg(feature = "aom")]
impl AomKnobs {
    /// What libaom is told about the picture.
    pub(super) fn settings(self) -> Vec<(&'static str, u32)> {
        let mut settings = self.alpha_settings();
        settings.extend([("tune", 1), ("dist-metric", 1), ("enable-qm", 1), ("qm-min", 0), ("qm-max", 8)]);
        settings
    }

    /// What libaom is told about the alpha channel: nothing perceptual, it is not looked at.
    pub(super) fn alpha_settings(self) -> Vec<(&'static str, u32)> {
        vec![("cpu-used", self.cpu_used)]
    }
}

/// ravif's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RavifKnobs {
    /// 1-100.
    pub(super) quality: u8,
    /// 1 (small) to 10 (fast).
    pub(super) speed: u8,
    /// 10 bits a sample compress better and take longer.
    pub(super) ten_bits: bool,
}

/// libaom's column.
#[cfg(feature = "aom")]
pub(super) fn aom(settings: EncodeSettings) -> AomKnobs {
    let quality = u32::from(settings.quality.unwrap_or(QUALITY_DEFAULT).clamp(1, 100));
    let quantizer = (100 - quality) * 63 / 99;
    let cpu_used = u32::from(settings.speed.unwrap_or(SPEED_DEFAULT).clamp(1, 9));
    AomKnobs { quantizer, alpha_quantizer: quantizer / 2, full_colour: quality >= 90, cpu_used }
}

/// ravif's column.
pub(super) fn ravif(settings: EncodeSettings) -> RavifKnobs {
    let speed = settings.speed.unwrap_or(SPEED_DEFAULT).clamp(1, 10);
    let quality = settings.quality.unwrap_or(QUALITY_DEFAULT).clamp(1, 100);
    RavifKnobs { quality, speed, ten_bits: speed <= 4 }
}

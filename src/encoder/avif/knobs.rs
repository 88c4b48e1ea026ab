//! What `quality` and `speed` mean to AVIF's two engines.
//!
//! | speed | libaom | ravif |
//! |---|---|---|
//! | 1 | `cpu-used` 2, 10 bits, 4:4:4 | speed 1, 10 bits |
//! | 2 | 3, 10 bits, 4:4:4 | speed 2, 10 bits |
//! | 3 | 3, 10 bits, 4:4:4, blocks from 8 x 8 | speed 3, 10 bits |
//! | 4 | 6, 10 bits, 4:4:4 | speed 4, 10 bits |
//! | 5 | 6, 10 bits, 4:4:4 | speed 5 |
//! | 6 | 8, 10 bits, 4:4:4, blocks from 8 x 8 | speed 6 |
//! | 7 | 8, 4:2:0 | speed 7 |
//! | 8 | 9, 10 bits, 4:4:4 | speed 8 |
//! | **9** | **9, 10 bits, 4:2:0** | **speed 9** |
//! | 10 | 9, 4:2:0, no trellis | speed 10 |
//!
//! 4:4:4 is 4:2:0 below quality 60, where colour in full resolution costs more than it shows; speed 8 is speed 9 below
//! quality 72, where it would be larger. 4:2:0 is 4:4:4 from quality 90, and where colour edges are sharp.
//!
//! libaom's own steps are not all worth taking: its 7 is slower than its 8 and no smaller, 4 and 5 little quicker than 3, and
//! from 8 on down the other kinds of transform than DCT cost time and SSIMULACRA2 both (on photos; they serve PSNR). Copying
//! within the picture (`intrabc`) switches its loop filters off: without it, 8 makes files 5 to 7 % smaller.
//! `tests/bench/avif_front.rs` measures all of it.

use super::super::EncodeSettings;
use crate::job::Format;

/// libaom's knobs.
#[cfg(feature = "aom")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the library")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AomKnobs {
    /// 0 (finest) to 63.
    pub(super) quantizer: u32,
    /// The same for the alpha channel: an edge that is off shows more than a colour that is.
    pub(super) alpha_quantizer: u32,
    /// Whether colour is kept in full resolution.
    pub(super) full_colour: bool,
    /// Whether samples have 10 bits.
    pub(super) ten_bits: bool,
    /// 0 (small) to 9 (fast).
    cpu_used: u32,
    /// Whether coefficients are chosen by what they cost.
    trellis: bool,
    /// Whether only one kind of transform is tried.
    dct_only: bool,
    /// Pixels a side of the smallest block.
    block_min: u32,
    /// 0 to 15: how much more coarsely fine detail is quantised than large shapes; 0 is the steepest, 15 is flat.
    matrix: u32,
}

#[cfg(feature = "aom")]
impl AomKnobs {
    /// What libaom is told about the picture.
    pub(super) fn settings(self) -> Vec<(&'static str, u32)> {
        let mut settings = self.alpha_settings();
        // 1 is SSIM, and 1 is PSNR weighted by the quantiser's matrices.
        settings.extend([("tune", 1), ("dist-metric", 1), ("enable-intrabc", 0)]);
        settings.extend([("enable-qm", 1), ("qm-min", self.matrix), ("qm-max", self.matrix)]);
        if self.dct_only {
            settings.push(("use-intra-dct-only", 1));
        }
        if !self.trellis {
            settings.push(("disable-trellis-quant", 1));
        }
        settings
    }

    /// What libaom is told about the alpha channel: nothing perceptual, it is not looked at.
    pub(super) fn alpha_settings(self) -> Vec<(&'static str, u32)> {
        vec![("cpu-used", self.cpu_used), ("min-partition-size", self.block_min)]
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
    let quality = u32::from(settings.quality_in(Format::Avif));
    // 100 is 1 (0 would be lossless, which colour in Y, Cb, Cr can't be), 85 is 12, 1 is 63; straight between them.
    let quantizer =
        if quality >= 85 { 1 + ((100 - quality) * 11 + 7) / 15 } else { 12 + ((85 - quality) * 51 + 42) / 84 };
    let speed = settings.speed_in(Format::Avif);
    let (cpu_used, block_min) = match speed {
        0 | 1 => (2, 4),
        2 => (3, 4),
        3 => (3, 8),
        4 | 5 => (6, 4),
        6 => (8, 8),
        7 => (8, 4),
        8.. => (9, 4),
    };
    let thorough = speed <= 6 || speed == 8 && quality >= 72;
    let full_colour = quality >= 90 || thorough && quality >= 60;
    AomKnobs {
        quantizer,
        alpha_quantizer: (quantizer / 2).max(1),
        full_colour,
        // On photos of 1600 pixels 10 bits save 2 to 4 %, for a quarter more time.
        ten_bits: thorough || matches!(speed, 8 | 9),
        cpu_used,
        trellis: speed < 10,
        dct_only: speed < 8,
        block_min,
        matrix: matrix(quality, thorough),
    }
}

/// The matrix with the smallest files at equal SSIMULACRA2, on photos: the finer the quality, the flatter. At one steepness
/// for all, or with libaom's own rule (the coarser, the flatter), files are up to 10 % larger.
#[cfg(feature = "aom")]
fn matrix(quality: u32, thorough: bool) -> u32 {
    if thorough { (6 + quality.saturating_sub(64) / 12).min(9) } else { 2 + quality.saturating_sub(74) / 6 }
}

/// ravif's column.
pub(super) fn ravif(settings: EncodeSettings) -> RavifKnobs {
    let (quality, speed) = (settings.quality_in(Format::Avif), settings.speed_in(Format::Avif));
    RavifKnobs { quality, speed, ten_bits: speed <= 4 }
}

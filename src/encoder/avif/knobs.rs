//! What `quality` and `speed` mean to AVIF's two engines.
//!
//! | speed | libaom: photos | libaom: graphics | ravif |
//! |---|---|---|---|
//! | 1 | `cpu-used` 2 | `cpu-used` 4 | speed 1, 10 bits |
//! | 2 | 3 | 4 | speed 2, 10 bits |
//! | 3 | 4 | 5 | speed 3, 10 bits |
//! | 4 | 5, blocks of 8 to 32 pixels | 5 | speed 4, 10 bits |
//! | 5 | 6, blocks from 8 pixels | 5 | speed 5 |
//! | 6 | 6, blocks from 8 pixels | 6 | speed 6 |
//! | 7 | 8 | 6 | speed 7 |
//! | 8 | 8, 8 bits | 6 | speed 8 |
//! | **9** | **9** | **6, dense ones 7; blocks from 8 pixels, only DCT** | **speed 9** |
//! | 10 | 9, 8 bits, no trellis | 8, blocks from 8 pixels, only DCT | speed 10 |
//!
//! **One quality is one look at every speed**: how colour is sampled follows from the quality and the picture, and what a
//! slower search gains goes into a coarser quantiser (`Look`), so that it becomes bytes.
//!
//! libaom finds screen content in photos: in smooth skies and walls few colours meet. Its palettes then make files larger by
//! a tenth with `cpu-used` 6 and up to fourfold with 8, so that photos have none. Its 7 is slower than its 8 and no smaller,
//! and the other kinds of transform than DCT cost time and SSIMULACRA2 both on photos (they serve PSNR). Copying within
//! the picture (`intrabc`) switches its loop filters off; on line drawings it saves a third and takes ten times as long.
//! Its ways to vary the quantiser within a picture (`deltaq-mode`, `aq-mode`) do nothing to a single one.
//! `tests/bench/avif_front.rs` shows time and bytes of every speed.

use super::super::EncodeSettings;
#[cfg(feature = "aom")]
use super::ffi::Setting;
use crate::job::Format;

/// What libaom is told.
#[cfg(feature = "aom")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AomKnobs {
    /// 0 (finest) to 63.
    pub(super) quantizer: u32,
    /// The same for the alpha channel: an edge that is off shows more than a colour that is.
    pub(super) alpha_quantizer: u32,
    /// Whether colour is kept in full resolution.
    pub(super) full_colour: bool,
    /// Whether samples have 10 bits.
    pub(super) ten_bits: bool,
    /// About the picture.
    pub(super) settings: Vec<Setting>,
    /// About the alpha channel: nothing perceptual, it is not looked at.
    pub(super) alpha_settings: Vec<Setting>,
}

/// What a picture shows.
#[cfg(feature = "aom")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What a camera saw.
    Photo,
    /// What was drawn, or rendered, or written.
    Graphic,
    /// The same with edges of several colours all over.
    DenseGraphic,
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

/// libaom's columns.
#[cfg(feature = "aom")]
pub(super) fn aom(settings: EncodeSettings, content: Content) -> AomKnobs {
    let quality = u32::from(settings.quality_in(Format::Avif));
    let speed = settings.speed_in(Format::Avif);
    match content {
        Content::Photo => photo(quality, speed),
        Content::Graphic => graphic(quality, speed, false),
        Content::DenseGraphic => graphic(quality, speed, true),
    }
}

/// The quantiser of speed 9. 100 is 1 (0 would be lossless, which colour in Y, Cb, Cr can't be), 85 is 12, 1 is 63; straight
/// between them.
#[cfg(feature = "aom")]
fn quantizer(quality: u32) -> u32 {
    if quality >= 85 { 1 + ((100 - quality) * 11 + 7) / 15 } else { 12 + ((85 - quality) * 51 + 42) / 84 }
}

/// Which quantiser, in tenths, looks like one of speed 9 (itself in whole numbers), by SSIMULACRA2; straight between these.
/// Who looks harder for the best way to code a block loses less at the same quantiser.
///
/// By 16 photos of CLIC 2025's validation set at 400 pixels. On 15 of its final test, which chose nothing, the speeds score
/// within 1.4 of one another from quality 38 up; at 30, where half a step of the quantiser is 2 points, within 1.9.
#[cfg(feature = "aom")]
type Look = &'static [(u32, u32)];

#[cfg(feature = "aom")]
const CPU_9: Look = &[(1, 10), (63, 630)];
/// Without trellis: from quality 84 down.
#[cfg(feature = "aom")]
const CPU_9_EIGHT_BITS: Look = &[(12, 90), (13, 100), (20, 179), (27, 263), (36, 370), (41, 420), (45, 460), (63, 630)];
#[cfg(feature = "aom")]
const CPU_8: Look = &[(1, 10), (5, 59), (8, 90), (12, 146), (20, 234), (27, 291), (36, 374), (45, 456), (63, 630)];
/// From quality 84 down.
#[cfg(feature = "aom")]
const CPU_8_EIGHT_BITS: Look = &[(12, 128), (13, 139), (20, 225), (27, 287), (36, 377), (45, 465), (63, 630)];
#[cfg(feature = "aom")]
const CPU_6: Look =
    &[(1, 10), (5, 68), (8, 114), (12, 173), (17, 235), (22, 269), (27, 316), (36, 401), (45, 485), (63, 630)];
#[cfg(feature = "aom")]
const CPU_5: Look =
    &[(1, 10), (5, 70), (8, 116), (12, 177), (17, 239), (22, 271), (27, 319), (36, 403), (45, 490), (63, 630)];
#[cfg(feature = "aom")]
const CPU_4: Look = &[
    (1, 10),
    (5, 75),
    (8, 125),
    (12, 186),
    (17, 245),
    (22, 282),
    (27, 322),
    (36, 409),
    (41, 451),
    (45, 493),
    (63, 630),
];
#[cfg(feature = "aom")]
const CPU_3: Look =
    &[(1, 10), (5, 77), (8, 128), (12, 190), (17, 252), (22, 286), (27, 327), (36, 411), (45, 493), (63, 630)];

#[cfg(feature = "aom")]
const CPU_2: Look =
    &[(1, 10), (5, 77), (8, 128), (12, 190), (17, 256), (22, 291), (27, 331), (36, 414), (45, 496), (63, 630)];

/// Graphics at every speed.
#[cfg(feature = "aom")]
const GRAPHIC: Look = &[(1, 10), (5, 71), (8, 115), (13, 188), (20, 262), (27, 315), (36, 400), (45, 484), (63, 630)];

/// The quantiser that looks like speed 9's `quantizer`, and how many steps flatter the matrix has to be for that: where a
/// step of the quantiser is as much as 1.5 SSIMULACRA2, a flatter matrix stands for half a step.
#[cfg(feature = "aom")]
fn looking_like(quantizer: u32, look: Look) -> (u32, u32) {
    let above = look.iter().position(|(theirs, _)| *theirs >= quantizer).unwrap_or(look.len() - 1).max(1);
    let ((t0, o0), (t1, o1)) = (look[above - 1], look[above]);
    let tenths = o0 + (o1 - o0) * quantizer.saturating_sub(t0) / (t1 - t0);
    match tenths % 10 {
        3..=7 if tenths > 220 => (tenths / 10 + 1, 1),
        _ => ((tenths + 5) / 10, 0),
    }
}

/// Colour at half the resolution up to quality 89, in full from 90 on, whatever the speed: between SSIMULACRA2 60 and 80
/// full colour takes 2 to 4 % more bytes for the same score. (Where edges of colour are sharp, it is kept all the same.)
#[cfg(feature = "aom")]
fn photo(quality: u32, speed: u8) -> AomKnobs {
    // On photos 10 bits save 2 to 4 %, for a quarter more time; and 8 bits can't be as fine as the highest qualities ask.
    let ten_bits = quality >= 85 || !matches!(speed, 8 | 10);
    let (cpu_used, look): (u32, Look) = match speed {
        0 | 1 => (2, CPU_2),
        2 => (3, CPU_3),
        3 => (4, CPU_4),
        4 => (5, CPU_5),
        5 | 6 => (6, CPU_6),
        7 | 8 => (8, if ten_bits { CPU_8 } else { CPU_8_EIGHT_BITS }),
        9 => (9, CPU_9),
        10.. => (9, if ten_bits { CPU_9 } else { CPU_9_EIGHT_BITS }),
    };
    let (block_min, block_max) = match speed {
        4 => (8, 32),
        5 | 6 => (8, 128),
        _ => (4, 128),
    };
    let (quantizer, flatter) = looking_like(quantizer(quality), look);
    let alpha_settings =
        vec![("cpu-used", cpu_used), ("min-partition-size", block_min), ("max-partition-size", block_max)];
    let mut settings = perceptual(matrix(quality, cpu_used) + flatter);
    settings.extend(&alpha_settings);
    settings.push(("enable-palette", 0));
    if cpu_used < 9 {
        settings.push(("use-intra-dct-only", 1));
    }
    if !ten_bits && cpu_used == 9 {
        settings.push(("disable-trellis-quant", 1));
    }
    AomKnobs {
        quantizer,
        alpha_quantizer: (quantizer / 2).max(1),
        full_colour: quality >= 90,
        ten_bits,
        settings,
        alpha_settings,
    }
}

/// Palettes, and colour in full: halved, thin lines lose it. Palettes of 8 bits are the shorter ones.
///
/// Choosing coefficients by what they cost (trellis) takes away what is faint beside what is strong: with it, files are 3 %
/// larger at equal SSIMULACRA2 and take a sixth longer.
///
/// In `dense` ones the search for blocks takes most of the time; `cpu-used` 7 cuts blocks by how much their pixels differ.
/// That halves the time, for 5 % more bytes at equal SSIMULACRA2 (of some charts fewer).
#[cfg(feature = "aom")]
fn graphic(quality: u32, speed: u8, dense: bool) -> AomKnobs {
    let (cpu_used, block_min) = match speed {
        0..=2 => (4, 4),
        3..=5 => (5, 4),
        6..=8 => (6, 4),
        9 => (if dense { 7 } else { 6 }, 8),
        10.. => (8, 8),
    };
    let (quantizer, _) = looking_like(quantizer(quality), GRAPHIC);
    let mut alpha_settings = vec![("cpu-used", cpu_used), ("min-partition-size", block_min)];
    // 1 is what screens show.
    alpha_settings.extend([("tune-content", 1), ("enable-intrabc", 0), ("disable-trellis-quant", 1)]);
    alpha_settings.extend([("enable-smooth-intra", 0), ("enable-filter-intra", 0), ("enable-flip-idtx", 0)]);
    if speed >= 9 {
        alpha_settings.push(("use-intra-dct-only", 1));
    }
    if cpu_used == 7 {
        // A percent.
        alpha_settings.push(("quant-b-adapt", 1));
    }
    let settings = [perceptual(GRAPHIC_MATRIX), alpha_settings.clone()].concat();
    AomKnobs {
        quantizer,
        alpha_quantizer: (quantizer / 2).max(1),
        full_colour: true,
        ten_bits: false,
        settings,
        alpha_settings,
    }
}

/// By SSIM, with the quantiser's matrix `matrix`.
#[cfg(feature = "aom")]
fn perceptual(matrix: u32) -> Vec<Setting> {
    // 1 is SSIM, and 1 is PSNR weighted by the quantiser's matrices.
    let mut settings = vec![("tune", 1), ("dist-metric", 1), ("enable-intrabc", 0)];
    settings.extend([("enable-qm", 1), ("qm-min", matrix), ("qm-max", matrix)]);
    settings
}

/// The matrix with the smallest files at equal SSIMULACRA2, on photos, from 0 (steep: fine detail is quantised much more
/// coarsely than large shapes) to 15 (flat): the finer the quality, the flatter. At one steepness for all, or with
/// libaom's own rule (the coarser, the flatter), files are up to 10 % larger.
#[cfg(feature = "aom")]
fn matrix(quality: u32, cpu_used: u32) -> u32 {
    match cpu_used {
        9.. => 2 + quality.saturating_sub(74) / 6,
        8 => 3 + quality.saturating_sub(58) / 12,
        _ => 4 + quality.saturating_sub(60) / 10,
    }
}

/// The same on graphics, where it hardly matters.
#[cfg(feature = "aom")]
const GRAPHIC_MATRIX: u32 = 8;

/// ravif's column.
pub(super) fn ravif(settings: EncodeSettings) -> RavifKnobs {
    let (quality, speed) = (settings.quality_in(Format::Avif), settings.speed_in(Format::Avif));
    RavifKnobs { quality, speed, ten_bits: speed <= 4 }
}

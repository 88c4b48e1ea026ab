//! What `quality` and `speed` mean to each encoder.
//!
//! **Quality** goes to JPEG, WebP and AVIF on each one's own scale, 1-100; the scales differ, so the defaults are chosen to
//! look alike: SSIMULACRA2 of 78 to 80 over photos and sizes, all three. PNG is lossless and has none. **It is a look**: at
//! the default speed it is the library's own number, and at the others the number that looks like that one ([`Look`]), so
//! that a slower speed saves bytes and costs nothing else. But of an original with a palette a PNG gets one again (up to speed
//! 9), where it scores 90 or more and is smaller: that takes some 0.3 s a megapixel.
//!
//! | | 100 means |
//! |---|---|
//! | JPEG | no quantisation to speak of, colour in full resolution |
//! | WebP | lossless |
//! | AVIF | the finest quantiser, still lossy; its table of speeds is in `avif/knobs.rs` |
//!
//! **Speed** 1 is the slowest and smallest, 10 the fastest. The defaults of both are in the table of [`Format`]; speed's,
//! in bold here, is where bytes stop falling much for the time they cost. No step is both slower and larger than another at equal
//! SSIMULACRA2 (`make bench-quality`); where a library has fewer useful steps, neighbours are equal.
//!
//! | speed | JPEG | WebP method | PNG: libdeflate level |
//! |---|---|---|---|
//! | 1 | progressive, scans chosen by trial, trellis | 6 | 12 |
//! | 2 | progressive, scans chosen by trial, trellis | 6 | 10 |
//! | 3 | progressive, scans chosen by trial | 5 | 9 |
//! | 4 | progressive, scans chosen by trial | 4 | 7 |
//! | 5 | progressive where that saves | 4 | 6 |
//! | 6 | progressive where that saves | **2** | **4** |
//! | 7 | **baseline, optimised Huffman** | 2 | 4 |
//! | 8 | baseline, optimised Huffman | 1 | 1 |
//! | 9 | baseline, optimised Huffman | 1 | 1 |
//! | 10 | baseline, standard Huffman | 0 | fdeflate instead |
//!
//! Bytes and CPU time of 1200-pixel photos at SSIMULACRA2 77, relative to the default speed's (`make bench-quality`):
//!
//! | speed | JPEG | WebP | PNG with alpha | PNG |
//! |---|---|---|---|---|
//! | 1 | 0.95, x 15 | 0.91, x 5.1 | 0.92, x 16 | 0.94, x 15 |
//! | 2 | 0.95, x 15 | 0.91, x 5.1 | 0.92, x 8.9 | 0.94, x 8.7 |
//! | 3 | 0.97, x 7.9 | 0.93, x 2.6 | 0.96, x 7.2 | 0.97, x 6.2 |
//! | 4 | 0.97, x 7.9 | 0.94, x 2.5 | 0.97, x 2.9 | 0.97, x 3.0 |
//! | 5 | 0.98, x 3.7 | 0.94, x 2.5 | 0.98, x 1.6 | 0.98, x 1.7 |
//! | 6 | 0.98, x 3.7 | 1 | 1 | 1 |
//! | 7 | 1 | 1 | 1 | 1 |
//! | 8, 9 | 1 | 1.10, x 0.76 | 1.02, x 0.6 | 1.02, x 0.6 |
//! | 10 | 1.03, x 0.46 | 1.24, x 0.62 | 1.02, x 0.14 | 1.04, x 0.16 |
//!
//! Left out: WebP method 3, slower than 4 and larger, and PNG levels 2 and 3, hardly faster than 4 and larger.

use super::EncodeSettings;
use crate::job::Format;

/// Which quality of a library's slower or faster way to work looks like one of its usual way, both in tenths, by
/// SSIMULACRA2; straight between these. Measured on 13 photos of 400 pixels and 6 of 800, and moved by at most one quality
/// after five more; on eight others of 400 pixels speeds are at most 0.6 (JPEG) and 1.5 (WebP) apart, from quality 30 to 95
/// (`make bench-quality`).
type Look = &'static [(u16, u16)];

/// Trellis takes away what costs more bits than it seems worth.
const TRELLIS: Look = &[
    (10, 12),
    (100, 112),
    (200, 228),
    (300, 340),
    (400, 459),
    (500, 562),
    (600, 655),
    (700, 744),
    (800, 830),
    (899, 910),
    (900, 913),
    (930, 939),
    (960, 965),
    (1000, 1000),
];
const METHOD_6: Look = &[
    (10, 13),
    (100, 119),
    (200, 228),
    (300, 322),
    (400, 416),
    (500, 524),
    (600, 629),
    (700, 722),
    (750, 755),
    (800, 800),
    (900, 889),
    (960, 954),
    (990, 986),
];
const METHOD_5: Look = &[
    (10, 12),
    (100, 114),
    (200, 222),
    (300, 319),
    (400, 413),
    (500, 519),
    (600, 623),
    (700, 712),
    (750, 751),
    (800, 798),
    (900, 888),
    (960, 953),
    (990, 983),
];
const METHOD_4: Look = &[
    (10, 11),
    (100, 113),
    (200, 222),
    (300, 318),
    (400, 413),
    (500, 518),
    (600, 616),
    (700, 711),
    (750, 750),
    (800, 798),
    (900, 887),
    (960, 953),
    (990, 981),
];
/// And of method 0, which looks the same.
const METHOD_1: Look = &[
    (10, 10),
    (100, 94),
    (200, 186),
    (300, 279),
    (400, 378),
    (500, 476),
    (600, 578),
    (700, 669),
    (750, 718),
    (800, 794),
    (850, 840),
    (900, 894),
    (960, 963),
    (990, 989),
];

/// What looks like `quality`, in tenths.
fn looking_like(quality: u8, look: Look) -> u16 {
    let asked = u16::from(quality) * 10;
    let above = look.iter().position(|(usual, _)| *usual >= asked).unwrap_or(look.len() - 1).max(1);
    let [(u0, q0), (u1, q1)] = [look[above - 1], look[above]].map(|(u, q)| (u32::from(u), u32::from(q)));
    let (asked, span) = (u32::from(asked).clamp(u0, u1), u1 - u0);
    u16::try_from(q0 + ((q1 - q0) * (asked - u0) + span / 2) / span).unwrap_or(1000)
}

/// mozjpeg's knobs.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the library")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegKnobs {
    /// 10-1000: the library's quality in tenths.
    pub quality_tenths: u16,
    /// Colour at half the resolution in both directions: up to quality 89 that is the smaller file at equal
    /// SSIMULACRA2, from 90 on colour in full is, by up to a third.
    pub halve_colour: bool,
    /// Trellis quantisation.
    pub trellis: bool,
    /// Several passes over the picture, coarse to fine, unless one pass gives fewer bytes.
    pub progressive: bool,
    /// Several ways to cut the picture into passes are tried.
    pub optimise_scans: bool,
    /// Huffman tables made for this picture.
    pub optimise_huffman: bool,
}

/// libwebp's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebpKnobs {
    /// 10-1000: the library's quality in tenths. It says nothing when lossless.
    pub quality_tenths: u16,
    /// Whether every pixel is kept.
    pub lossless: bool,
    /// 0 (fast) to 6 (small).
    pub method: u8,
    /// How much coarser busy regions are quantised than smooth ones. 70 gives one byte in a hundred less than
    /// libwebp's own 50, at no cost.
    pub noise_shaping: u8,
}

/// PNG's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PngKnobs {
    /// libdeflate's level, 1-12; none means fdeflate, which is faster than any.
    pub deflate_level: Option<u8>,
}

/// The JPEG column.
#[must_use]
pub fn jpeg(settings: EncodeSettings) -> JpegKnobs {
    let (quality, speed) = (settings.quality_in(Format::Jpeg), settings.speed_in(Format::Jpeg));
    let trellis = speed <= 2;
    JpegKnobs {
        quality_tenths: if trellis { looking_like(quality, TRELLIS) } else { u16::from(quality) * 10 },
        halve_colour: quality < 90,
        trellis,
        progressive: speed <= 6,
        optimise_scans: speed <= 4,
        optimise_huffman: speed <= 9,
    }
}

/// The WebP column.
#[must_use]
pub fn webp(settings: EncodeSettings) -> WebpKnobs {
    let quality = settings.quality_in(Format::Webp);
    let (method, look): (u8, Option<Look>) = match settings.speed_in(Format::Webp) {
        0..=2 => (6, Some(METHOD_6)),
        3 => (5, Some(METHOD_5)),
        4 | 5 => (4, Some(METHOD_4)),
        6 | 7 => (2, None),
        8 | 9 => (1, Some(METHOD_1)),
        10.. => (0, Some(METHOD_1)),
    };
    let quality_tenths = look.map_or(u16::from(quality) * 10, |look| looking_like(quality, look));
    WebpKnobs { quality_tenths, lossless: quality == 100, method, noise_shaping: 70 }
}

/// The PNG column.
#[must_use]
pub fn png(settings: EncodeSettings) -> PngKnobs {
    let deflate_level = match settings.speed_in(Format::Png) {
        0 | 1 => Some(12),
        2 => Some(10),
        3 => Some(9),
        4 => Some(7),
        5 => Some(6),
        6 | 7 => Some(4),
        8 | 9 => Some(1),
        10.. => None,
    };
    PngKnobs { deflate_level }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(speed: u8) -> EncodeSettings {
        EncodeSettings { quality: None, speed: Some(speed), ..EncodeSettings::default() }
    }

    #[test]
    fn a_higher_speed_never_asks_for_more_work() {
        for speed in 1..10 {
            let (slow, fast) = (at(speed), at(speed + 1));
            assert!(webp(slow).method >= webp(fast).method);
            assert!(png(slow).deflate_level.unwrap_or(0) >= png(fast).deflate_level.unwrap_or(0));
            let effort = |k: JpegKnobs| {
                [k.trellis, k.optimise_scans, k.progressive, k.optimise_huffman].map(u8::from).iter().sum::<u8>()
            };
            assert!(effort(jpeg(slow)) >= effort(jpeg(fast)));
        }
    }

    #[test]
    fn a_higher_quality_is_never_a_lower_one_at_any_speed() {
        let asked =
            |quality, speed| EncodeSettings { quality: Some(quality), speed: Some(speed), ..EncodeSettings::default() };
        for speed in 1..=10 {
            for quality in 2..=100 {
                let [low, high] = [quality - 1, quality].map(|quality| asked(quality, speed));
                assert!(jpeg(low).quality_tenths < jpeg(high).quality_tenths, "{quality} at {speed}");
                assert!(webp(low).quality_tenths <= webp(high).quality_tenths, "{quality} at {speed}");
                assert!((10..=1000).contains(&webp(low).quality_tenths) && jpeg(high).quality_tenths <= 1000);
            }
        }
        // What isn't mapped is the library's own.
        assert_eq!((jpeg(asked(83, 7)).quality_tenths, webp(asked(83, 6)).quality_tenths), (830, 830));
        assert_eq!(looking_like(20, TRELLIS), 228);
    }

    #[test]
    fn only_webp_at_100_is_lossless() {
        assert!(webp(EncodeSettings { quality: Some(100), speed: None, ..EncodeSettings::default() }).lossless);
        assert!(!webp(EncodeSettings { quality: Some(99), speed: None, ..EncodeSettings::default() }).lossless);
        assert!(!webp(EncodeSettings::default()).lossless);
    }
}

//! What `quality` and `speed` mean to each encoder.
//!
//! **Quality** goes to JPEG, WebP and AVIF as it is, 1-100 on each one's own scale; the scales differ, so the defaults
//! are chosen to look alike: SSIMULACRA2 of 78 to 80 over photos and sizes, all three. PNG is lossless and has none.
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

/// mozjpeg's knobs.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the library")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegKnobs {
    /// 1-100.
    pub quality: u8,
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
    /// 1-100; when lossless, the effort instead.
    pub quality: u8,
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
    JpegKnobs {
        quality,
        halve_colour: quality < 90,
        trellis: speed <= 2,
        progressive: speed <= 6,
        optimise_scans: speed <= 4,
        optimise_huffman: speed <= 9,
    }
}

/// The WebP column.
#[must_use]
pub fn webp(settings: EncodeSettings) -> WebpKnobs {
    let quality = settings.quality_in(Format::Webp);
    let method = match settings.speed_in(Format::Webp) {
        0..=2 => 6,
        3 => 5,
        4 | 5 => 4,
        6 | 7 => 2,
        8 | 9 => 1,
        10.. => 0,
    };
    WebpKnobs { quality, lossless: quality == 100, method, noise_shaping: 70 }
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
        EncodeSettings { quality: None, speed: Some(speed) }
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
    fn only_webp_at_100_is_lossless() {
        assert!(webp(EncodeSettings { quality: Some(100), speed: None }).lossless);
        assert!(!webp(EncodeSettings { quality: Some(99), speed: None }).lossless);
        assert!(!webp(EncodeSettings::default()).lossless);
    }
}

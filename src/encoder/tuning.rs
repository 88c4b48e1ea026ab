//! What `quality` and `speed` mean to each encoder.
//!
//! **Quality** goes to JPEG, WebP and AVIF as it is, 1-100 on each one's own scale; the scales differ, so the defaults
//! are chosen to look alike: SSIMULACRA2 of 75 to 77 on photos, all three. PNG is lossless and has none.
//!
//! | | default | 100 means |
//! |---|---|---|
//! | JPEG | 80 | no quantisation to speak of, colour in full resolution |
//! | WebP | 82 | lossless |
//! | AVIF | 85 | the finest quantiser, still lossy; its table of speeds stands in `avif/knobs.rs` |
//!
//! **Speed** 1 is the slowest and smallest, 10 the fastest. The default column is what a job gets that names none; it
//! is where bytes stop falling much for the time they cost.
//!
//! | speed | JPEG | WebP method | PNG |
//! |---|---|---|---|
//! | 1 | progressive, trellis | 6 | deflate 9, adaptive filters |
//! | 2 | progressive, trellis | 6 | deflate 9, adaptive filters |
//! | 3 | progressive | 5 | deflate 7, adaptive filters |
//! | 4 | progressive | 4 | deflate 6, adaptive filters |
//! | 5 | baseline, optimised Huffman | 3 | deflate 5, adaptive filters |
//! | 6 | baseline, optimised Huffman | **2** | **deflate 4, adaptive filters** |
//! | 7 | **baseline, optimised Huffman** | 2 | deflate 3, adaptive filters |
//! | 8 | baseline, optimised Huffman | 1 | deflate 2, adaptive filters |
//! | 9 | baseline, optimised Huffman | 1 | fdeflate, adaptive filters |
//! | 10 | baseline, standard Huffman | 0 | fdeflate, Paeth filter |

use super::EncodeSettings;

/// mozjpeg's knobs.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the library")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegKnobs {
    /// 1-100.
    pub quality: u8,
    /// Colour at half the resolution in both directions; below quality 90 the eye doesn't miss it.
    pub halve_colour: bool,
    /// Trellis quantisation: a tenth fewer bytes for ten times the time.
    pub trellis: bool,
    /// Several passes over the picture, coarse to fine.
    pub progressive: bool,
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
}

/// The png crate's knobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PngKnobs {
    /// A deflate level, 1-9; none means fdeflate, which is faster than any.
    pub deflate_level: Option<u8>,
    /// Whether the best filter is looked for row by row; Paeth everywhere otherwise.
    pub adaptive_filter: bool,
}

/// The JPEG column.
#[must_use]
pub fn jpeg(settings: EncodeSettings) -> JpegKnobs {
    let quality = settings.quality.unwrap_or(80).clamp(1, 100);
    let speed = settings.speed.unwrap_or(7);
    JpegKnobs {
        quality,
        halve_colour: quality < 90,
        trellis: speed <= 2,
        progressive: speed <= 4,
        optimise_huffman: speed <= 9,
    }
}

/// The WebP column.
#[must_use]
pub fn webp(settings: EncodeSettings) -> WebpKnobs {
    let quality = settings.quality.unwrap_or(82).clamp(1, 100);
    let method = match settings.speed.unwrap_or(6) {
        0..=2 => 6,
        3 => 5,
        4 => 4,
        5 => 3,
        6 | 7 => 2,
        8 | 9 => 1,
        10.. => 0,
    };
    WebpKnobs { quality, lossless: quality == 100, method }
}

/// The PNG column.
#[must_use]
pub fn png(settings: EncodeSettings) -> PngKnobs {
    let speed = settings.speed.unwrap_or(6);
    let deflate_level = match speed {
        0..=2 => Some(9),
        3 => Some(7),
        4 => Some(6),
        5 => Some(5),
        6 => Some(4),
        7 => Some(3),
        8 => Some(2),
        9.. => None,
    };
    PngKnobs { deflate_level, adaptive_filter: speed <= 9 }
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
            let effort = |k: JpegKnobs| u8::from(k.trellis) + u8::from(k.progressive) + u8::from(k.optimise_huffman);
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

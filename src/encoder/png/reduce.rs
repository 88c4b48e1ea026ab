//! The smallest pixel format that holds a picture.

use std::borrow::Cow;

use png::{BitDepth, ColorType};

use super::filter::filtered;
use crate::encoder::palette::Palette;
use crate::encoder::{Picture, Pixels};

/// A picture's samples as the file will hold them, but for filters.
pub(super) struct Reduced<'a> {
    pub(super) colour: ColorType,
    pub(super) depth: BitDepth,
    /// Rows top down, each a whole number of bytes.
    pub(super) samples: Cow<'a, [u8]>,
    /// R, G, B of each colour.
    pub(super) palette: Option<Vec<u8>>,
    /// The alpha of the palette's first colours.
    pub(super) transparency: Option<Vec<u8>>,
    /// Whether a sample says something about its neighbours: a colour's number does not.
    pub(super) filtered: bool,
}

impl<'a> Reduced<'a> {
    /// One byte a channel, without those channels that are redundant.
    pub(super) fn direct(picture: &'a Picture) -> Self {
        let grey = picture.is_grey();
        let (colour, samples): (_, Cow<'a, [u8]>) = match &picture.pixels {
            Pixels::Rgb(samples) if grey => (ColorType::Grayscale, samples.iter().step_by(3).copied().collect()),
            Pixels::Rgb(samples) => (ColorType::Rgb, samples.into()),
            Pixels::Rgba(samples) if grey => {
                (ColorType::GrayscaleAlpha, samples.chunks_exact(4).flat_map(|p| [p[0], p[3]]).collect())
            }
            Pixels::Rgba(samples) => (ColorType::Rgba, samples.into()),
        };
        Self { colour, depth: BitDepth::Eight, samples, palette: None, transparency: None, filtered: true }
    }

    /// A few bits a pixel: evenly spaced greys as they are, other colours by their number.
    pub(super) fn few_colours(picture: &Picture, palette: &Palette) -> Self {
        for depth in [BitDepth::One, BitDepth::Two, BitDepth::Four] {
            let step = 255 / ((1u8 << depth as u8) - 1);
            if palette.colours.iter().all(|[r, g, b, a]| r == g && g == b && *a == 255 && r % step == 0) {
                let samples = palette.pack(picture, depth as usize, |i| palette.colours[usize::from(i)][0] / step);
                let colour = ColorType::Grayscale;
                let samples = samples.into();
                return Self { colour, depth, samples, palette: None, transparency: None, filtered: false };
            }
        }
        let depth = match palette.colours.len() {
            0..=2 => BitDepth::One,
            3..=4 => BitDepth::Two,
            5..=16 => BitDepth::Four,
            _ => BitDepth::Eight,
        };
        let translucent = palette.translucent();
        Self {
            colour: ColorType::Indexed,
            depth,
            samples: palette.pack(picture, depth as usize, |i| i).into(),
            palette: Some(palette.colours.iter().flat_map(|c| [c[0], c[1], c[2]]).collect()),
            transparency: (translucent > 0).then(|| palette.colours[..translucent].iter().map(|c| c[3]).collect()),
            filtered: false,
        }
    }

    /// What gets deflated: every row behind the number of its filter.
    pub(super) fn rows(&self, picture: &Picture) -> Vec<u8> {
        let row_bytes = self.samples.len() / picture.height as usize;
        if self.filtered {
            return filtered(&self.samples, row_bytes, self.colour.samples());
        }
        let mut rows = Vec::with_capacity(self.samples.len() + picture.height as usize);
        for row in self.samples.chunks_exact(row_bytes) {
            rows.push(0);
            rows.extend_from_slice(row);
        }
        rows
    }
}

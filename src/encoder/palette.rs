//! Pictures of few colours: drawings, icons, screenshots.

use std::collections::HashMap;

use super::{Picture, Pixels};

/// The colours of a picture: at most 256, the transparent ones first, so that a file's list of alphas stays short.
pub(super) struct Palette {
    /// R, G, B, A.
    pub(super) colours: Vec<[u8; 4]>,
    index: HashMap<[u8; 4], u8>,
}

impl Palette {
    /// The picture's colours; `None` if there are more than 256. A photo shows that in its first rows.
    pub(super) fn of(picture: &Picture) -> Option<Self> {
        let mut index: HashMap<[u8; 4], u8> = HashMap::new();
        let mut colours = Vec::new();
        let mut last = None;
        for colour in pixels(picture) {
            if last == Some(colour) {
                continue;
            }
            last = Some(colour);
            if index.insert(colour, 0).is_none() {
                if colours.len() == 256 {
                    return None;
                }
                colours.push(colour);
            }
        }
        colours.sort_unstable_by_key(|c| (c[3] == 255, *c));
        for (i, colour) in (0..=u8::MAX).zip(&colours) {
            index.insert(*colour, i);
        }
        Some(Self { colours, index })
    }

    /// How many of the colours are not opaque.
    pub(super) fn translucent(&self) -> usize {
        self.colours.iter().filter(|c| c[3] < 255).count()
    }

    /// The picture as numbers of its colours, `bits` (1, 2, 4 or 8) for each, rows padded to whole bytes. `number` says
    /// what a colour's place in the palette is stored as.
    pub(super) fn pack(&self, picture: &Picture, bits: usize, number: impl Fn(u8) -> u8) -> Vec<u8> {
        let width = picture.width as usize;
        let row_bytes = (width * bits).div_ceil(8);
        let mut samples = vec![0; row_bytes * picture.height as usize];
        let (mut last, mut last_number) = (self.colours[0], number(0));
        for (i, colour) in pixels(picture).enumerate() {
            if colour != last {
                (last, last_number) = (colour, number(self.index[&colour]));
            }
            let bit = (i % width) * bits;
            samples[(i / width) * row_bytes + bit / 8] |= last_number << (8 - bits - bit % 8);
        }
        samples
    }
}

fn pixels(picture: &Picture) -> impl Iterator<Item = [u8; 4]> + '_ {
    let (samples, channels) = match &picture.pixels {
        Pixels::Rgb(samples) => (samples, 3),
        Pixels::Rgba(samples) => (samples, 4),
    };
    samples.chunks_exact(channels).map(move |p| [p[0], p[1], p[2], if channels == 4 { p[3] } else { 255 }])
}

//! PNG by the png crate, in the smallest pixel format that loses nothing.

use std::collections::HashMap;

use png::{BitDepth, ColorType, DeflateCompression, Filter};

use super::{EncodeError, EncodeSettings, Encoder, Picture, Pixels, tuning};
use crate::job::Format;

/// Makes PNG files: palette, grey, grey + alpha, RGB or RGBA, 8 bits a sample (palettes down to 1 bit).
#[derive(Clone, Copy, Debug, Default)]
pub struct Png;

impl Encoder for Png {
    fn format(&self) -> Format {
        Format::Png
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        write(picture, tuning::png(*settings)).map_err(|e| EncodeError::new(Format::Png, picture, e))
    }
}

fn write(picture: &Picture, knobs: tuning::PngKnobs) -> Result<Vec<u8>, png::EncodingError> {
    let reduced = Reduced::of(picture);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(reduced.colour);
    encoder.set_depth(reduced.depth);
    // What the pixels mean: nobody has to guess, and no profile has to be carried along.
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    encoder.set_deflate_compression(match knobs.deflate_level {
        Some(level) => DeflateCompression::Level(level),
        None => DeflateCompression::FdeflateUltraFast,
    });
    let indexed = reduced.colour == ColorType::Indexed;
    encoder.set_filter(match knobs.adaptive_filter {
        // Differences of palette indices mean nothing.
        _ if indexed => Filter::NoFilter,
        true => Filter::Adaptive,
        false => Filter::Paeth,
    });
    if let Some(palette) = reduced.palette {
        encoder.set_palette(palette);
    }
    if let Some(transparency) = reduced.transparency {
        encoder.set_trns(transparency);
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&reduced.samples)?;
    writer.finish()?;
    Ok(file)
}

/// The picture in the smallest pixel format.
struct Reduced {
    colour: ColorType,
    depth: BitDepth,
    samples: Vec<u8>,
    palette: Option<Vec<u8>>,
    transparency: Option<Vec<u8>>,
}

impl Reduced {
    fn of(picture: &Picture) -> Self {
        if let Some(palette) = Palette::of(picture) {
            return palette.reduce(picture);
        }
        let grey = picture.is_grey();
        let (colour, samples) = match &picture.pixels {
            Pixels::Rgb(samples) if grey => (ColorType::Grayscale, samples.iter().step_by(3).copied().collect()),
            Pixels::Rgb(samples) => (ColorType::Rgb, samples.clone()),
            Pixels::Rgba(samples) if grey => {
                (ColorType::GrayscaleAlpha, samples.chunks_exact(4).flat_map(|p| [p[0], p[3]]).collect())
            }
            Pixels::Rgba(samples) => (ColorType::Rgba, samples.clone()),
        };
        Self { colour, depth: BitDepth::Eight, samples, palette: None, transparency: None }
    }
}

/// At most 256 colours, the transparent ones first, so that the file's list of alphas stays short.
struct Palette {
    colours: Vec<[u8; 4]>,
    index: HashMap<[u8; 4], u8>,
}

impl Palette {
    /// The picture's colours; `None` if there are more than a palette holds. A photo shows that in its first rows.
    fn of(picture: &Picture) -> Option<Self> {
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

    fn reduce(&self, picture: &Picture) -> Reduced {
        let depth = match self.colours.len() {
            0..=2 => BitDepth::One,
            3..=4 => BitDepth::Two,
            5..=16 => BitDepth::Four,
            _ => BitDepth::Eight,
        };
        let bits = depth as usize;
        let width = picture.width as usize;
        let row_bytes = (width * bits).div_ceil(8);
        let mut samples = vec![0; row_bytes * picture.height as usize];
        let (mut last, mut last_index) = (self.colours[0], 0);
        for (i, colour) in pixels(picture).enumerate() {
            if colour != last {
                (last, last_index) = (colour, self.index[&colour]);
            }
            let bit = (i % width) * bits;
            samples[(i / width) * row_bytes + bit / 8] |= last_index << (8 - bits - bit % 8);
        }
        let translucent = self.colours.iter().filter(|c| c[3] < 255).count();
        Reduced {
            colour: ColorType::Indexed,
            depth,
            samples,
            palette: Some(self.colours.iter().flat_map(|c| [c[0], c[1], c[2]]).collect()),
            transparency: (translucent > 0).then(|| self.colours[..translucent].iter().map(|c| c[3]).collect()),
        }
    }
}

fn pixels(picture: &Picture) -> impl Iterator<Item = [u8; 4]> + '_ {
    let (samples, channels) = match &picture.pixels {
        Pixels::Rgb(samples) => (samples, 3),
        Pixels::Rgba(samples) => (samples, 4),
    };
    samples.chunks_exact(channels).map(move |p| [p[0], p[1], p[2], if channels == 4 { p[3] } else { 255 }])
}

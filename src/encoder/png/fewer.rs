//! Up to 256 colours for a picture whose original had no more: scaling mixes them into thousands, few of which matter.

use std::borrow::Cow;
use std::collections::HashSet;

use fast_ssim2::{PixelDescriptor, PixelSlice, compute_ssimulacra2};
use quantizr::{Histogram, Image, Options, QuantizeResult};

use crate::encoder::{Picture, Pixels};

/// How many colours are tried, one after the other: numbers of up to 16 take half a byte, and the fewer there are, the better
/// they are deflated.
const COLOURS: [u16; 4] = [16, 32, 64, 256];

/// How much fewer colours must look like the picture, by SSIMULACRA2: side by side nobody tells them apart.
const SCORE_MIN: f64 = 90.0;

/// The root of the mean squared difference between the samples of what looks alike, at most: of a thousand tries with graphics
/// of all kinds, none with more than 3.6 scored as much as [`SCORE_MIN`].
const DIFFERENCE_MAX: f64 = 4.0;

/// A picture of more colours isn't tried.
const MIXED_COLOURS_MAX: usize = 65_536;

/// Pixels that are scored together, since scoring takes some hundred bytes for each.
const BAND_PIXELS: usize = 256 * 1024;

/// Pixels a row at most: a band has 64 rows then, unless the picture has less.
const WIDTH_MAX: usize = BAND_PIXELS / 64;

/// What looks like `picture` with the fewest of [`COLOURS`]; none if nothing does, or if it has as few as it is.
pub(super) fn with_fewer_colours(picture: &Picture) -> Option<Picture> {
    if picture.width as usize > WIDTH_MAX {
        return None;
    }
    let samples = rgba(&picture.pixels);
    let mixed = count_colours(&samples)?;
    let image = Image::new(&samples, picture.width as usize, picture.height as usize).ok()?;
    let mut histogram = Histogram::new();
    histogram.add_image(&image);
    COLOURS.into_iter().filter(|colours| mixed > usize::from(*colours)).find_map(|colours| {
        let fewer = Picture { pixels: with_colours(picture, &image, &histogram, colours)?, ..*picture };
        looks_alike(picture, &fewer).then_some(fewer)
    })
}

/// R, G, B, A of each pixel.
fn rgba(pixels: &Pixels) -> Cow<'_, [u8]> {
    match pixels {
        Pixels::Rgb(samples) => samples.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect(),
        Pixels::Rgba(samples) => samples.into(),
    }
}

/// How many colours there are; none if more than [`MIXED_COLOURS_MAX`].
fn count_colours(samples: &[u8]) -> Option<usize> {
    let mut colours = HashSet::new();
    let mut last = None;
    for colour in samples.as_chunks::<4>().0 {
        if last.replace(colour) != Some(colour) && colours.insert(*colour) && colours.len() > MIXED_COLOURS_MAX {
            return None;
        }
    }
    Some(colours.len())
}

/// The pixels of `picture`, each of the nearest of so many colours; none if that is far from what they were. No error is
/// spread over neighbours: what that gains in looks it costs in bytes.
fn with_colours(picture: &Picture, image: &Image<'_>, histogram: &Histogram, colours: u16) -> Option<Pixels> {
    let mut options = Options::default();
    options.set_max_colors(colours.into()).ok()?;
    let mut chosen = QuantizeResult::quantize_histogram(histogram, &options);
    chosen.set_dithering_level(0.0).ok()?;
    let mut numbers = vec![0; image.width * image.height];
    chosen.remap_image(image, &mut numbers).ok()?;
    let palette = chosen.get_palette().entries;
    let colours = numbers.iter().map(|number| palette[usize::from(*number)]);
    let (pixels, differences) = match &picture.pixels {
        Pixels::Rgb(samples) => {
            let fewer: Vec<u8> = colours.flat_map(|c| [c.r, c.g, c.b]).collect();
            let differences = differences(samples, &fewer);
            (Pixels::Rgb(fewer), differences)
        }
        Pixels::Rgba(samples) => {
            let fewer: Vec<u8> = colours.flat_map(|c| [c.r, c.g, c.b, c.a]).collect();
            let differences = differences(samples, &fewer);
            (Pixels::Rgba(fewer), differences)
        }
    };
    (differences <= DIFFERENCE_MAX).then_some(pixels)
}

/// The root of the mean squared difference of samples.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn differences(samples: &[u8], others: &[u8]) -> f64 {
    let sum: u64 = samples.iter().zip(others).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    (sum as f64 / samples.len() as f64).sqrt()
}

/// Whether `fewer` looks like `picture`, band by band: the score of a whole is a mean in which the worst counts most, and so
/// no less than the least of its parts'. What is transparent is looked at on dark and on light.
fn looks_alike(picture: &Picture, fewer: &Picture) -> bool {
    let (samples, others, channels, descriptor) = match (&picture.pixels, &fewer.pixels) {
        (Pixels::Rgb(samples), Pixels::Rgb(others)) => (samples, others, 3, PixelDescriptor::RGB8_SRGB),
        (Pixels::Rgba(samples), Pixels::Rgba(others)) => (samples, others, 4, PixelDescriptor::RGBA8_SRGB),
        _ => return false,
    };
    let (width, height) = (picture.width as usize, picture.height as usize);
    let rows = height.div_ceil((width * height).div_ceil(BAND_PIXELS));
    let stride = width * channels;
    samples.chunks(rows * stride).zip(others.chunks(rows * stride)).all(|(samples, others)| {
        let rows = u32::try_from(samples.len() / stride).unwrap_or(u32::MAX);
        let view = |samples| PixelSlice::new(samples, picture.width, rows, stride, descriptor).ok();
        let score = view(samples).zip(view(others)).and_then(|(a, b)| compute_ssimulacra2(&a, &b).ok());
        score.is_some_and(|score| score >= SCORE_MIN)
    })
}

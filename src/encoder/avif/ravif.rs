//! ravif: rav1e's AV1, colour in full resolution.

use ravif::{BitDepth, Img};
use rgb::FromSlice;

use super::super::{Picture, Pixels};
use super::knobs::RavifKnobs;

/// A file with `picture`.
pub(super) fn encode(picture: &Picture, knobs: RavifKnobs) -> Result<Vec<u8>, String> {
    // No thread count: rav1e then works on the pool whose thread called, which is the encoding pool. Given one, it
    // would build a pool of its own for every picture.
    let encoder = ravif::Encoder::new()
        .with_quality(f32::from(knobs.quality))
        // An edge that is off shows more than a colour that is.
        .with_alpha_quality(f32::midpoint(f32::from(knobs.quality), 100.0))
        .with_speed(knobs.speed)
        .with_bit_depth(if knobs.ten_bits { BitDepth::Ten } else { BitDepth::Eight });
    let (width, height) = (picture.width as usize, picture.height as usize);
    let made = match &picture.pixels {
        Pixels::Rgb(samples) => encoder.encode_rgb(Img::new(samples.as_rgb(), width, height)),
        Pixels::Rgba(samples) => encoder.encode_rgba(Img::new(samples.as_rgba(), width, height)),
    };
    made.map(|image| image.avif_file).map_err(|e| e.to_string())
}

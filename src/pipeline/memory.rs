//! How much memory a job will need, from its header.

use super::outputs::is_animated;
use super::{Layout, SourceInfo};
use crate::job::{Format, VariantSpec};

/// What every job takes, whatever its size: stacks, tables, colour transforms.
const BASE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes a job is expected to need at its peak, besides the bytes of the original itself.
///
/// The decoded source (twice for progressive JPEG and WebP, whose decoders hold coefficients or planes beside it), one
/// picture per variant size, and what the encoders work with, for as many of the hungriest as run at once.
pub(super) fn estimate(source: &SourceInfo, variants: &[VariantSpec], threads: usize) -> u64 {
    let decoded = source.pixels() * u64::from(source.channels) * u64::from(source.bits / 8);
    let beside = if source.progressive { source.pixels() * 2 * u64::from(source.channels) } else { decoded };
    let (mut pictures, mut encoders) = (0, Vec::new());
    for variant in variants {
        let (width, height) = Layout::of(source.width, source.height, variant).output_size();
        let pixels = u64::from(width) * u64::from(height);
        // Once in the source's depth, once as sRGB; an animation holds a batch of frames.
        let held = if is_animated(variant, source) { threads as u64 * 2 + 2 } else { 1 };
        pictures += pixels * held * (4 + 4 * u64::from(source.bits / 8));
        encoders.push(pixels * working_bytes(variant.format));
    }
    encoders.sort_unstable_by(|a, b| b.cmp(a));
    BASE_BYTES + decoded + beside + pictures + encoders.iter().take(threads.max(1)).sum::<u64>()
}

/// Bytes an encoder works with, per pixel.
fn working_bytes(format: Format) -> u64 {
    match format {
        Format::Jpeg => 4,
        Format::Png => 10,
        Format::Webp => 12,
        Format::Avif => 44,
    }
}

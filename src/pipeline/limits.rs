//! How many pixels are too many.

use serde::{Deserialize, Serialize};

/// Limits on what is decoded and made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PixelLimits {
    /// Pixels of the source, summed over the frames that are decoded.
    pub source_pixels_max: u64,
    /// Pixels of a side of the source.
    pub source_side_max: u32,
    /// Sources of more pixels than this are decoded smaller, where their format allows it and no size needs more.
    pub source_pixels_whole: u64,
    /// Pixels of all variants of a job together, frames counted.
    pub output_pixels_max: u64,
}

impl Default for PixelLimits {
    /// 100 MP, 65,535, 24 MP, 400 MP.
    fn default() -> Self {
        Self {
            source_pixels_max: 100_000_000,
            source_side_max: 65_535,
            source_pixels_whole: 24_000_000,
            output_pixels_max: 400_000_000,
        }
    }
}

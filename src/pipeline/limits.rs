//! How many pixels are too many.

use serde::{Deserialize, Serialize};

use crate::setting;

/// Pixels of a side of the source: what JPEG can hold.
pub const SOURCE_SIDE_MAX: u32 = 65_535;

/// Limits on what is decoded and made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PixelLimits {
    /// Pixels of the source, summed over the frames that are decoded.
    #[serde(deserialize_with = "setting::pixels")]
    pub source_max: u64,
    /// Sources of more pixels than this are decoded smaller, where their format allows it and no size needs more.
    #[serde(deserialize_with = "setting::pixels")]
    pub source_whole_max: u64,
    /// Pixels of all variants of a job together, frames counted.
    #[serde(deserialize_with = "setting::pixels")]
    pub output_max: u64,
}

impl PixelLimits {
    /// For files that this program made itself.
    pub(crate) const NONE: Self = Self { source_max: u64::MAX, source_whole_max: u64::MAX, output_max: u64::MAX };
}

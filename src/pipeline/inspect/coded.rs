//! How the picture in an AVIF or HEIC is coded, and of how many pieces.

use std::ops::Range;

use super::InspectError;
use crate::job::{SourceFormat, SourceFormatInfo};

/// How a picture's samples are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Codec {
    Av1,
    Hevc,
}

impl Codec {
    pub(super) fn format(self) -> SourceFormat {
        match self {
            Self::Av1 => SourceFormat::Avif,
            Self::Hevc => SourceFormat::Heic,
        }
    }

    pub(super) fn must_be_readable(self) -> Result<(), InspectError> {
        let SourceFormatInfo { name, built_in, .. } = self.format().info();
        if *built_in { Ok(()) } else { Err(InspectError::unsupported(format!("{name} can't be read by this build"))) }
    }
}

/// How many chroma samples there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum ChromaSubsampling {
    /// None: grey.
    None,
    /// 4:2:0.
    Quarter,
    /// 4:2:2.
    Half,
    /// 4:4:4.
    Full,
}

impl ChromaSubsampling {
    /// Luma samples per chroma sample, across and down.
    pub(in crate::pipeline) fn steps(self) -> (u32, u32) {
        match self {
            Self::Quarter => (2, 2),
            Self::Half => (2, 1),
            Self::None | Self::Full => (1, 1),
        }
    }
}

/// What a codec's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Stream {
    /// Bits a sample: 8 to 16.
    pub(in crate::pipeline) bits: u8,
    pub(in crate::pipeline) chroma: ChromaSubsampling,
    /// Whether chroma lies on the columns of luma, not between them.
    pub(in crate::pipeline) cosited: bool,
    /// The size, where the configuration has it.
    pub(in crate::pipeline) coded: Option<CodedSize>,
    /// The configuration itself, where the decoder needs it.
    pub(in crate::pipeline) configuration: Vec<u8>,
}

/// Sizes that a stream claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct CodedSize {
    /// As shown.
    pub(in crate::pipeline) size: (u32, u32),
    /// As decoded, padding included.
    pub(in crate::pipeline) pixels: u64,
}

/// One coded picture.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Tile {
    pub(in crate::pipeline) stream: Stream,
    /// AV1: which of its operating points to decode.
    pub(in crate::pipeline) operating_point: u8,
    /// Where its bytes lie in the file.
    pub(in crate::pipeline) extents: Vec<Range<u64>>,
}

/// A picture made of one coded picture or a grid of them, all of one size, the last ones overhanging.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Assembly {
    pub(in crate::pipeline) codec: Codec,
    /// (width, height).
    pub(in crate::pipeline) size: (u32, u32),
    /// (width, height) of each tile.
    pub(in crate::pipeline) tile_size: (u32, u32),
    /// Tiles a row.
    pub(in crate::pipeline) columns: u32,
    /// Row by row.
    pub(in crate::pipeline) tiles: Vec<Tile>,
}

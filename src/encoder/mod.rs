//! Pixels to bytes, one format a file.
//!
//! The C libraries in here (libwebp, mozjpeg, libdeflate, libaom) see only pixels that the pipeline made, never a stranger's
//! bytes. What `quality` and `speed` mean to each of them is in [`tuning`]; what else differs between formats is in the
//! table of [`Format`].

mod avif;
mod credits;
mod jpeg;
mod palette;
mod png;
mod registry;
pub mod tuning;
mod webp;

pub use avif::{Avif, AvifContents, AvifEngine};
pub use credits::Credits;
pub use jpeg::Jpeg;
pub use png::Png;
pub use registry::{Registry, built_in};
pub use webp::Webp;

use serde::{Deserialize, Serialize};

use crate::job::Format;

/// Upright sRGB pixels, 8 bits a channel, rows top down without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The samples: width x height x channels bytes.
    pub pixels: Pixels,
}

/// The samples of a [`Picture`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// R, G, B.
    Rgb(Vec<u8>),
    /// R, G, B, A; alpha is straight, not premultiplied. At least one pixel is not opaque.
    Rgba(Vec<u8>),
}

impl Picture {
    /// Whether every pixel has R = G = B. Stops at the first that doesn't.
    #[must_use]
    pub fn is_grey(&self) -> bool {
        match &self.pixels {
            Pixels::Rgb(samples) => samples.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]),
            Pixels::Rgba(samples) => samples.chunks_exact(4).all(|p| p[0] == p[1] && p[1] == p[2]),
        }
    }
}

/// How to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeSettings {
    /// 1-100; none means the format's default.
    pub quality: Option<u8>,
    /// 1 (slowest, smallest) to 10 (fastest); none means the format's default.
    pub speed: Option<u8>,
    /// Whether the original had 256 colours at most: a format that loses nothing else may leave out those that scaling
    /// mixed of them, where that doesn't show.
    pub few_colours: bool,
}

impl EncodeSettings {
    /// The quality that `format` is encoded with, 1-100; 100 where it loses nothing.
    fn quality_in(self, format: Format) -> u8 {
        self.quality.or(format.info().quality_default).unwrap_or(100).clamp(1, 100)
    }

    /// The speed that `format` is encoded at, 1-10.
    fn speed_in(self, format: Format) -> u8 {
        self.speed.unwrap_or(format.info().speed_default).clamp(1, 10)
    }
}

/// Why encoding failed.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{format} of {width} x {height} pixels can't be made: {detail}")]
pub struct EncodeError {
    /// What was to be encoded as.
    pub format: Format,
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The encoder's own words.
    pub detail: String,
}

impl EncodeError {
    /// `format` can't hold `picture`, for the reason that `detail` gives.
    pub(crate) fn new(format: Format, picture: &Picture, detail: impl std::fmt::Display) -> Self {
        Self { format, width: picture.width, height: picture.height, detail: detail.to_string() }
    }
}

/// Makes files of one format.
pub trait Encoder: Send + Sync {
    /// Which format.
    fn format(&self) -> Format;

    /// Encodes one picture. Runs on a thread of the encoding pool; a panic costs the job, not the pool.
    ///
    /// # Errors
    /// If the format can't hold the picture or the library refuses it.
    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError>;

    /// `file`, which this encoder wrote, of (width, height) pixels, with `exif` in it: a TIFF header and what it leads to, at
    /// most some 5 KiB. As it was if it isn't laid out as this encoder does it.
    fn with_exif(&self, file: Vec<u8>, exif: &[u8], size: (u32, u32)) -> Vec<u8>;

    /// What [`Encoder::encode`] takes at most, its result included. Measured peaks.
    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory;
}

/// Memory that an encoder works with besides the picture it is given, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingMemory {
    /// Whatever the size of the picture.
    pub fixed: u64,
    /// For each pixel.
    pub per_pixel: u64,
}

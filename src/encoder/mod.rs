//! Pixels to bytes, one format a file.
//!
//! The C libraries in here (libwebp, mozjpeg) see only pixels that the pipeline made, never a stranger's bytes. What
//! `quality` and `speed` mean to each of them stands in one table, in [`tuning`].

mod avif;
mod credits;
mod jpeg;
mod palette;
mod png;
mod registry;
pub mod tuning;
mod webp;
mod webp_animation;

pub use avif::{Avif, AvifContents, AvifEngine};
pub use credits::Credits;
pub use jpeg::Jpeg;
pub use png::Png;
pub use registry::Registry;
pub use webp::Webp;
pub use webp_animation::{AnimatedWebp, Frame};

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
    /// 1 (slowest, smallest) to 10 (fastest); none means the default.
    pub speed: Option<u8>,
}

/// Why encoding failed.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{format} of {width} x {height} pixels can't be made: {detail}")]
pub struct EncodeError {
    /// The format.
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
    fn new(format: Format, picture: &Picture, detail: impl std::fmt::Display) -> Self {
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
}

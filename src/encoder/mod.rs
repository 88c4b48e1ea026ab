//! Pixels to bytes, one format a file.

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

/// How to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeSettings {
    /// 1-100; none means the format's default.
    pub quality: Option<u8>,
    /// 1 (slowest, smallest) to 10 (fastest); none means the default.
    pub speed: Option<u8>,
}

/// Why encoding failed.
#[derive(Debug, thiserror::Error)]
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

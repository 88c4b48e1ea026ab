//! AVIF by two engines behind one encoder: libaom, which is C and several times faster, and ravif, which is Rust.
//!
//! Both write full-range BT.601 with sRGB's primaries and transfer, which is what a file without `colr` means to every
//! reader, and say so in the AV1 data; both are held to the same tests.

#[cfg(feature = "aom")]
mod aom;
mod container;
#[cfg(feature = "aom")]
mod edges;
#[cfg(feature = "aom")]
mod ffi;
#[cfg(feature = "aom")]
mod graphics;
#[cfg(feature = "aom")]
mod hidden;
mod knobs;
#[cfg(feature = "aom")]
mod planes;
mod ravif;

pub use container::Contents as AvifContents;

use serde::{Deserialize, Serialize};

use super::{EncodeError, EncodeSettings, Encoder, Picture, WorkingMemory};
use crate::job::Format;

/// What an encoder takes for its own tables.
const TABLE_BYTES: u64 = 10 * 1024 * 1024;

/// Which library makes AVIF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AvifEngine {
    /// libaom where it is compiled in, ravif elsewhere: at equal quality libaom is the smaller and the faster one on
    /// photos and graphics alike, with full colour too.
    #[default]
    Auto,
    /// ravif: always there, colour always in full resolution.
    Ravif,
    /// libaom: there with the cargo feature `aom`.
    Aom,
}

impl AvifEngine {
    /// Whether this program has it.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        self != Self::Aom || cfg!(feature = "aom")
    }
}

/// Makes still AVIF files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Avif {
    engine: AvifEngine,
}

impl Avif {
    /// An encoder that works with `engine`; where that isn't built in, every picture is an error.
    #[must_use]
    pub const fn new(engine: AvifEngine) -> Self {
        Self { engine }
    }
}

impl Encoder for Avif {
    fn format(&self) -> Format {
        Format::Avif
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let made = match self.engine {
            #[cfg(feature = "aom")]
            AvifEngine::Auto | AvifEngine::Aom => aom::encode(picture, *settings),
            #[cfg(not(feature = "aom"))]
            AvifEngine::Aom => Err("libaom isn't compiled in".to_owned()),
            #[cfg(not(feature = "aom"))]
            AvifEngine::Auto => ravif::encode(picture, knobs::ravif(*settings)),
            AvifEngine::Ravif => ravif::encode(picture, knobs::ravif(*settings)),
        };
        made.map_err(|detail| EncodeError::new(Format::Avif, picture, detail))
    }

    /// As an item; the file is written anew around the AV1 data.
    fn with_exif(&self, file: Vec<u8>, exif: &[u8], _: (u32, u32)) -> Vec<u8> {
        AvifContents::of(&file).and_then(|contents| contents.with_exif(exif)).unwrap_or(file)
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        // Up to speed 5 libaom keeps more, in order to choose among more kinds of blocks.
        let per_pixel = if settings.speed_in(Format::Avif) <= 5 { 85 } else { 48 };
        WorkingMemory { fixed: TABLE_BYTES, per_pixel }
    }
}

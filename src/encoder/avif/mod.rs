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
mod hidden;
mod knobs;
#[cfg(feature = "aom")]
mod planes;
mod ravif;

pub use container::Contents as AvifContents;

use serde::{Deserialize, Serialize};

use super::{EncodeError, EncodeSettings, Encoder, Picture};
use crate::job::Format;

/// Which library makes AVIF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub fn new(engine: AvifEngine) -> Self {
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
            AvifEngine::Auto | AvifEngine::Aom => aom::encode(picture, knobs::aom(*settings)),
            #[cfg(not(feature = "aom"))]
            AvifEngine::Aom => Err("libaom isn't compiled in".to_owned()),
            #[cfg(not(feature = "aom"))]
            AvifEngine::Auto => ravif::encode(picture, knobs::ravif(*settings)),
            AvifEngine::Ravif => ravif::encode(picture, knobs::ravif(*settings)),
        };
        made.map_err(|detail| EncodeError::new(Format::Avif, picture, detail))
    }
}

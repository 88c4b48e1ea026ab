//! What libjpeg-turbo shows, by its code in mozjpeg.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

/// A picture as libjpeg puts it out: grey, RGB, or CMYK as it is stored.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Vec<u8>,
}

/// What libjpeg shows of `file` at one `reduction`-th of its size, interpolated and smoothed as it does it by default;
/// none if it refuses it.
pub(super) fn shown(file: &[u8], reduction: u8) -> Option<Shown> {
    // Its errors unwind, without a panic's message.
    catch_unwind(AssertUnwindSafe(|| {
        let mut decompress = Decompress::new_mem(file).ok()?;
        decompress.scale(8 / reduction);
        let colours = match decompress.components().len() {
            1 => ColorSpace::JCS_GRAYSCALE,
            3 => ColorSpace::JCS_RGB,
            _ => ColorSpace::JCS_CMYK,
        };
        let mut started = decompress.to_colorspace(colours).ok()?;
        let samples = started.read_scanlines::<u8>().ok()?;
        Some(Shown { width: started.width(), height: started.height(), samples })
    }))
    .ok()
    .flatten()
}

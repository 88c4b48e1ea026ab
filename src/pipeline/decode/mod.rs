//! Bytes to a raster, by decoders that are all Rust.

mod complete;
mod generic;
mod jpeg;
mod png;
mod scaled_jpeg;
mod tiff;

pub(super) use complete::is_complete;
pub(super) use generic::limits as decoder_limits;

use super::raster::Raster;
use super::stored::Stored;
use super::{PipelineError, SourceInfo};
use crate::job::SourceFormat;

/// What a decoder makes of a file: its pixels at the size at which they are stored, and its profile.
struct Decoded {
    raster: Raster,
    icc: Option<Vec<u8>>,
}

/// The same, maybe smaller.
pub(super) struct Opened {
    pub(super) stored: Stored,
    pub(super) icc: Option<Vec<u8>>,
}

/// Decodes the first frame. With `tolerant`, what a truncated file still gives. Where the format makes it possible, a
/// picture comes reduced by `reduction` (1, 2, 4 or 8) on both sides, without ever being in memory as a whole.
pub(super) fn open(
    source: &[u8],
    info: &SourceInfo,
    tolerant: bool,
    reduction: u32,
) -> Result<Opened, PipelineError> {
    if !tolerant && !is_complete(info.format, source) {
        return Err(PipelineError::Truncated);
    }
    if reduction > 1 && info.format == SourceFormat::Jpeg {
        match scaled_jpeg::decode(source, info, reduction) {
            Ok(Decoded { raster, icc }) => return Ok(Opened { stored: Stored { raster, reduction }, icc }),
            // As a whole it gives what is there, for more memory.
            Err(_) if tolerant => {}
            Err(e) => return Err(e),
        }
    }
    let Decoded { raster, icc } = decode(source, info, tolerant)?;
    if (raster.width, raster.height) != info.stored_size() {
        let Raster { width, height, .. } = raster;
        return Err(PipelineError::bad_image(format!("its header and its data disagree: {width} x {height} pixels")));
    }
    Ok(Opened { stored: Stored::from(raster.without_opaque_alpha()), icc })
}

fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<Decoded, PipelineError> {
    match info.format {
        SourceFormat::Jpeg => jpeg::decode(source, tolerant),
        SourceFormat::Png => png::decode(source, info, tolerant),
        SourceFormat::Tiff => tiff::decode(source, info),
        SourceFormat::Webp | SourceFormat::Gif | SourceFormat::Bmp => generic::decode(source, info),
        SourceFormat::Avif | SourceFormat::Heic => Err(PipelineError::bad_image("this format can't be read yet")),
    }
}

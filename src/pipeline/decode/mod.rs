//! Bytes to a raster, by decoders that are all Rust.

#[cfg(feature = "input-avif")]
mod avif;
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
mod cicp;
mod complete;
mod generic;
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
mod hdr;
#[cfg(feature = "input-heic")]
mod heic;
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
mod heif;
mod items;
mod jpeg;
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
mod planes;
mod png;
mod tiff;

pub(super) use complete::is_complete;
pub(super) use generic::limits as decoder_limits;
pub(super) use items::gather;

use super::raster::Raster;
use super::{PipelineError, SourceInfo};
use crate::job::SourceFormat;

/// A picture as it is stored, and what the file says about it.
pub(super) struct Decoded {
    pub(super) raster: Raster,
    pub(super) icc: Option<Vec<u8>>,
}

/// Decodes the first frame. With `tolerant`, what a truncated file still gives.
pub(super) fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<Decoded, PipelineError> {
    if !tolerant && !is_complete(info.format, source) {
        return Err(PipelineError::Truncated);
    }
    let decoded = match info.format {
        SourceFormat::Jpeg => jpeg::decode(source, tolerant),
        SourceFormat::Png => png::decode(source, info, tolerant),
        SourceFormat::Tiff => tiff::decode(source, info),
        SourceFormat::Webp | SourceFormat::Gif | SourceFormat::Bmp => generic::decode(source, info),
        #[cfg(any(feature = "input-avif", feature = "input-heic"))]
        SourceFormat::Avif | SourceFormat::Heic => heif::decode(source, tolerant),
        #[cfg(not(any(feature = "input-avif", feature = "input-heic")))]
        SourceFormat::Avif | SourceFormat::Heic => Err(PipelineError::bad_image("this build can't read its codec")),
    }?;
    let Raster { width, height, .. } = decoded.raster;
    if (width, height) != info.stored_size() {
        return Err(PipelineError::bad_image(format!("its header and its data disagree: {width} x {height} pixels")));
    }
    Ok(Decoded { raster: decoded.raster.without_opaque_alpha(), ..decoded })
}

//! Bytes to a raster, by decoders that are all Rust.

#[cfg(feature = "input-avif")]
mod avif;
mod cicp;
mod complete;
mod generic;
mod hdr;
#[cfg(feature = "input-heic")]
mod heic;
mod heif;
mod jpeg;
mod jpeg_fence;
mod jpeg_structure;
mod planes;
mod png;
mod png_colour;
mod tiff;
mod tiff_samples;
mod webp_cut;

pub(super) use complete::is_complete;
pub(super) use generic::limits as decoder_limits;
pub(super) use heif::gather;

use super::raster::Raster;
use super::{PipelineError, SourceInfo};
use crate::job::SourceFormat;

/// The largest colour profile that is used. Printers' profiles reach 3 MiB; what is larger is passed over like one that
/// can't be read.
const ICC_BYTES_MAX: usize = 8 * 1024 * 1024;

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
        SourceFormat::Tiff => tiff::decode(source, info, tolerant),
        SourceFormat::Webp | SourceFormat::Gif | SourceFormat::Bmp => generic::decode(source, info, tolerant),
        SourceFormat::Avif | SourceFormat::Heic => heif::decode(source, tolerant),
    }?;
    let Raster { width, height, .. } = decoded.raster;
    if (width, height) != info.stored_size() {
        return Err(PipelineError::bad_image(format!("its header and its data disagree: {width} x {height} pixels")));
    }
    let icc = decoded.icc.filter(|icc| icc.len() <= ICC_BYTES_MAX);
    Ok(Decoded { raster: decoded.raster.without_opaque_alpha(), icc })
}

//! Bytes to a raster, by decoders that are all Rust.

#[cfg(feature = "input-avif")]
mod avif;
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
mod cicp;
mod complete;
mod fax;
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
mod png_colour;
mod repair;
mod scaled_png;
mod tiff;
mod tiff_chunk;
mod tiff_samples;
mod truncated_webp;

pub(super) use complete::{is_complete, may_be_whole};
pub(super) use generic::limits as decoder_limits;
pub(super) use items::gather;
pub(super) use png::Open as OpenPng;
pub(super) use repair::repaired;

use super::raster::Raster;
use super::source_raster::SourceRaster;
use super::{PipelineError, SourceInfo};
use crate::job::SourceFormat;

/// The largest colour profile that is used. Printers' profiles reach 3 MiB; what is larger is passed over like one that
/// can't be read.
const ICC_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a decoder makes of a file: its pixels, and its profile.
struct DecodedRaster {
    raster: Raster,
    icc: Option<Vec<u8>>,
}

/// A picture as it is stored, maybe smaller, and the profile that comes with it.
pub(super) struct DecodedSource {
    pub(super) stored: SourceRaster,
    pub(super) icc: Option<Vec<u8>>,
    /// Whether nothing of it is missing.
    pub(super) is_whole: bool,
}

/// Decodes the first frame. With `tolerant`, what a truncated file still gives: only a file that is refused otherwise is
/// decoded once more, so that it is known what tolerance let through. Where the format makes it possible, a
/// picture comes reduced by `reduction` (1, 2, 4 or 8) on both sides, without ever being in memory as a whole.
pub(super) fn open(
    source: &[u8],
    info: &SourceInfo,
    tolerant: bool,
    reduction: u32,
) -> Result<DecodedSource, PipelineError> {
    match open_as(source, info, false, reduction) {
        Err(PipelineError::Truncated | PipelineError::BadImage { .. }) if tolerant => {
            open_as(source, info, true, reduction).map(|decoded| DecodedSource { is_whole: false, ..decoded })
        }
        outcome => outcome,
    }
}

fn open_as(source: &[u8], info: &SourceInfo, tolerant: bool, reduction: u32) -> Result<DecodedSource, PipelineError> {
    // A JPEG's decoder says it better.
    let complete = info.format == SourceFormat::Jpeg || is_complete(info.format, source);
    if !tolerant && !complete && !may_be_whole(info.format, source, false) {
        return Err(PipelineError::Truncated);
    }
    let repaired = repaired(info.format, source);
    let decoded = decode(repaired.as_deref().unwrap_or(source), info, tolerant, reduction);
    decoded.map_err(|error| match error {
        PipelineError::BadImage { .. } if !complete => PipelineError::Truncated,
        error => error,
    })
}

fn decode(source: &[u8], info: &SourceInfo, tolerant: bool, reduction: u32) -> Result<DecodedSource, PipelineError> {
    let reduced = if reduction > 1 { reduced(source, info, tolerant, reduction)? } else { None };
    let (DecodedRaster { raster, icc }, reduction) = match reduced {
        Some(decoded) => (decoded, reduction),
        None => (whole(source, info, tolerant)?, 1),
    };
    let (width, height) = info.stored_size();
    if (raster.width, raster.height) != (width.div_ceil(reduction), height.div_ceil(reduction)) {
        let Raster { width, height, .. } = raster;
        return Err(PipelineError::bad_image(format!("its header and its data disagree: {width} x {height} pixels")));
    }
    let icc = icc.filter(|icc| icc.len() <= ICC_BYTES_MAX);
    Ok(DecodedSource { stored: SourceRaster::new(raster.without_opaque_alpha(), reduction), icc, is_whole: true })
}

/// The picture, each side divided by `reduction` and rounded up; none if it has to be decoded as a whole.
fn reduced(
    source: &[u8],
    info: &SourceInfo,
    tolerant: bool,
    reduction: u32,
) -> Result<Option<DecodedRaster>, PipelineError> {
    match info.format {
        SourceFormat::Jpeg => jpeg::decode_reduced(source, tolerant, reduction).map(Some),
        SourceFormat::Png => scaled_png::decode(source, info, tolerant, reduction),
        _ => Ok(None),
    }
}

fn whole(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    match info.format {
        SourceFormat::Jpeg => jpeg::decode(source, tolerant),
        SourceFormat::Png => png::decode(source, info, tolerant),
        SourceFormat::Tiff => tiff::decode(source, info, tolerant),
        SourceFormat::Webp if tolerant && !is_complete(info.format, source) => truncated_webp::decode(source, info),
        SourceFormat::Webp => generic::webp(source, info),
        SourceFormat::Gif => generic::gif(source, info, tolerant),
        SourceFormat::Bmp => generic::bmp(source, info, tolerant),
        #[cfg(any(feature = "input-avif", feature = "input-heic"))]
        SourceFormat::Avif | SourceFormat::Heic => heif::decode(source, tolerant),
        #[cfg(not(any(feature = "input-avif", feature = "input-heic")))]
        SourceFormat::Avif | SourceFormat::Heic => Err(PipelineError::bad_image("this build can't read its codec")),
    }
}

//! JPEG, by two decoders that show the same: a fast one for the files that most are, and one for all.

mod bits;
mod colours;
mod fast;
mod general;
mod huffman;
mod idct;
mod planes;
mod scan;
mod sentinel;
mod smoothing;
#[cfg(test)]
mod tests;

use super::DecodedRaster;
use crate::pipeline::PipelineError;
use crate::pipeline::container::jpeg::Jpeg;
use colours::Colours;
pub(super) use colours::rgb_of_ycbcr;

/// Scans that a file may have. Encoders write 1 to 4 (baseline) or 6 to 12 (progressive); optimisers that try every split
/// reach about 30.
const SCANS_MAX: usize = 100;

/// Scans times pixels. Every scan of a progressive file passes over all coefficients, at about 2 ns a pixel, however
/// little it says; at 100 MP this still allows twice the scans that encoders write.
const SCAN_PIXELS_MAX: u64 = 2_000_000_000;

/// Decodes `source`. Damage in the picture's data, and their end before the picture's, is an error unless `tolerant`; then
/// what is there is right, and the rest is grey.
pub(super) fn decode(source: &[u8], tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    decode_reduced(source, tolerant, 1)
}

/// As [`decode`], each side divided by `reduction` (1, 2, 4 or 8) and rounded up: what the smaller picture doesn't show is
/// never computed and never in memory. A progressive JPEG's coefficients still are: its last scan may change any of them.
pub(super) fn decode_reduced(source: &[u8], tolerant: bool, reduction: u32) -> Result<DecodedRaster, PipelineError> {
    let jpeg = Jpeg::of(source);
    check_effort(&jpeg)?;
    let is_cut = jpeg.is_cut();
    if is_cut && !tolerant {
        return Err(PipelineError::Truncated);
    }
    let quick = match Colours::of(&jpeg) {
        Some(colours) if reduction == 1 && !is_cut && fast::is_for(&jpeg) => fast::decode(source, &jpeg, colours),
        _ => None,
    };
    // What the fast one refuses, the other judges: bytes between scans for example are harmless.
    let raster = match quick {
        Some(raster) => raster,
        None => general::decode(source, &jpeg, reduction, tolerant)?,
    };
    Ok(DecodedRaster { raster, icc: jpeg.icc(source) })
}

/// Refuses what takes longer than any encoder's file: each scan takes time for every pixel.
pub(super) fn check_effort(jpeg: &Jpeg) -> Result<(), PipelineError> {
    let pixels = jpeg.frame.as_ref().map_or(0, |frame| u64::from(frame.width) * u64::from(frame.height));
    if jpeg.scans > SCANS_MAX || (jpeg.scans as u64).saturating_mul(pixels) > SCAN_PIXELS_MAX {
        let detail = format!("{} scans of {pixels} pixels take too long to decode", jpeg.scans);
        return Err(PipelineError::TooLarge { detail });
    }
    if jpeg.too_many_segments {
        return Err(PipelineError::bad_image("it has many thousands of segments"));
    }
    Ok(())
}

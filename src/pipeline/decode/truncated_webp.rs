//! What a WebP that was cut still shows.
//!
//! The decoder gives nothing of a file that ends early. So the file is ended twice, with different bytes, and both are
//! decoded: where they agree, row by row from the top, the picture came from what is there.

use std::io::Cursor;

use super::{DecodedRaster, generic};
use crate::pipeline::container::{BoundedReader, riff};
use crate::pipeline::raster::{Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// Ends to try; some make no sense to the decoder.
const ENDS: [u8; 5] = [0x00, 0x55, 0xAA, 0xFF, 0x3C];

/// More than a picture's data takes beyond four bytes a pixel.
const DATA_BYTES_SLACK: u64 = 64 * 1024;

/// Flags of VP8X for chunks that come behind the picture, and are gone.
const EXIF_AND_XMP: u8 = 0b1100;

/// Grey, as the JPEG decoder shows what is missing.
const MISSING: u8 = 128;

pub(super) fn decode(source: &[u8], info: &SourceInfo) -> Result<DecodedRaster, PipelineError> {
    let mut decoded = ENDS.iter().filter_map(|end| generic::webp(&ended(source, info, *end)?, info).ok());
    let first = decoded.next().ok_or(PipelineError::Truncated)?;
    let second = decoded.next();
    drop(decoded);
    let Some(second) = second else { return Err(PipelineError::Truncated) };
    let DecodedRaster { mut raster, icc } = first;
    let row = raster.width as usize * raster.channels();
    let (clear, channels) = (raster.alpha, raster.channels());
    let Raster { samples: Samples::U8(samples), .. } = &mut raster else { return Err(PipelineError::Truncated) };
    let Samples::U8(others) = &second.raster.samples else { return Err(PipelineError::Truncated) };
    let good = samples.chunks(row).zip(others.chunks(row)).take_while(|(a, b)| a == b).count();
    if good == 0 {
        return Err(PipelineError::Truncated);
    }
    for pixel in samples[good * row..].chunks_mut(channels) {
        pixel.fill(if clear { 0 } else { MISSING });
    }
    Ok(DecodedRaster { raster, icc })
}

/// `source` with its last chunk filled up with `end` to the length that it claims.
fn ended(source: &[u8], info: &SourceInfo, end: u8) -> Option<Vec<u8>> {
    let mut file = source.to_vec();
    if source.get(12..16)? == b"VP8X" {
        *file.get_mut(20)? &= !EXIF_AND_XMP;
    }
    let mut chunks = BoundedReader::new(Cursor::new(source)).ok()?;
    let last = riff::chunks(&mut chunks).last()?;
    let at = usize::try_from(last.data.end.checked_next_multiple_of(2)?).ok()?;
    let most = source.len() as u64 + info.pixels() * 4 + DATA_BYTES_SLACK;
    if at as u64 > most {
        return None;
    }
    if at > file.len() {
        file.resize(at, end);
    }
    let size = u32::try_from(file.len() - 8).ok()?;
    file.get_mut(4..8)?.copy_from_slice(&size.to_le_bytes());
    Some(file)
}

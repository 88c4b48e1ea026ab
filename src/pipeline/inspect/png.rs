//! PNG: IHDR, and what of eXIf and acTL follows it.

use std::io::{BufRead, Seek};

use png::{BitDepth, ColorType, Decoder, Limits};

use super::{Header, InspectError, exif_orientation};
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::png::{PngChunk, PngChunks};

/// The largest eXIf that is read.
const EXIF_BYTES_MAX: usize = 1024 * 1024;

/// A file that ends early is the decoder's to refuse.
pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let mut decoder = Decoder::new_with_limits(&mut *source.reader(), Limits { bytes: 64 * 1024 });
    let info = decoder.read_header_info().map_err(|e| InspectError::damaged(e.to_string()))?;
    // What a palette or a transparent colour turns into is known only later; the larger counts.
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb | ColorType::Indexed | ColorType::Rgba => 4,
    };
    let mut header = Header::still(info.width, info.height, channels);
    header.bits = if info.bit_depth == BitDepth::Sixteen { 16 } else { 8 };
    header.progressive = info.interlaced;
    header.indexed = info.color_type == ColorType::Indexed || (info.bit_depth as u8) < 8;
    let has_alpha = matches!(info.color_type, ColorType::GrayscaleAlpha | ColorType::Rgba);
    let chunks = PngChunks::read(source);
    header.alpha = Some(has_alpha || chunks.of(b"tRNS").next().is_some());
    if let Some(exif) = chunks.of(b"eXIf").find_map(|chunk| data(source, chunk, EXIF_BYTES_MAX)) {
        header.orientation = exif_orientation(&exif);
    }
    // Behind the picture's data it says nothing.
    let before = chunks.chunks.iter().take_while(|chunk| &chunk.id != b"IDAT");
    if let Some(count) = before.filter(|chunk| &chunk.id == b"acTL").find_map(|chunk| data(source, chunk, 4)) {
        header.frames = count.try_into().map_or(1, u32::from_be_bytes);
    }
    Ok(header)
}

/// What a chunk holds, at most `most` bytes of it; none if not all of it is there.
fn data<R: BufRead + Seek>(source: &mut BoundedReader<R>, chunk: &PngChunk, most: usize) -> Option<Vec<u8>> {
    source.seek_to(chunk.data.start).ok()?;
    source.take(chunk.data.end - chunk.data.start, most).ok()
}

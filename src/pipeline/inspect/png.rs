//! PNG: IHDR, and what of eXIf and acTL follows it.

use std::io::{BufRead, Seek, SeekFrom};

use png::{BitDepth, ColorType, Decoder, Limits};

use super::{Header, InspectError, exif_orientation};
use crate::pipeline::container::BoundedReader;

/// Chunks that are looked at. Data comes in chunks of 8 KiB and more, so this is beyond any honest file.
const CHUNKS_MAX: usize = 100_000;

/// Where the second chunk starts: the signature has 8 bytes, IHDR always 25.
const AFTER_IHDR: u64 = 33;

/// The largest eXIf that is read.
const EXIF_BYTES_MAX: usize = 1024 * 1024;

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
    source.reader().seek(SeekFrom::Start(AFTER_IHDR))?;
    ancillary(source, &mut header);
    Ok(header)
}

/// Walks the chunks for orientation and frames. A file that ends early is the decoder's to refuse.
fn ancillary<R: BufRead + Seek>(source: &mut BoundedReader<R>, header: &mut Header) {
    for _ in 0..CHUNKS_MAX {
        let Ok([l3, l2, l1, l0, id @ ..]) = source.array::<8>() else { return };
        let length = u64::from(u32::from_be_bytes([l3, l2, l1, l0]));
        let passed = match &id {
            b"IEND" => return,
            b"eXIf" => source
                .take(length, EXIF_BYTES_MAX)
                .map(|exif| header.orientation = exif_orientation(&exif))
                .and_then(|()| source.skip(4)),
            b"acTL" => source
                .take(length, 4)
                .map(|count| header.frames = count.try_into().map_or(1, u32::from_be_bytes))
                .and_then(|()| source.skip(4)),
            _ => source.skip(length + 4),
        };
        if passed.is_err() {
            return;
        }
    }
}

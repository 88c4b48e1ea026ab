//! PNG: IHDR, and what of eXIf and acTL follows it.

use std::io::{BufRead, Seek};

use super::source::Source;
use super::{Header, InspectError, exif_orientation};

/// Chunks that are looked at. Data comes in chunks of 8 KiB and more, so this is beyond any honest file.
const CHUNKS_MAX: usize = 100_000;

/// The largest eXIf that is read.
const EXIF_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, InspectError> {
    source.skip(8)?;
    let [.., i, h, d, r] = source.array::<8>()?;
    if [i, h, d, r] != *b"IHDR" {
        return Err(InspectError::damaged("it doesn't start with IHDR"));
    }
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, ..] = source.array::<13>()?;
    source.skip(4)?;
    let (width, height) = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    // What a palette or a transparent colour turns into is known only later; the larger counts.
    let channels = match colour {
        0 | 4 => 2,
        2 | 3 | 6 => 4,
        _ => return Err(InspectError::damaged(format!("colour type {colour} doesn't exist"))),
    };
    let mut header = Header::still(width, height, channels);
    header.bits = if depth == 16 { 16 } else { 8 };
    ancillary(source, &mut header);
    Ok(header)
}

/// Walks the chunks for orientation and frames. A file that ends early is the decoder's to refuse.
fn ancillary<R: BufRead + Seek>(source: &mut Source<R>, header: &mut Header) {
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

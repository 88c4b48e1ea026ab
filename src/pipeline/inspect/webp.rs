//! WebP: the first chunk says what the file is.

use std::io::{BufRead, Seek};
use std::ops::Range;

use super::{Header, InspectError, exif_orientation};
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::riff::{self, RiffChunk};

/// The largest EXIF chunk that is read.
const EXIF_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let first = riff::chunks(source).next();
    let RiffChunk { id, data } = first.ok_or_else(|| InspectError::damaged("it ends inside its header"))?;
    source.seek_to(data.start)?;
    match &id {
        b"VP8 " => lossy(source),
        b"VP8L" => lossless(source),
        b"VP8X" => {
            let [flags, _, _, _, w0, w1, w2, h0, h1, h2] = source.array()?;
            let side = |a, b, c| u32::from_le_bytes([a, b, c, 0]) + 1;
            let animated = flags & 0b10 != 0;
            let channels = if animated || flags & 0b1_0000 != 0 { 4 } else { 3 };
            let mut header = Header::still(side(w0, w1, w2), side(h0, h1, h2), channels);
            header.alpha = Some(flags & 0b1_0000 != 0);
            extended(source, &mut header, animated)?;
            Ok(header)
        }
        _ => Err(InspectError::damaged("its first chunk is none that a WebP starts with")),
    }
}

/// A VP8 frame.
fn lossy<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let [_, _, _, s0, s1, s2, w0, w1, h0, h1] = source.array()?;
    if [s0, s1, s2] != [0x9D, 0x01, 0x2A] {
        return Err(InspectError::damaged("its VP8 frame has no start code"));
    }
    // The upper two bits say how to scale for display, which no viewer does.
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Ok(Header { alpha: Some(false), ..Header::still(side(w0, w1), side(h0, h1), 3) })
}

/// A VP8L picture.
fn lossless<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let [signature, b0, b1, b2, b3] = source.array()?;
    if signature != 0x2F {
        return Err(InspectError::damaged("its VP8L data has no signature"));
    }
    let bits = u32::from_le_bytes([b0, b1, b2, b3]);
    let has_alpha = bits >> 28 & 1 == 1;
    let still = Header::still((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, if has_alpha { 4 } else { 3 });
    Ok(Header { alpha: Some(has_alpha), ..still })
}

/// Walks the chunks for orientation and frames. A file that ends early is the decoder's to refuse, but the picture
/// inside must have the size of the canvas: the decoder takes memory for it before it compares them.
fn extended<R: BufRead + Seek>(
    source: &mut BoundedReader<R>,
    header: &mut Header,
    animated: bool,
) -> Result<(), InspectError> {
    let found: Vec<RiffChunk> = riff::chunks(source).skip(1).collect();
    let mut frames = 0;
    for RiffChunk { id, data } in found {
        match &id {
            b"VP8 " | b"VP8L" if !animated => {
                let size = picture(source, id, &data)?;
                if size.is_some_and(|size| size != (header.width, header.height)) {
                    return Err(InspectError::damaged("the picture in it has another size than it claims"));
                }
            }
            b"EXIF" => {
                source.seek_to(data.start)?;
                if let Ok(exif) = source.take(data.end - data.start, EXIF_BYTES_MAX) {
                    header.orientation = exif_orientation(&exif);
                }
            }
            b"ANMF" => {
                frames += 1;
                frame(source, header, data)?;
            }
            _ => {}
        }
    }
    if animated {
        header.frames = frames;
    }
    Ok(())
}

/// Checks a frame of an animation: its picture must have the size that the frame claims, and lie on the canvas.
fn frame<R: BufRead + Seek>(
    source: &mut BoundedReader<R>,
    header: &Header,
    within: Range<u64>,
) -> Result<(), InspectError> {
    source.seek_to(within.start)?;
    let Ok([x0, x1, x2, y0, y1, y2, w0, w1, w2, h0, h1, h2, _, _, _, _]) = source.array::<16>() else { return Ok(()) };
    let number = |a, b, c| u32::from_le_bytes([a, b, c, 0]);
    let (x, y) = (number(x0, x1, x2) * 2, number(y0, y1, y2) * 2);
    let (width, height) = (number(w0, w1, w2) + 1, number(h0, h1, h2) + 1);
    if x + width > header.width || y + height > header.height {
        return Err(InspectError::damaged("a frame of it lies outside the picture"));
    }
    let parts: Vec<RiffChunk> = riff::chunks_in(source, within.start + 16..within.end).take(2).collect();
    for RiffChunk { id, data } in parts {
        if picture(source, id, &data)?.is_some_and(|size| size != (width, height)) {
            return Err(InspectError::damaged("a frame of it has another size than it claims"));
        }
    }
    Ok(())
}

/// The size of the picture that a chunk is, if it is one and its header is there.
fn picture<R: BufRead + Seek>(
    source: &mut BoundedReader<R>,
    id: [u8; 4],
    data: &Range<u64>,
) -> Result<Option<(u32, u32)>, InspectError> {
    source.seek_to(data.start)?;
    let header = match &id {
        b"VP8 " => lossy(source),
        b"VP8L" => lossless(source),
        _ => return Ok(None),
    };
    match header {
        Ok(header) => Ok(Some((header.width, header.height))),
        Err(InspectError::Io(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

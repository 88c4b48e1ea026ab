//! WebP: the first chunk says what the file is.

use std::io::{BufRead, Seek};

use super::{Header, InspectError, exif_orientation};
use crate::pipeline::container::BoundedReader;

/// Chunks that are looked at: an animation has one a frame.
const CHUNKS_MAX: usize = 100_000;

/// The largest EXIF chunk that is read.
const EXIF_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    source.skip(12)?;
    let id: [u8; 4] = source.array()?;
    let length = u64::from(u32::from_le_bytes(source.array()?));
    match &id {
        b"VP8 " => lossy(source),
        b"VP8L" => lossless(source),
        b"VP8X" => {
            let [flags, _, _, _, w0, w1, w2, h0, h1, h2] = source.array()?;
            let side = |a, b, c| u32::from_le_bytes([a, b, c, 0]) + 1;
            let animated = flags & 0b10 != 0;
            let channels = if animated || flags & 0b1_0000 != 0 { 4 } else { 3 };
            let mut header = Header::still(side(w0, w1, w2), side(h0, h1, h2), channels);
            source.skip((length + length % 2).saturating_sub(10))?;
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
    Ok(Header::still(side(w0, w1), side(h0, h1), 3))
}

/// A VP8L picture.
fn lossless<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let [signature, b0, b1, b2, b3] = source.array()?;
    if signature != 0x2F {
        return Err(InspectError::damaged("its VP8L data has no signature"));
    }
    let bits = u32::from_le_bytes([b0, b1, b2, b3]);
    let channels = if bits >> 28 & 1 == 1 { 4 } else { 3 };
    Ok(Header::still((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, channels))
}

/// Walks the chunks for orientation and frames. A file that ends early is the decoder's to refuse, but the picture
/// inside must have the size of the canvas: the decoder takes memory for it before it compares them.
fn extended<R: BufRead + Seek>(
    source: &mut BoundedReader<R>,
    header: &mut Header,
    animated: bool,
) -> Result<(), InspectError> {
    let mut frames = 0;
    for _ in 0..CHUNKS_MAX {
        let Ok([i0, i1, i2, i3, l0, l1, l2, l3]) = source.array::<8>() else { break };
        let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        let padded = length + length % 2;
        let passed = match &[i0, i1, i2, i3] {
            id @ (b"VP8 " | b"VP8L") if !animated => {
                let (inner, read) = if id == b"VP8 " { (lossy(source)?, 10) } else { (lossless(source)?, 5) };
                if (inner.width, inner.height) != (header.width, header.height) {
                    return Err(InspectError::damaged("the picture in it has another size than it claims"));
                }
                source.skip(padded.saturating_sub(read))
            }
            b"EXIF" => source
                .take(length, EXIF_BYTES_MAX)
                .map(|exif| header.orientation = exif_orientation(&exif))
                .and_then(|()| source.skip(length % 2)),
            b"ANMF" => {
                frames += 1;
                let Some(read) = frame(source, header)? else { break };
                source.skip(padded.saturating_sub(read))
            }
            _ => source.skip(padded),
        };
        if passed.is_err() {
            break;
        }
    }
    if animated {
        header.frames = frames;
    }
    Ok(())
}

/// Checks the frame of an animation whose data begins here, and says how many bytes that took; none if it ends early. Its
/// picture must have the size that the frame claims, and lie on the canvas.
fn frame<R: BufRead + Seek>(source: &mut BoundedReader<R>, header: &Header) -> Result<Option<u64>, InspectError> {
    let Ok([x0, x1, x2, y0, y1, y2, w0, w1, w2, h0, h1, h2, _, _, _, _]) = source.array::<16>() else {
        return Ok(None);
    };
    let number = |a, b, c| u32::from_le_bytes([a, b, c, 0]);
    let (x, y) = (number(x0, x1, x2) * 2, number(y0, y1, y2) * 2);
    let (width, height) = (number(w0, w1, w2) + 1, number(h0, h1, h2) + 1);
    if x + width > header.width || y + height > header.height {
        return Err(InspectError::damaged("a frame of it lies outside the picture"));
    }
    let mut read = 16;
    for _ in 0..2 {
        let Ok([i0, i1, i2, i3, l0, l1, l2, l3]) = source.array::<8>() else { return Ok(None) };
        read += 8;
        let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        let (inner, bytes) = match &[i0, i1, i2, i3] {
            b"VP8 " => (lossy(source), 10),
            b"VP8L" => (lossless(source), 5),
            b"ALPH" => {
                if source.skip(length + length % 2).is_err() {
                    return Ok(None);
                }
                read += length + length % 2;
                continue;
            }
            _ => break,
        };
        match inner {
            Err(InspectError::Io(_)) => return Ok(None),
            inner => {
                let inner = inner?;
                if (inner.width, inner.height) != (width, height) {
                    return Err(InspectError::damaged("a frame of it has another size than it claims"));
                }
            }
        }
        return Ok(Some(read + bytes));
    }
    Ok(Some(read))
}

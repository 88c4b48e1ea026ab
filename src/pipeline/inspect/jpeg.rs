//! JPEG: segments up to the frame header.

use std::io::{BufRead, Seek};

use image::metadata::Orientation;

use super::{Header, InspectError, exif_orientation};
use crate::pipeline::container::BoundedReader;

/// Segments before the frame header. A long colour profile takes dozens; a million tiny ones are an attack.
const SEGMENTS_MAX: usize = 4096;

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    source.skip(2)?;
    let mut orientation = None;
    for _ in 0..SEGMENTS_MAX {
        let marker = next_marker(source)?;
        match marker {
            // Markers that stand alone.
            0x01 | 0xD0..=0xD8 => continue,
            0xD9 | 0xDA => return Err(InspectError::damaged("picture data comes before the frame header")),
            _ => {}
        }
        let length = u64::from(u16::from_be_bytes(source.array()?));
        let payload =
            length.checked_sub(2).ok_or_else(|| InspectError::damaged("a segment shorter than its length"))?;
        match marker {
            0xC0..=0xC2 => return frame(source, marker, orientation.unwrap_or(Orientation::NoTransforms)),
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(InspectError::unsupported(
                    "lossless, hierarchical and arithmetic-coded JPEG can't be read",
                ));
            }
            0xE1 if orientation.is_none() => {
                let block = source.take(payload, 64 * 1024)?;
                if block.starts_with(b"Exif\0\0") {
                    orientation = Some(exif_orientation(&block));
                }
            }
            _ => source.skip(payload)?,
        }
    }
    Err(InspectError::damaged("there are thousands of segments and no frame header"))
}

/// The code of the next marker; bytes between segments are passed over, as every decoder does.
fn next_marker<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<u8, InspectError> {
    for _ in 0..64 * 1024 {
        if source.byte()? != 0xFF {
            continue;
        }
        let mut code = source.byte()?;
        while code == 0xFF {
            code = source.byte()?;
        }
        if code != 0 {
            return Ok(code);
        }
    }
    Err(InspectError::damaged("no frame header to be found"))
}

fn frame<R: BufRead + Seek>(
    source: &mut BoundedReader<R>,
    marker: u8,
    orientation: Orientation,
) -> Result<Header, InspectError> {
    let [precision, h1, h0, w1, w0, components] = source.array()?;
    if precision != 8 {
        return Err(InspectError::unsupported(format!("JPEG of {precision} bits a sample can't be read")));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(InspectError::unsupported(format!("JPEG of {components} components can't be read")));
    }
    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
    let still = Header::still(u32::from(width), u32::from(height), components);
    Ok(Header { orientation, progressive: marker == 0xC2, ..still })
}

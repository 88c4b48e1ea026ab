//! Whether a file goes on to its end. Decoders answer Ok for a JPEG that is cut in the middle; its structure shows it.

use super::jpeg_structure::Structure;
use crate::job::SourceFormat;

/// Whether `source` holds everything up to the marker that ends its format. What comes behind is not looked at: trailing
/// bytes and second pictures (gain maps, MPF) are harmless. TIFF and BMP have no such marker; their decoders fail.
pub(in crate::pipeline) fn is_complete(format: SourceFormat, source: &[u8]) -> bool {
    match format {
        SourceFormat::Jpeg => Structure::of(source).is_complete(),
        SourceFormat::Png => png(source).is_some(),
        SourceFormat::Gif => gif(source).is_some(),
        SourceFormat::Webp => webp(source).is_some(),
        SourceFormat::Avif | SourceFormat::Heic => super::items::is_complete(source),
        SourceFormat::Tiff | SourceFormat::Bmp => true,
    }
}

/// Chunk by chunk to IEND.
fn png(source: &[u8]) -> Option<()> {
    let mut rest = source.get(8..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let id = after.first_chunk::<4>()?;
        rest = rest.get((u32::from_be_bytes(*length) as usize).checked_add(12)?..)?;
        if id == b"IEND" {
            return Some(());
        }
    }
}

/// Block by block to the trailer.
fn gif(source: &[u8]) -> Option<()> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut rest = source.get(13 + table(*source.get(10)?)..)?;
    loop {
        let skipped = match rest.first()? {
            0x3B => return Some(()),
            0x21 => 2,
            0x2C => 11 + table(*rest.get(9)?),
            // Between blocks some writers leave zeros.
            0x00 => {
                rest = &rest[1..];
                continue;
            }
            _ => return None,
        };
        rest = rest.get(skipped..)?;
        loop {
            let length = usize::from(*rest.first()?);
            rest = rest.get(length + 1..)?;
            if length == 0 {
                break;
            }
        }
    }
}

/// The size that the header announces; the last padding byte may be missing.
fn webp(source: &[u8]) -> Option<()> {
    let size = u32::from_le_bytes(*source.get(4..)?.first_chunk()?) as usize;
    (source.len() >= size.checked_add(8)? - size % 2).then_some(())
}

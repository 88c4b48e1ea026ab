//! A look at what an encoder wrote, before anyone gets it: the format, the dimensions, and that it goes on to its end.

use std::io::Cursor;

use super::decode::is_complete;
use super::{PixelLimits, inspect};
use crate::job::{Format, SourceFormat};

/// What is wrong with `file`, which should be a picture of `width` x `height` pixels in `format`.
pub(super) fn verify(file: &[u8], format: Format, width: u32, height: u32) -> Result<(), String> {
    let found = match format {
        Format::Jpeg => header(file, SourceFormat::Jpeg)?,
        Format::Png => header(file, SourceFormat::Png)?,
        Format::Webp => header(file, SourceFormat::Webp)?,
        Format::Avif => avif_size(file).ok_or("it has no `ftyp avif`, no `ispe`, or no `mdat`")?,
    };
    if found == (width, height) { Ok(()) } else { Err(format!("the encoder wrote {} x {} pixels", found.0, found.1)) }
}

fn header(file: &[u8], format: SourceFormat) -> Result<(u32, u32), String> {
    let limits = PixelLimits { source_pixels_max: u64::MAX, ..PixelLimits::default() };
    let info = inspect(Cursor::new(file), &limits).map_err(|e| format!("the encoder's file can't be read: {e}"))?;
    if info.format != format {
        return Err("the encoder wrote another format".to_owned());
    }
    if !is_complete(format, file) {
        return Err("the encoder's file is cut off".to_owned());
    }
    Ok((info.width, info.height))
}

/// Width and height by the first `ispe` property, if the boxes are those of an AVIF and the data is all there.
fn avif_size(file: &[u8]) -> Option<(u32, u32)> {
    let (mut brand, mut size, mut data) = (false, None, false);
    for (id, payload) in boxes(file) {
        match &id {
            b"ftyp" => brand = payload.starts_with(b"avif"),
            b"meta" => size = ispe(payload.get(4..)?),
            b"mdat" => data = !payload.is_empty(),
            _ => {}
        }
    }
    size.filter(|_| brand && data)
}

fn ispe(meta: &[u8]) -> Option<(u32, u32)> {
    let (_, properties) = boxes(meta).find(|(id, _)| id == b"iprp")?;
    let (_, container) = boxes(properties).find(|(id, _)| id == b"ipco")?;
    let (_, extents) = boxes(container).find(|(id, _)| id == b"ispe")?;
    let [w3, w2, w1, w0, h3, h2, h1, h0] = *extents.get(4..)?.first_chunk()?;
    Some((u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0])))
}

/// The boxes of an ISO media file, up to the first that is not all there.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let id = *rest.get(4..)?.first_chunk()?;
        let payload = rest.get(8..if size == 0 { rest.len() } else { size })?;
        rest = &rest[8 + payload.len()..];
        Some((id, payload))
    })
}

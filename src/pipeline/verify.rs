//! A look at what an encoder wrote, before anyone gets it: the format, the dimensions, and that it goes on to its end.

use std::io::Cursor;

use super::decode::is_complete;
use super::{PixelLimits, inspect};
use crate::encoder::AvifContents;
use crate::job::{Format, SourceFormat};

/// What is wrong with `file`, which should be a picture of `width` x `height` pixels in `format`.
pub(super) fn verify(file: &[u8], format: Format, width: u32, height: u32) -> Result<(), String> {
    let found = match format {
        Format::Jpeg => header(file, SourceFormat::Jpeg)?,
        Format::Png => header(file, SourceFormat::Png)?,
        Format::Webp => header(file, SourceFormat::Webp)?,
        Format::Avif => {
            let contents = AvifContents::of(file).ok_or("the encoder's file isn't a whole AVIF")?;
            (contents.width, contents.height)
        }
    };
    if found == (width, height) { Ok(()) } else { Err(format!("the encoder wrote {} x {} pixels", found.0, found.1)) }
}

fn header(file: &[u8], format: SourceFormat) -> Result<(u32, u32), String> {
    let info =
        inspect(Cursor::new(file), &PixelLimits::NONE).map_err(|e| format!("the encoder's file can't be read: {e}"))?;
    if info.format != format {
        return Err("the encoder wrote another format".to_owned());
    }
    if !is_complete(format, file) {
        return Err("the encoder's file is cut off".to_owned());
    }
    Ok((info.width, info.height))
}

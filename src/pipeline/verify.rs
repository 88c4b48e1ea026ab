//! A look at what an encoder wrote, before anyone gets it: the format, the dimensions, and that it goes on to its end.

use std::io::Cursor;

use super::decode::is_complete;
use super::{Output, PixelLimits, inspect};
use crate::encoder::AvifContents;
use crate::job::{Format, SourceFormat};

/// What is wrong with `file`, which should be a picture of `width` x `height` pixels in `format`.
pub(super) fn verify(file: &[u8], format: Format, width: u32, height: u32) -> Result<(), String> {
    check_header(file, format, Output { width, height, frames: u32::MAX })?;
    // Of an AVIF that was a part of it.
    match source_format(format) {
        Some(format) if !is_complete(format, file) => Err("the encoder's file is cut off".to_owned()),
        _ => Ok(()),
    }
}

/// What is wrong with the header of `file`, which should be this `output` in `format`. Nothing is decoded.
pub(crate) fn check_header(file: &[u8], format: Format, output: Output) -> Result<(), String> {
    let (width, height, frames) = if let Some(format) = source_format(format) {
        header(file, format)?
    } else {
        let contents = AvifContents::of(file).ok_or("the encoder's file isn't a whole AVIF")?;
        (contents.width, contents.height, 1)
    };
    if (width, height) != (output.width, output.height) {
        return Err(format!("the encoder wrote {width} x {height} pixels"));
    }
    if frames > output.frames {
        return Err(format!("the encoder wrote {frames} frames"));
    }
    Ok(())
}

/// The same format as an original's; none for AVIF, which builds without AVIF originals write too.
fn source_format(format: Format) -> Option<SourceFormat> {
    match format {
        Format::Jpeg => Some(SourceFormat::Jpeg),
        Format::Png => Some(SourceFormat::Png),
        Format::Webp => Some(SourceFormat::Webp),
        Format::Avif => None,
    }
}

fn header(file: &[u8], format: SourceFormat) -> Result<(u32, u32, u32), String> {
    let info =
        inspect(Cursor::new(file), &PixelLimits::NONE).map_err(|e| format!("the encoder's file can't be read: {e}"))?;
    if info.format != format {
        return Err("the encoder wrote another format".to_owned());
    }
    Ok((info.width, info.height, info.frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WebP whose chunks say that it is 1 x 1 and has so many frames; there is no picture in it.
    fn animated(frames: usize) -> Vec<u8> {
        let chunk = |id: &[u8; 4], body: &[u8]| {
            let length = u32::try_from(body.len()).expect("short");
            [&id[..], &length.to_le_bytes(), body].concat()
        };
        let frame = chunk(b"ANMF", &[&[0; 16][..], &chunk(b"VP8L", &[0x2F, 0, 0, 0, 0, 0])].concat());
        let canvas = chunk(b"VP8X", &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let body = [&b"WEBP"[..], &canvas, &chunk(b"ANIM", &[0; 6]), &frame.repeat(frames)].concat();
        chunk(b"RIFF", &body)
    }

    #[test]
    fn a_picture_with_more_frames_than_the_original_has_is_not_what_was_asked_for() {
        let check =
            |made, asked| check_header(&animated(made), Format::Webp, Output { width: 1, height: 1, frames: asked });
        assert_eq!((check(1, 1), check(3, 3), check(2, 3)), (Ok(()), Ok(()), Ok(())));
        for (made, asked) in [(2, 1), (4, 3)] {
            assert_eq!(check(made, asked), Err(format!("the encoder wrote {made} frames")));
        }
    }
}

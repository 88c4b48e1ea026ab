//! TIFF: the first directory, read by the decoder itself.

use std::io::{BufRead, Seek};

use image::codecs::tiff::TiffDecoder;
use image::{ExtendedColorType, ImageDecoder, ImageError};

use super::{Header, InspectError};

pub(super) fn header<R: BufRead + Seek>(reader: &mut R) -> Result<Header, InspectError> {
    let mut decoder = TiffDecoder::new(reader).map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    let colour = decoder.color_type();
    let cmyk = matches!(decoder.original_color_type(), ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16);
    let channels = if cmyk { 4 } else { colour.channel_count() };
    let mut header = Header::still(width, height, channels);
    header.bits = if colour.bytes_per_pixel() / colour.channel_count() > 1 { 16 } else { 8 };
    header.orientation = decoder.orientation().map_err(refuse)?;
    Ok(header)
}

fn refuse(error: ImageError) -> InspectError {
    match error {
        ImageError::Unsupported(kind) => InspectError::unsupported(format!("this kind of TIFF can't be read ({kind})")),
        ImageError::IoError(io) => io.into(),
        other => InspectError::damaged(other.to_string()),
    }
}

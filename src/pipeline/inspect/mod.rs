//! What an original is, from its header alone: nothing is decoded, and no memory is taken that the header asks for.

mod assembly;
mod avif;
mod bmp;
#[cfg_attr(not(all(feature = "input-avif", feature = "input-heic")), allow(dead_code))]
mod coded;
mod gif;
mod heic;
// Read without a decoder too, to name what is refused; then not all of it is needed.
#[cfg_attr(not(all(feature = "input-avif", feature = "input-heic")), allow(dead_code))]
mod heif;
mod jpeg;
mod png;
mod tiff;
mod transform;
mod webp;

#[cfg(any(feature = "input-avif", feature = "input-heic"))]
pub(super) use coded::{Assembly, ChromaSubsampling, Codec, Tile};
#[cfg(any(feature = "input-avif", feature = "input-heic"))]
pub(super) use heif::Cicp;
pub(super) use heif::Still;

use std::io::{self, BufRead, Cursor, Seek};

use image::metadata::Orientation;
pub(super) use tiff::{Compression, Extra, FaxKind, Meaning, Predictor, TiffPage};

use super::container::BoundedReader;
use super::container::tiff::{TiffDirectory, tag};
use super::{PixelLimits, SOURCE_SIDE_MAX};
use crate::job::{SourceFormat, SourceInfo, enumerate};

impl SourceInfo {
    /// Pixels of one frame.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// (width, height) as they are stored, before orientation.
    #[must_use]
    pub fn stored_size(&self) -> (u32, u32) {
        if super::orient::swaps_sides(self.orientation) { (self.height, self.width) } else { (self.width, self.height) }
    }
}

/// Why an original is refused before it is decoded.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It is none of the formats that can be decoded, or a kind of one that can't.
    #[error("{detail}; supported are {}", supported())]
    Unsupported {
        /// What it is, as far as that can be said.
        detail: String,
    },
    /// Its dimensions exceed the limits.
    #[error("the image is too large: {detail}")]
    TooLarge {
        /// Which limit.
        detail: String,
    },
    /// The header can't be read.
    #[error("the image's header is damaged: {detail}")]
    Damaged {
        /// What is wrong.
        detail: String,
    },
    /// The file can't be read.
    #[error("the image can't be read: {0}")]
    Io(io::Error),
}

impl InspectError {
    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::Unsupported { detail: detail.into() }
    }

    pub(super) fn damaged(detail: impl Into<String>) -> Self {
        Self::Damaged { detail: detail.into() }
    }
}

impl From<io::Error> for InspectError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::damaged("it ends inside its header"),
            _ => Self::Io(error),
        }
    }
}

/// Reads the header of the image that `reader` holds from its start.
///
/// # Errors
/// If it is not an image that can be decoded, or larger than `limits` allow for one frame.
pub fn inspect<R: BufRead + Seek>(reader: R, limits: &PixelLimits) -> Result<SourceInfo, InspectError> {
    let mut source = BoundedReader::new(reader)?;
    let mut head = [0; 16];
    let read = source.read_some(&mut head)?;
    let format = recognise(&head[..read])?;
    source.seek_to(0)?;
    let header = match format {
        SourceFormat::Jpeg => jpeg::header(&mut source),
        SourceFormat::Png => png::header(&mut source),
        SourceFormat::Webp => webp::header(&mut source),
        SourceFormat::Gif => gif::header(&mut source),
        SourceFormat::Tiff => tiff::header(&mut source),
        SourceFormat::Bmp => bmp::header(source.reader()),
        // The brand names the container; the codec of what it shows is the format.
        SourceFormat::Avif | SourceFormat::Heic => {
            let (format, header) = heif::header(&mut source)?;
            header.check(limits)?;
            return Ok(header.into_info(format));
        }
    }?;
    header.check(limits)?;
    Ok(header.into_info(format))
}

/// What an AVIF or HEIC shows, and where its parts lie.
pub(super) fn still<R: BufRead + Seek>(reader: R) -> Result<Still, InspectError> {
    Still::read(&mut BoundedReader::new(reader)?)
}

/// The formats that originals may have in this build, for people.
fn supported() -> String {
    enumerate(SourceFormat::ALL.map(SourceFormat::info).into_iter().filter(|i| i.built_in).map(|i| i.name), "and")
}

/// The format by its first bytes.
fn recognise(head: &[u8]) -> Result<SourceFormat, InspectError> {
    if let Some(format) = SourceFormat::ALL.into_iter().find(|format| (format.info().begins)(head)) {
        return Ok(format);
    }
    Err(match head {
        [0x89 | 0x09, b'P', b'N', b'G', ..] => {
            InspectError::damaged("a PNG whose line ends were converted, as by a transfer in text mode")
        }
        [] => InspectError::unsupported("the file is empty"),
        _ => InspectError::unsupported("this is not an image of a known format"),
    })
}

/// What each format's header gives, as stored.
#[derive(Clone, Copy, Debug)]
struct Header {
    width: u32,
    height: u32,
    orientation: Orientation,
    channels: u8,
    bits: u8,
    frames: u32,
    progressive: bool,
    indexed: bool,
    alpha: Option<bool>,
}

impl Header {
    /// A still, upright picture of 8 bits a sample.
    fn still(width: u32, height: u32, channels: u8) -> Self {
        let orientation = Orientation::NoTransforms;
        Self {
            width,
            height,
            orientation,
            channels,
            bits: 8,
            frames: 1,
            progressive: false,
            indexed: false,
            alpha: None,
        }
    }

    fn check(&self, limits: &PixelLimits) -> Result<(), InspectError> {
        let Self { width, height, .. } = *self;
        if width == 0 || height == 0 {
            return Err(InspectError::damaged(format!("it claims {width} x {height} pixels")));
        }
        if width > SOURCE_SIDE_MAX || height > SOURCE_SIDE_MAX {
            let detail = format!("{width} x {height} pixels; a side may have {SOURCE_SIDE_MAX}");
            return Err(InspectError::TooLarge { detail });
        }
        let pixels_max = limits.source_max;
        if u64::from(width) * u64::from(height) > pixels_max {
            let detail = format!("{width} x {height} pixels; {pixels_max} are allowed");
            return Err(InspectError::TooLarge { detail });
        }
        Ok(())
    }

    fn into_info(self, format: SourceFormat) -> SourceInfo {
        let Self { width, height, orientation, channels, bits, frames, progressive, indexed, alpha } = self;
        let (width, height) = if super::orient::swaps_sides(orientation) { (height, width) } else { (width, height) };
        let frames = frames.max(1);
        SourceInfo { format, width, height, orientation, channels, bits, frames, progressive, indexed, alpha }
    }
}

/// The orientation in an EXIF block, with or without the marker that some writers leave in front.
pub(super) fn exif_orientation(exif: &[u8]) -> Orientation {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let said = BoundedReader::new(Cursor::new(tiff)).ok().and_then(|mut source| {
        let directory = TiffDirectory::read(&mut source).ok()?;
        directory.number(&mut source, tag::ORIENTATION)
    });
    let said = said.and_then(|said| u8::try_from(said).ok()).and_then(Orientation::from_exif);
    said.unwrap_or(Orientation::NoTransforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_told_what_is() {
        for bytes in [&b""[..], b"%PDF-1.7 and so on", b"<svg xmlns=", b"\0\0\0\x10ftypmp42...."] {
            let error = inspect(io::Cursor::new(bytes), &PixelLimits::default()).expect_err("no image");
            assert!(matches!(error, InspectError::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains("JPEG, PNG"), "{error}");
        }
    }

    #[test]
    fn a_format_that_is_left_out_is_named_with_those_that_are_not() {
        let told = InspectError::unsupported("it is something else").to_string();
        assert!(told.contains("JPEG, PNG, WebP, GIF, TIFF"), "{told}");
        assert_eq!(told.contains("AVIF"), cfg!(feature = "input-avif"), "{told}");
        assert_eq!(told.contains("HEIC"), cfg!(feature = "input-heic"), "{told}");
    }

    #[test]
    fn a_heic_for_a_build_without_heic_is_unsupported_not_damaged() {
        let cut = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
        let error = inspect(io::Cursor::new(cut), &PixelLimits::default()).expect_err("no picture");
        let unsupported = matches!(error, InspectError::Unsupported { .. });
        assert_eq!(unsupported, !cfg!(feature = "input-heic"), "{error}");
    }
}

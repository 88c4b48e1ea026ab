//! What an original is, as far as its header tells.

use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

use super::table::table;

/// How files of a format are named and served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType {
    /// What the names of its files end with, without the dot.
    pub extension: &'static str,
    /// Their media type.
    pub media_type: &'static str,
    /// Whether every browser shows it in place. What a browser might hand to another program is only offered for saving.
    pub inline: bool,
}

/// A row of [`SourceFormat`].
#[derive(Clone, Copy, Debug)]
pub struct SourceFormatInfo {
    /// For people.
    pub name: &'static str,
    /// How a stored original is named and served.
    pub file: FileType,
    /// Whether this build decodes it.
    pub built_in: bool,
    /// Whether a file begins as this format's do, by its first 16 bytes, or fewer if there are no more. Of two that say
    /// yes, the header of the file decides.
    pub begins: fn(&[u8]) -> bool,
}

table! {
    /// The format found in an original's bytes, whatever its name or content type claimed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[expect(missing_docs, reason = "the names are the formats'")]
    pub enum SourceFormat of SourceFormatInfo {
        Jpeg {
            name: "JPEG",
            file: FileType { extension: "jpg", media_type: "image/jpeg", inline: true },
            built_in: true,
            begins: |head| head.starts_with(b"\xFF\xD8\xFF"),
        }
        Png {
            name: "PNG",
            file: FileType { extension: "png", media_type: "image/png", inline: true },
            built_in: true,
            begins: |head| head.starts_with(b"\x89PNG\r\n\x1A\n"),
        }
        Webp {
            name: "WebP",
            file: FileType { extension: "webp", media_type: "image/webp", inline: true },
            built_in: true,
            begins: |head| head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP".as_slice()),
        }
        Gif {
            name: "GIF",
            file: FileType { extension: "gif", media_type: "image/gif", inline: true },
            built_in: true,
            begins: |head| head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a"),
        }
        Tiff {
            name: "TIFF",
            file: FileType { extension: "tiff", media_type: "image/tiff", inline: false },
            built_in: true,
            begins: |head| matches!(head, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]),
        }
        Bmp {
            name: "BMP",
            file: FileType { extension: "bmp", media_type: "image/bmp", inline: false },
            built_in: true,
            begins: |head| head.starts_with(b"BM"),
        }
        Avif {
            name: "AVIF",
            file: FileType { extension: "avif", media_type: "image/avif", inline: true },
            built_in: cfg!(feature = "input-avif"),
            begins: |head| head.get(4..8) == Some(b"ftyp".as_slice()),
        }
        Heic {
            name: "HEIC",
            file: FileType { extension: "heic", media_type: "image/heic", inline: false },
            built_in: cfg!(feature = "input-heic"),
            begins: |head| head.get(4..8) == Some(b"ftyp".as_slice()),
        }
    }
}

impl SourceFormat {
    /// The extension a stored original gets, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.info().file.extension
    }

    /// The media type a stored original is served with.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        self.info().file.media_type
    }
}

/// What an original's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The format, by its first bytes.
    pub format: SourceFormat,
    /// Pixels a row, upright: after the EXIF orientation.
    pub width: u32,
    /// Rows, upright.
    pub height: u32,
    /// How the stored pixels become upright; written as EXIF's number.
    #[serde(with = "exif_orientation")]
    pub orientation: Orientation,
    /// Samples a pixel once decoded: 1 to 4.
    pub channels: u8,
    /// Bits a sample once decoded: 8 or 16; of TIFF also 32 and 64.
    pub bits: u8,
    /// Frames: 1 for a still picture, more for an animation.
    pub frames: u32,
    /// Whether no part of the picture is whole before all of it is (progressive JPEG, interlaced PNG).
    pub progressive: bool,
    /// Whether it has 256 colours at most by its kind: a palette, or grey below 8 bits. What was inspected before this was
    /// told counts as having more.
    #[serde(default)]
    pub indexed: bool,
    /// Whether something may show through it, as its header says; none where that doesn't tell, and of what was inspected before
    /// this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<bool>,
}

/// What an upload read in its original's header, and the limits that it was held against: under the same limits, reading
/// it again comes to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// What the header says.
    pub source: SourceInfo,
    /// Pixels that an original might have.
    pub source_pixels_max: u64,
    /// Pixels that a side of it might have.
    pub source_side_max: u32,
}

mod exif_orientation {
    use image::metadata::Orientation;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(orientation: &Orientation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(orientation.to_exif())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Orientation, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Orientation::from_exif(number).ok_or_else(|| de::Error::custom("not an EXIF orientation"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspection_comes_back_as_it_was_written() {
        for number in 1..=8 {
            let source = SourceInfo {
                format: SourceFormat::Jpeg,
                width: 30,
                height: 20,
                orientation: Orientation::from_exif(number).expect("one of EXIF's"),
                channels: 3,
                bits: 8,
                frames: 1,
                progressive: true,
                indexed: true,
                alpha: Some(true),
            };
            let inspection = Inspection { source, source_pixels_max: 1_000, source_side_max: 100 };
            let json = serde_json::to_value(inspection).expect("JSON");
            assert_eq!(json["source"]["orientation"], number);
            assert_eq!(serde_json::from_value::<Inspection>(json).expect("an inspection"), inspection);
        }
    }
}

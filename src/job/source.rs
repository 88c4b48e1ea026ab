//! The formats an original may have.

use serde::{Deserialize, Serialize};

use super::table::table;

/// How files of a format are named and served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileType {
    /// What the names of its files end with, without the dot.
    pub extension: &'static str,
    /// Their media type.
    pub media_type: &'static str,
    /// Whether every browser draws it as a picture. What a browser might hand to another program is only offered for
    /// saving.
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

//! Who made a picture and whose it is: the only metadata that goes from an original into its variants.
//!
//! A fresh EXIF block with these two fields and nothing else is put into the finished file.

use super::AvifContents;
use crate::job::Format;

/// The longest credit that is kept, in characters.
const CHARACTERS_MAX: usize = 512;

/// EXIF tags, in the order in which a directory must list them.
const ARTIST: u16 = 0x013B;
const COPYRIGHT: u16 = 0x8298;

/// Artist and copyright, as an original's EXIF names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credits {
    /// Who made it.
    pub artist: Option<String>,
    /// Whose it is.
    pub copyright: Option<String>,
}

impl Credits {
    /// `text` as a credit: one line, not too long, no control characters, nothing that could open a tag of HTML or PHP;
    /// none if nothing is left. A stranger wrote it, and it is the one thing of theirs that a variant carries.
    #[must_use]
    pub fn clean(text: &str) -> Option<String> {
        let harmless = |c| match c {
            // Round brackets keep an address readable.
            '<' => '(',
            '>' => ')',
            other => other,
        };
        let line: String = text.chars().filter(|c| !c.is_control()).map(harmless).take(CHARACTERS_MAX).collect();
        let line = line.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// `file`, a picture in `format` of `width` x `height` pixels, with these credits.
    #[must_use]
    pub fn put_into(&self, file: Vec<u8>, format: Format, width: u32, height: u32) -> Vec<u8> {
        let Some(exif) = self.exif() else { return file };
        match format {
            Format::Jpeg => into_jpeg(&file, &exif),
            Format::Png => into_png(&file, &exif),
            Format::Webp => into_webp(&file, &exif, width, height).unwrap_or(file),
            Format::Avif => AvifContents::of(&file).and_then(|contents| contents.with_exif(&exif)).unwrap_or(file),
        }
    }

    /// An EXIF block: a TIFF header and one directory; none if there is nothing to say.
    fn exif(&self) -> Option<Vec<u8>> {
        let fields = [(ARTIST, &self.artist), (COPYRIGHT, &self.copyright)];
        let fields: Vec<(u16, &[u8])> =
            fields.iter().filter_map(|(tag, text)| Some((*tag, text.as_ref()?.as_bytes()))).collect();
        let count = u16::try_from(fields.len()).ok().filter(|count| *count > 0)?;
        let mut block = b"MM\0\x2A\0\0\0\x08".to_vec();
        block.extend(count.to_be_bytes());
        let values_at = 8 + 2 + 12 * fields.len() + 4;
        let mut values = Vec::new();
        for (tag, text) in fields {
            let length = u32::try_from(text.len() + 1).ok()?;
            block.extend(tag.to_be_bytes());
            // ASCII, with the zero that ends it.
            block.extend([0, 2]);
            block.extend(length.to_be_bytes());
            let value = [text, b"\0"].concat();
            if value.len() <= 4 {
                block.extend(&value);
                block.resize(block.len() + 4 - value.len(), 0);
            } else {
                block.extend(u32::try_from(values_at + values.len()).ok()?.to_be_bytes());
                values.extend(value);
                values.resize(values.len().next_multiple_of(2), 0);
            }
        }
        // There is no second directory.
        block.extend([0; 4]);
        block.extend(values);
        Some(block)
    }
}

/// Behind SOI and JFIF's own segment.
fn into_jpeg(file: &[u8], exif: &[u8]) -> Vec<u8> {
    let jfif = match file.get(2..6) {
        Some([0xFF, 0xE0, high, low]) => 2 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    let (before, after) = file.split_at((2 + jfif).min(file.len()));
    let length = u16::try_from(exif.len() + 8).unwrap_or(u16::MAX);
    [before, &[0xFF, 0xE1], &length.to_be_bytes(), b"Exif\0\0", exif, after].concat()
}

/// Behind IHDR.
fn into_png(file: &[u8], exif: &[u8]) -> Vec<u8> {
    let (before, after) = file.split_at(file.len().min(33));
    let chunk = [b"eXIf", exif].concat();
    let length = u32::try_from(exif.len()).unwrap_or(u32::MAX);
    [before, &length.to_be_bytes(), &chunk, &crc32(&chunk).to_be_bytes(), after].concat()
}

/// PNG's checksum. Bit by bit: it is over a few hundred bytes.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

/// At the end, announced in the header; a file in the simple layout gets one.
fn into_webp(file: &[u8], exif: &[u8], width: u32, height: u32) -> Option<Vec<u8>> {
    const HAS_EXIF: u8 = 0b1000;
    const HAS_ALPHA: u8 = 0b1_0000;
    let mut chunks = file.get(12..)?.to_vec();
    if chunks.starts_with(b"VP8X") {
        *chunks.get_mut(8)? |= HAS_EXIF;
    } else {
        // A lossless picture says in its own header whether it has alpha; a lossy one without VP8X has none.
        let alpha = chunks.starts_with(b"VP8L") && chunks.get(12)? >> 4 & 1 == 1;
        let mut header = b"VP8X\x0A\0\0\0".to_vec();
        header.extend([HAS_EXIF | if alpha { HAS_ALPHA } else { 0 }, 0, 0, 0]);
        header.extend(&(width - 1).to_le_bytes()[..3]);
        header.extend(&(height - 1).to_le_bytes()[..3]);
        chunks.splice(..0, header);
    }
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    chunks.extend(b"EXIF");
    chunks.extend(u32::try_from(exif.len()).ok()?.to_le_bytes());
    chunks.extend(exif);
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    let size = u32::try_from(chunks.len() + 4).ok()?;
    Some([b"RIFF", &size.to_le_bytes()[..], b"WEBP", &chunks].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn credits_are_one_clean_line() {
        assert_eq!(Credits::clean("  Ada \n\0L\u{7} "), Some("Ada L".to_owned()));
        assert_eq!(Credits::clean(" \0 "), None);
        assert_eq!(Credits::clean("Ada <ada@example.org>"), Some("Ada (ada@example.org)".to_owned()));
        assert_eq!(Credits::clean("<?php f(); ?><script>"), Some("(?php f(); ?)(script)".to_owned()));
        assert_eq!(Credits::clean(&"ä".repeat(600)).map(|s| s.chars().count()), Some(512));
    }
}

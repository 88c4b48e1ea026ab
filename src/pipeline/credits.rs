//! Artist and copyright of an original.

use std::io::Cursor;

use exif::{Exif, In, Reader, Tag, Value};
use tiff::decoder::Decoder;

use super::decode::gather;
use super::inspect;
use crate::encoder::Credits;
use crate::job::SourceFormat;

/// What the file's EXIF says; nothing if it can't be read: a bad tag spoils no picture.
pub(super) fn credits(source: &[u8], format: SourceFormat) -> Credits {
    match format {
        SourceFormat::Jpeg | SourceFormat::Png | SourceFormat::Webp => embedded(source).unwrap_or_default(),
        SourceFormat::Tiff => own(source).unwrap_or_default(),
        SourceFormat::Avif | SourceFormat::Heic => item(source).unwrap_or_default(),
        SourceFormat::Gif | SourceFormat::Bmp => Credits::default(),
    }
}

fn embedded(source: &[u8]) -> Option<Credits> {
    Some(named(&Reader::new().read_from_container(&mut Cursor::new(source)).ok()?))
}

/// AVIF and HEIC have EXIF as an item: the offset of its header, then itself.
fn item(source: &[u8]) -> Option<Credits> {
    let still = inspect::still(Cursor::new(source)).ok()?;
    let bytes = gather(source, &still.exif);
    let (offset, rest) = bytes.split_first_chunk::<4>()?;
    let exif = rest.get(u32::from_be_bytes(*offset) as usize..)?;
    Some(named(&Reader::new().read_raw(exif.to_vec()).ok()?))
}

fn named(exif: &Exif) -> Credits {
    let text = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        // Copyright may have two parts: the photographer's and the editor's.
        Value::Ascii(parts) => {
            let parts: Vec<_> = parts.iter().filter_map(|p| Credits::clean(&String::from_utf8_lossy(p))).collect();
            Credits::clean(&parts.join("; "))
        }
        _ => None,
    };
    Credits { artist: text(Tag::Artist), copyright: text(Tag::Copyright) }
}

/// A TIFF carries the tags itself.
fn own(source: &[u8]) -> Option<Credits> {
    let mut decoder = Decoder::new(Cursor::new(source)).ok()?;
    let mut text = |tag| decoder.get_tag_ascii_string(tag).ok().and_then(|text| Credits::clean(&text));
    Some(Credits { artist: text(tiff::tags::Tag::Artist), copyright: text(tiff::tags::Tag::Unknown(0x8298)) })
}

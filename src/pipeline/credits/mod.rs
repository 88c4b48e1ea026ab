//! Artist and copyright of an original, from whichever of EXIF, XMP and IPTC is there.
//!
//! Where several say it, EXIF comes first, then XMP, then IPTC, each field for itself. What is damaged is passed over, and
//! so is nothing else: a bad tag spoils no picture, and no other tag.

mod blocks;
mod exif;
mod iptc;
mod xmp;

use blocks::Blocks;

use crate::encoder::Credits;
use crate::job::SourceFormat;

/// Who made the picture and whose it is, as far as the file says.
pub(super) fn credits(source: &[u8], format: SourceFormat) -> Credits {
    let blocks = Blocks::of(source, format);
    let said = blocks.exif.iter().map(|block| exif::credits(block));
    let said = said.chain(blocks.xmp.iter().map(|packet| xmp::credits(packet)));
    let said = said.chain(blocks.iptc.iter().map(|records| iptc::credits(records)));
    said.chain([blocks.named]).fold(Credits::default(), |known, more| Credits {
        artist: known.artist.or(more.artist),
        copyright: known.copyright.or(more.copyright),
    })
}

/// Text as it is meant: UTF-8 where it is valid, else Latin-1.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned)
}

/// Several names, or parts of a notice, as one line.
fn joined<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Option<String> {
    let parts: Vec<_> = parts.into_iter().filter_map(|part| Credits::clean(&text(part.as_ref()))).collect();
    Credits::clean(&parts.join("; "))
}

//! EXIF's fields; a TIFF's own are the same.

use std::io::{BufRead, Cursor, Seek};

use super::joined;
use crate::encoder::Credits;
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::tiff::{TiffDirectory, tag};

/// The longest field that is read, in bytes.
const FIELD_BYTES_MAX: usize = 64 * 1024;

/// The credits in an EXIF block, which some writers leave a marker in front of.
pub(super) fn credits(block: &[u8]) -> Credits {
    let tiff = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let Ok(mut source) = BoundedReader::new(Cursor::new(tiff)) else { return Credits::default() };
    TiffDirectory::read(&mut source).map(|directory| of_directory(&directory, &mut source)).unwrap_or_default()
}

/// The credits in a directory's own fields.
pub(super) fn of_directory<R: BufRead + Seek>(directory: &TiffDirectory, source: &mut BoundedReader<R>) -> Credits {
    // Copyright may have two parts, each ended by a zero: the photographer's and the editor's.
    let mut field = |tag| joined(directory.bytes(source, tag, FIELD_BYTES_MAX)?.split(|byte| *byte == 0));
    Credits { artist: field(tag::ARTIST), copyright: field(tag::COPYRIGHT) }
}

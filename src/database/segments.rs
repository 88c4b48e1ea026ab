//! The headers of sled's segments, by which it finds its way through the file.
//!
//! sled takes a segment whose header is damaged for a free one, and what was written there for never written: depending
//! on what else is there, records vanish without an error. So the headers are looked at before.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use super::DatabaseError;
use super::engine::SEGMENT_BYTES;
use super::place::Place;

/// A checksum, a log position, and the position up to which everything was stable.
const HEADER_BYTES: usize = 20;

/// Where the first damaged header is, if there is one. A segment that was never written is all zeros there.
pub(super) fn damaged_header(place: &Place) -> Result<Option<u64>, DatabaseError> {
    let failed = |source| place.io_error("reading", source);
    let bytes = place.file_bytes()?;
    if bytes == 0 {
        return Ok(None);
    }
    let mut file = place.open_file()?;
    for offset in (0..bytes).step_by(SEGMENT_BYTES) {
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        match file.read_exact(&mut header) {
            Ok(()) => {}
            // That the file ends early is for sled to say.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        if header != [0; HEADER_BYTES] && !is_sound(&header) {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// Whether the checksum, which is stored inverted, is that of the rest.
fn is_sound(header: &[u8; HEADER_BYTES]) -> bool {
    let (checksum, rest) = header.split_at(4);
    let stored = checksum.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    stored == !crc32fast::hash(rest)
}

//! The chunks of a RIFF file, which a WebP is (RFC 9649, 2.3 to 2.7).

use std::io::{BufRead, Seek};
use std::ops::Range;

use super::BoundedReader;

/// Chunks that are looked at: an animation has one a frame.
const CHUNKS_MAX: usize = 100_000;

/// A chunk, as its length says: what it holds may go beyond what it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct RiffChunk {
    pub(in crate::pipeline) id: [u8; 4],
    pub(in crate::pipeline) data: Range<u64>,
}

/// Where a file's first chunk begins.
const AFTER_FORM: u64 = 12;

/// The length that the file's header announces, from its first byte on, without the byte that makes it even.
pub(in crate::pipeline) fn announced_length<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Option<u64> {
    source.seek_to(4).ok()?;
    let size = u32::from_le_bytes(source.array().ok()?);
    Some(u64::from(size) + 8 - u64::from(size % 2))
}

/// The chunks of a file.
pub(in crate::pipeline) fn chunks<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> impl Iterator<Item = RiffChunk> {
    let end = source.length();
    chunks_in(source, AFTER_FORM..end)
}

/// The chunks in a stretch of a file, up to the first whose header isn't all there.
pub(in crate::pipeline) fn chunks_in<R: BufRead + Seek>(
    source: &mut BoundedReader<R>,
    within: Range<u64>,
) -> impl Iterator<Item = RiffChunk> {
    let mut at = within.start;
    let next = move || {
        if at.checked_add(8)? > within.end {
            return None;
        }
        source.seek_to(at).ok()?;
        let id = source.array().ok()?;
        let length = u64::from(u32::from_le_bytes(source.array().ok()?));
        let data = at + 8..at + 8 + length;
        at = data.end + length % 2;
        Some(RiffChunk { id, data })
    };
    std::iter::from_fn(next).take(CHUNKS_MAX)
}

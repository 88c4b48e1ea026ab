//! Where the bytes of an AVIF's or HEIC's items are.

use std::borrow::Cow;
use std::io::Cursor;
use std::ops::Range;

use crate::pipeline::inspect;

/// Whether every sample that the file refers to is in it.
pub(super) fn is_complete(source: &[u8]) -> bool {
    let length = source.len() as u64;
    inspect::still(Cursor::new(source)).is_ok_and(|still| still.extents().all(|range| end(range, length) <= length))
}

/// A range without an end goes to the file's.
fn end(range: &Range<u64>, length: u64) -> u64 {
    if range.end == u64::MAX { length.max(range.start) } else { range.end }
}

/// An item's bytes, as far as they are in the file.
pub(in crate::pipeline) fn gather<'a>(source: &'a [u8], extents: &[Range<u64>]) -> Cow<'a, [u8]> {
    let piece = |range: &Range<u64>| {
        let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(source.len());
        source.get(within(range.start)..within(range.end)).unwrap_or_default()
    };
    match extents {
        [range] => Cow::Borrowed(piece(range)),
        ranges => Cow::Owned(ranges.iter().flat_map(piece).copied().collect()),
    }
}

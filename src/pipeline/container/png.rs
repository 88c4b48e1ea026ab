//! The chunks of a PNG (ISO/IEC 15948, 5.3), an APNG's too.

use std::io::{BufRead, Seek};
use std::ops::Range;

use super::BoundedReader;

/// Chunks that are looked at. Data comes in chunks of 8 KiB and more, so this is beyond any honest file.
const CHUNKS_MAX: usize = 100_000;

/// Where the first chunk begins.
const AFTER_SIGNATURE: u64 = 8;

/// A chunk, as its length says: what it holds may go beyond the file's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct PngChunk {
    pub(in crate::pipeline) id: [u8; 4],
    /// Where its data is. The checksum follows, in four bytes.
    pub(in crate::pipeline) data: Range<u64>,
}

/// The chunks of a file, in its order.
#[derive(Debug)]
pub(in crate::pipeline) struct PngChunks {
    pub(in crate::pipeline) chunks: Vec<PngChunk>,
    /// Whether the chunk is there that ends the file.
    pub(in crate::pipeline) ended: bool,
}

impl PngChunks {
    /// Walks the file up to IEND, or as far as it goes.
    pub(in crate::pipeline) fn read<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Self {
        let mut found = Self { chunks: Vec::new(), ended: false };
        let mut at = AFTER_SIGNATURE;
        while found.chunks.len() < CHUNKS_MAX && source.seek_to(at).is_ok() {
            let Ok([l3, l2, l1, l0, id @ ..]) = source.array::<8>() else { break };
            let data = at + 8..at + 8 + u64::from(u32::from_be_bytes([l3, l2, l1, l0]));
            at = data.end + 4;
            if &id == b"IEND" {
                found.ended = at <= source.length();
                break;
            }
            found.chunks.push(PngChunk { id, data });
        }
        found
    }

    /// Those of a type.
    pub(in crate::pipeline) fn of(&self, id: &[u8; 4]) -> impl Iterator<Item = &PngChunk> {
        self.chunks.iter().filter(move |chunk| chunk.id == *id)
    }
}

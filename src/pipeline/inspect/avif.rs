//! What `av1C` says of an AV1 picture.

use super::coded::{ChromaSubsampling, Stream};

/// Reads an `av1C` property (AV1 in ISO media files, 2.3).
pub(super) fn stream(body: &[u8]) -> Option<Stream> {
    // Marker and version 1; then profile and level, which the decoder judges.
    let [0x81, _, flags, ..] = *body else { return None };
    let is = |bit: u8| flags >> bit & 1 == 1;
    let bits = match (is(6), is(5)) {
        (false, _) => 8,
        (true, false) => 10,
        (true, true) => 12,
    };
    let chroma = match (is(4), is(3), is(2)) {
        (true, ..) => ChromaSubsampling::None,
        (_, true, true) => ChromaSubsampling::Quarter,
        (_, true, false) => ChromaSubsampling::Half,
        _ => ChromaSubsampling::Full,
    };
    // 1: between two rows, on the columns of luma. Unknown is taken as between both, as for JPEG.
    let cosited = flags & 3 != 0;
    Some(Stream { bits, chroma, cosited, coded: None, configuration: Vec::new() })
}

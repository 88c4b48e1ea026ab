//! GIF: the logical screen, and how many images come on it.

use std::io::{BufRead, Seek};

use super::{Header, InspectError};
use crate::pipeline::container::BoundedReader;
use crate::pipeline::container::gif::GifBlocks;

/// Pixels by which a frame may be larger than the screen: the decoder takes memory for all of them, and shows none.
const FRAME_PIXELS_SLACK: u64 = 1024 * 1024;

/// A file that ends early is the decoder's to refuse.
pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    let found = GifBlocks::read(source)?;
    let mut header = Header::still(u32::from(found.width), u32::from(found.height), 4);
    let pixels_max = u64::from(header.width) * u64::from(header.height) + FRAME_PIXELS_SLACK;
    if found.images().any(|(width, height)| u64::from(width) * u64::from(height) > pixels_max) {
        return Err(InspectError::damaged("a frame of it is far larger than its screen"));
    }
    header.indexed = true;
    header.frames = u32::try_from(found.images().count()).unwrap_or(u32::MAX).max(1);
    Ok(header)
}

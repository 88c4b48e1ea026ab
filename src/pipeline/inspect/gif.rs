//! GIF: the logical screen, and how many images come on it.

use std::io::{self, BufRead, Seek};

use super::{Header, InspectError};
use crate::pipeline::container::BoundedReader;

/// Pixels by which a frame may be larger than the screen: the decoder takes memory for all of them, and shows none.
const FRAME_PIXELS_SLACK: u64 = 1024 * 1024;

/// Frames that are counted; an animation of more is refused for its pixels or cut here.
const FRAMES_MAX: u32 = 100_000;

pub(super) fn header<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Header, InspectError> {
    source.skip(6)?;
    let [w0, w1, h0, h1, flags, _, _] = source.array()?;
    source.skip(colour_table_bytes(flags))?;
    let mut header = Header::still(u32::from(u16::from_le_bytes([w0, w1])), u32::from(u16::from_le_bytes([h0, h1])), 4);
    header.frames = frames(source, &header)?.max(1);
    Ok(header)
}

/// Bytes of the colour table that `flags` announce.
fn colour_table_bytes(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Counts image descriptors. A file that ends early is the decoder's to refuse.
fn frames<R: BufRead + Seek>(source: &mut BoundedReader<R>, screen: &Header) -> Result<u32, InspectError> {
    let pixels_max = u64::from(screen.width) * u64::from(screen.height) + FRAME_PIXELS_SLACK;
    let mut frames = 0;
    while frames < FRAMES_MAX {
        let passed = match source.byte() {
            Ok(0x21) => source.byte().and_then(|_| skip_blocks(source)),
            Ok(0x2C) => {
                frames += 1;
                let Ok([_, _, _, _, w0, w1, h0, h1, flags]) = source.array::<9>() else { break };
                let (width, height) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
                if u64::from(width) * u64::from(height) > pixels_max {
                    return Err(InspectError::damaged("a frame of it is far larger than its screen"));
                }
                source.skip(colour_table_bytes(flags) + 1).and_then(|()| skip_blocks(source))
            }
            _ => break,
        };
        if passed.is_err() {
            break;
        }
    }
    Ok(frames)
}

fn skip_blocks<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> io::Result<()> {
    loop {
        match source.byte()? {
            0 => return Ok(()),
            length => source.skip(u64::from(length))?,
        }
    }
}

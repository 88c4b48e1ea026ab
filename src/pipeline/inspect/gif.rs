//! GIF: the logical screen, and how many images come on it.

use std::io::{self, BufRead, Seek};

use super::source::Source;
use super::{Header, InspectError};

/// Frames that are counted; an animation of more is refused for its pixels or cut here.
const FRAMES_MAX: u32 = 100_000;

pub(super) fn header<R: BufRead + Seek>(source: &mut Source<R>) -> Result<Header, InspectError> {
    source.skip(6)?;
    let [w0, w1, h0, h1, flags, _, _] = source.array()?;
    source.skip(colour_table_bytes(flags))?;
    let mut header = Header::still(u32::from(u16::from_le_bytes([w0, w1])), u32::from(u16::from_le_bytes([h0, h1])), 4);
    header.frames = frames(source).max(1);
    Ok(header)
}

/// Bytes of the colour table that `flags` announce.
fn colour_table_bytes(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Counts image descriptors. A file that ends early is the decoder's to refuse.
fn frames<R: BufRead + Seek>(source: &mut Source<R>) -> u32 {
    let mut frames = 0;
    while frames < FRAMES_MAX {
        let passed = match source.byte() {
            Ok(0x21) => source.byte().and_then(|_| skip_blocks(source)),
            Ok(0x2C) => {
                frames += 1;
                source
                    .array::<9>()
                    .and_then(|descriptor| source.skip(colour_table_bytes(descriptor[8]) + 1))
                    .and_then(|()| skip_blocks(source))
            }
            _ => break,
        };
        if passed.is_err() {
            break;
        }
    }
    frames
}

fn skip_blocks<R: BufRead + Seek>(source: &mut Source<R>) -> io::Result<()> {
    loop {
        match source.byte()? {
            0 => return Ok(()),
            length => source.skip(u64::from(length))?,
        }
    }
}

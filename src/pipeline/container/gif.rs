//! The blocks of a GIF (version 89a, 18 to 27).

use std::io::{self, BufRead, Seek};
use std::ops::Range;

use super::BoundedReader;

/// Blocks that are looked at: an animation has a few a frame.
const BLOCKS_MAX: usize = 400_000;

/// What a file holds behind its header, in its order.
#[derive(Debug)]
pub(in crate::pipeline) struct GifBlocks {
    pub(in crate::pipeline) width: u16,
    pub(in crate::pipeline) height: u16,
    pub(in crate::pipeline) blocks: Vec<GifBlock>,
    pub(in crate::pipeline) end: GifEnd,
}

/// How a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum GifEnd {
    /// With its trailer.
    Trailer,
    /// Behind a whole block, at this place: with its end, or with what is no block.
    NoTrailer(u64),
    /// Inside an image's data: in the block of it whose length is at `length_at`, if that block isn't all there.
    InData { length_at: u64 },
    /// Inside an image's header.
    InImage,
    /// Inside an extension that begins at this place.
    InExtension(u64),
}

/// A block that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum GifBlock {
    /// An image, of this width and height.
    Image(u16, u16),
    /// An application's extension: its name, and where the blocks of its data are, with their lengths.
    Application([u8; 11], Range<u64>),
}

impl GifBlocks {
    /// Walks the file up to its trailer, or as far as it goes. An error only if the header isn't all there.
    pub(in crate::pipeline) fn read<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> io::Result<Self> {
        source.seek_to(6)?;
        let [w0, w1, h0, h1, flags, _, _] = source.array()?;
        source.skip(colour_table_bytes(flags))?;
        let (width, height) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
        let mut found = Self { width, height, blocks: Vec::new(), end: GifEnd::Trailer };
        found.end = found.walk(source)?;
        Ok(found)
    }

    fn walk<R: BufRead + Seek>(&mut self, source: &mut BoundedReader<R>) -> io::Result<GifEnd> {
        loop {
            let start = source.position()?;
            match source.byte() {
                Ok(0x3B) => return Ok(GifEnd::Trailer),
                Ok(0x21) => {
                    if self.extension(source).is_err() {
                        return Ok(GifEnd::InExtension(start));
                    }
                }
                Ok(0x2C) => {
                    let Ok([_, _, _, _, w0, w1, h0, h1, flags]) = source.array::<9>() else {
                        return Ok(GifEnd::InImage);
                    };
                    self.blocks.push(GifBlock::Image(u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1])));
                    source.skip(colour_table_bytes(flags) + 1)?;
                    if source.position()? > source.length() {
                        return Ok(GifEnd::InImage);
                    }
                    if let Err(length_at) = skip_blocks(source) {
                        return Ok(GifEnd::InData { length_at });
                    }
                }
                // Between blocks some writers leave zeros.
                Ok(0x00) => {}
                _ => return Ok(GifEnd::NoTrailer(start)),
            }
            if self.blocks.len() > BLOCKS_MAX {
                return Ok(GifEnd::NoTrailer(start));
            }
        }
    }

    fn extension<R: BufRead + Seek>(&mut self, source: &mut BoundedReader<R>) -> Result<(), ()> {
        let is_application = source.byte().map_err(|_| ())? == 0xFF;
        let start = source.position().map_err(|_| ())?;
        if is_application && source.byte().is_ok_and(|length| length == 11) {
            let name = source.array().map_err(|_| ())?;
            let data = source.position().map_err(|_| ())?;
            skip_blocks(source).map_err(|_| ())?;
            self.blocks.push(GifBlock::Application(name, data..source.position().map_err(|_| ())?));
            return Ok(());
        }
        source.seek_to(start).map_err(|_| ())?;
        skip_blocks(source).map_err(|_| ())
    }

    /// How many images there are.
    pub(in crate::pipeline) fn images(&self) -> impl Iterator<Item = (u16, u16)> {
        self.blocks.iter().filter_map(|block| match block {
            GifBlock::Image(width, height) => Some((*width, *height)),
            GifBlock::Application(..) => None,
        })
    }

    /// How often the images are shown, 0 for ever. Without an extension that says it, once; one that says n shows them n
    /// times more.
    pub(in crate::pipeline) fn plays<R: BufRead + Seek>(&self, source: &mut BoundedReader<R>) -> u16 {
        let loops = self.blocks.iter().filter_map(|block| match block {
            GifBlock::Application(name, data) if [b"NETSCAPE2.0", b"ANIMEXTS1.0"].contains(&name) => {
                source.seek_to(data.start).ok()?;
                match source.array().ok()? {
                    [length, 1, low, high] if length >= 3 => Some(u16::from_le_bytes([low, high])),
                    _ => None,
                }
            }
            _ => None,
        });
        loops.last().map_or(1, |more| if more == 0 { 0 } else { more.saturating_add(1) })
    }
}

/// Bytes of the colour table that `flags` announce.
fn colour_table_bytes(flags: u8) -> u64 {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Passes over blocks up to the empty one that ends them; an error says where the length is of the one that isn't all
/// there.
fn skip_blocks<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<(), u64> {
    loop {
        let here = source.position().map_err(|_| 0_u64)?;
        let length = source.byte().map_err(|_| here)?;
        if length == 0 {
            return Ok(());
        }
        source.skip(u64::from(length)).map_err(|_| here)?;
        if source.position().is_ok_and(|at| at > source.length()) {
            return Err(here);
        }
    }
}

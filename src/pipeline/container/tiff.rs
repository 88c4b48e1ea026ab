//! The first directory of a TIFF; EXIF is one, too (TIFF 6.0, section 2; `BigTIFF`).
//!
//! An entry is looked at when it is asked for, so that one that is damaged harms no other, and its values are read from
//! where they are, as many as are wanted: no count of a file takes memory. Only the first directory is read. What it points
//! to is none of its pictures, and may be itself.

use std::io::{self, BufRead, Seek};

use super::BoundedReader;
use crate::pipeline::InspectError;

/// Entries that are looked at; an honest directory has a few dozen.
const ENTRIES_MAX: u64 = 4096;

/// Tags by number.
pub(in crate::pipeline) mod tag {
    pub(in crate::pipeline) const WIDTH: u16 = 256;
    pub(in crate::pipeline) const HEIGHT: u16 = 257;
    pub(in crate::pipeline) const BITS: u16 = 258;
    pub(in crate::pipeline) const COMPRESSION: u16 = 259;
    pub(in crate::pipeline) const PHOTOMETRIC: u16 = 262;
    pub(in crate::pipeline) const FILL_ORDER: u16 = 266;
    pub(in crate::pipeline) const STRIP_OFFSETS: u16 = 273;
    pub(in crate::pipeline) const ORIENTATION: u16 = 274;
    pub(in crate::pipeline) const SAMPLES: u16 = 277;
    pub(in crate::pipeline) const ROWS_PER_STRIP: u16 = 278;
    pub(in crate::pipeline) const STRIP_COUNTS: u16 = 279;
    pub(in crate::pipeline) const PLANAR: u16 = 284;
    pub(in crate::pipeline) const T4_OPTIONS: u16 = 292;
    pub(in crate::pipeline) const ARTIST: u16 = 315;
    pub(in crate::pipeline) const PREDICTOR: u16 = 317;
    pub(in crate::pipeline) const COLOUR_MAP: u16 = 320;
    pub(in crate::pipeline) const TILE_WIDTH: u16 = 322;
    pub(in crate::pipeline) const TILE_HEIGHT: u16 = 323;
    pub(in crate::pipeline) const TILE_OFFSETS: u16 = 324;
    pub(in crate::pipeline) const TILE_COUNTS: u16 = 325;
    pub(in crate::pipeline) const INK_SET: u16 = 332;
    pub(in crate::pipeline) const EXTRA_SAMPLES: u16 = 338;
    pub(in crate::pipeline) const SAMPLE_FORMAT: u16 = 339;
    pub(in crate::pipeline) const JPEG_TABLES: u16 = 347;
    pub(in crate::pipeline) const CHROMA_SUBSAMPLING: u16 = 530;
    pub(in crate::pipeline) const XMP: u16 = 700;
    pub(in crate::pipeline) const COPYRIGHT: u16 = 0x8298;
    pub(in crate::pipeline) const IPTC: u16 = 0x83BB;
    pub(in crate::pipeline) const PHOTOSHOP: u16 = 0x8649;
    pub(in crate::pipeline) const ICC: u16 = 0x8773;
    /// What only a camera's raw file has: its maker's version of DNG, the model.
    pub(in crate::pipeline) const RAW: [u16; 2] = [0xC612, 0xC640];
}

/// The entries of a directory, in the order of the file.
#[derive(Debug)]
pub(in crate::pipeline) struct TiffDirectory {
    pub(in crate::pipeline) big_endian: bool,
    entries: Vec<Entry>,
}

/// What a directory says of a tag.
#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u16,
    kind: u16,
    /// Values, as the file claims.
    count: u64,
    /// Where they are.
    at: u64,
}

impl Entry {
    /// Bytes of one value; none if its type is none that there is.
    fn value_bytes(&self) -> Option<u64> {
        match self.kind {
            // BYTE, ASCII, SBYTE, UNDEFINED, UTF8
            1 | 2 | 6 | 7 | 129 => Some(1),
            // SHORT, SSHORT
            3 | 8 => Some(2),
            // LONG, SLONG, FLOAT, IFD
            4 | 9 | 11 | 13 => Some(4),
            // RATIONAL, SRATIONAL, DOUBLE, LONG8, SLONG8, IFD8
            5 | 10 | 12 | 16..=18 => Some(8),
            _ => None,
        }
    }

    /// Whether its values are whole numbers. Those with a sign are read as if they had none: negative ones are larger than
    /// anything that a tag may say.
    fn is_whole_number(&self) -> bool {
        matches!(self.kind, 1 | 3 | 4 | 6..=9 | 13 | 16..=18)
    }
}

impl TiffDirectory {
    /// Reads the header that `source` begins with, and the first directory, as far as that is there.
    pub(in crate::pipeline) fn read<R: BufRead + Seek>(source: &mut BoundedReader<R>) -> Result<Self, InspectError> {
        source.seek_to(0)?;
        let order: [u8; 2] = source.array()?;
        let mut numbers = NumberFormat { big_endian: &order == b"MM", big: false };
        numbers.big = numbers.take(source, 2)? == 43;
        if numbers.big {
            // The size of an offset, 8, and 0.
            numbers.take(source, 4)?;
        }
        let start = numbers.take(source, if numbers.big { 8 } else { 4 })?;
        source.seek_to(start)?;
        let count = numbers.take(source, if numbers.big { 8 } else { 2 })?;
        if count > ENTRIES_MAX {
            return Err(InspectError::damaged(format!("a directory of {count} entries")));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            match Self::entry(source, numbers) {
                Ok(entry) => entries.push(entry),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Self { big_endian: numbers.big_endian, entries })
    }

    fn entry<R: BufRead + Seek>(source: &mut BoundedReader<R>, numbers: NumberFormat) -> io::Result<Entry> {
        let (tag, kind) = (numbers.take(source, 2)?, numbers.take(source, 2)?);
        let inline = if numbers.big { 8 } else { 4 };
        let count = numbers.take(source, inline)?;
        let here = source.position()?;
        let value = numbers.take(source, inline)?;
        let short = |number| u16::try_from(number).unwrap_or_default();
        let mut entry = Entry { tag: short(tag), kind: short(kind), count, at: value };
        if entry.value_bytes().is_some_and(|bytes| bytes.saturating_mul(count) <= inline as u64) {
            entry.at = here;
        }
        Ok(entry)
    }

    /// Of a tag that is there twice the first counts.
    fn find(&self, tag: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.tag == tag)
    }

    pub(in crate::pipeline) fn has(&self, tag: u16) -> bool {
        self.find(tag).is_some()
    }

    /// Whether the tag's values are whole numbers, if it is there and has any.
    pub(in crate::pipeline) fn is_whole_number(&self, tag: u16) -> bool {
        self.find(tag).is_none_or(|entry| entry.count == 0 || entry.is_whole_number())
    }

    /// How many values the tag claims to have.
    pub(in crate::pipeline) fn count(&self, tag: u16) -> u64 {
        self.find(tag).map_or(0, |entry| entry.count)
    }

    /// The first `most` of a tag's whole numbers, or as many as there are; none if it isn't there, or isn't of any.
    pub(in crate::pipeline) fn numbers<R: BufRead + Seek>(
        &self,
        source: &mut BoundedReader<R>,
        tag: u16,
        most: usize,
    ) -> Option<Vec<u64>> {
        let entry = self.find(tag).filter(|entry| entry.is_whole_number())?;
        let bytes = usize::try_from(entry.value_bytes()?).ok()?;
        let bulk = self.raw(source, entry, most.checked_mul(bytes)?)?;
        let number = |value: &[u8]| {
            let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
            if self.big_endian { value.iter().fold(0, fold) } else { value.iter().rev().fold(0, fold) }
        };
        Some(bulk.chunks_exact(bytes).map(number).collect())
    }

    /// The tag's first number.
    pub(in crate::pipeline) fn number<R: BufRead + Seek>(
        &self,
        source: &mut BoundedReader<R>,
        tag: u16,
    ) -> Option<u64> {
        self.numbers(source, tag, 1)?.first().copied()
    }

    /// The tag's bytes, as far as they are in the file; none if there are more than `most`.
    pub(in crate::pipeline) fn bytes<R: BufRead + Seek>(
        &self,
        source: &mut BoundedReader<R>,
        tag: u16,
        most: usize,
    ) -> Option<Vec<u8>> {
        let entry = self.find(tag)?;
        let length = entry.count.checked_mul(entry.value_bytes()?)?;
        if length > most as u64 {
            return None;
        }
        self.raw(source, entry, most)
    }

    /// At most `most` bytes of an entry's values, as far as they are in the file.
    #[expect(clippy::unused_self, reason = "entries are of this directory")]
    fn raw<R: BufRead + Seek>(&self, source: &mut BoundedReader<R>, entry: &Entry, most: usize) -> Option<Vec<u8>> {
        let claimed = entry.count.checked_mul(entry.value_bytes()?)?.min(most as u64);
        source.seek_to(entry.at).ok()?;
        let length = claimed.min(source.left().ok()?);
        source.take(length, usize::MAX).ok()
    }
}

/// How a file writes its numbers.
#[derive(Clone, Copy)]
struct NumberFormat {
    big_endian: bool,
    /// `BigTIFF`: eight bytes where the original has four.
    big: bool,
}

impl NumberFormat {
    fn take<R: BufRead + Seek>(self, source: &mut BoundedReader<R>, bytes: usize) -> io::Result<u64> {
        let mut read = [0; 8];
        if source.read_some(&mut read[..bytes])? < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.big_endian {
            read[..bytes].reverse();
        }
        Ok(u64::from_le_bytes(read))
    }
}

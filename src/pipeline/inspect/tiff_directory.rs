//! The first directory of a TIFF, and a reader that shows it to the decoder in a simpler light.
//!
//! The decoder judges by the photometric interpretation what it hands out: no palettes, no CMYK with alpha, no grey with
//! alpha. If the directory says that all samples are plain bands, it hands out every one as it is stored; what they mean is
//! worked out in `decode/tiff.rs`.

use std::io::{self, Read, Seek, SeekFrom};

use super::InspectError;

/// Entries that are looked at; an honest directory has a few dozen.
const ENTRIES_MAX: u64 = 4096;

/// Values in an entry that the decoder reads whole, at 32 bytes each: as many strips as four planes of 65,535 rows have.
const VALUES_MAX: u64 = 4 * 65_536;

/// Tags whose values are bulk data that is read another way, or not at all.
const BULK: [u16; 6] = [0x02BC, 0x83BB, 0x8649, 0x8773, 0x935C, 0x8769];

/// `PhotometricInterpretation`.
const PHOTOMETRIC: u16 = 262;

/// `BlackIsZero`: samples that are what they are.
const PLAIN: u16 = 1;

/// What the first directory says before the decoder reads it.
pub(super) struct TiffDirectory {
    /// `PhotometricInterpretation` as the file has it.
    pub(super) photometric: u16,
    /// Where its value is.
    at: u64,
    /// What is read there instead.
    instead: Vec<u8>,
}

impl TiffDirectory {
    /// Reads the directory; `reader` is left at the start.
    pub(super) fn read<R: Read + Seek>(reader: &mut R) -> Result<Self, InspectError> {
        reader.seek(SeekFrom::Start(0))?;
        let order: [u8; 2] = array(reader)?;
        let mut numbers = NumberFormat { big_endian: &order == b"MM", big: false };
        numbers.big = numbers.take(reader, 2)? == 43;
        if numbers.big {
            // The size of an offset, 8, and 0.
            numbers.take(reader, 4)?;
        }
        let start = numbers.take(reader, if numbers.big { 8 } else { 4 })?;
        reader.seek(SeekFrom::Start(start))?;
        let entries = numbers.take(reader, if numbers.big { 8 } else { 2 })?;
        if entries > ENTRIES_MAX {
            return Err(InspectError::damaged(format!("a directory of {entries} entries")));
        }
        let mut found = None;
        for _ in 0..entries {
            let (tag, kind) = (numbers.take(reader, 2)?, numbers.take(reader, 2)?);
            let count = numbers.take(reader, if numbers.big { 8 } else { 4 })?;
            let at = reader.stream_position()?;
            let tag = u16::try_from(tag).unwrap_or_default();
            if count > VALUES_MAX && !BULK.contains(&tag) {
                let detail = format!("{count} values of its tag {tag}; {VALUES_MAX} are allowed");
                return Err(InspectError::TooLarge { detail });
            }
            if tag == PHOTOMETRIC && count == 1 {
                let bytes = match kind {
                    1 => 1,
                    4 => 4,
                    _ => 2,
                };
                let value = numbers.take(reader, bytes)?;
                found = Some(Self {
                    photometric: u16::try_from(value).unwrap_or(u16::MAX),
                    at,
                    instead: numbers.bytes_of(PLAIN, bytes),
                });
            }
            reader.seek(SeekFrom::Start(at + if numbers.big { 8 } else { 4 }))?;
            if matches!(tag, 0xC612 | 0xC640) {
                return Err(InspectError::unsupported("this is a camera's raw file, not a finished picture"));
            }
        }
        reader.seek(SeekFrom::Start(0))?;
        found.ok_or_else(|| InspectError::damaged("it doesn't say what its samples mean"))
    }

    /// `reader` with the interpretation replaced.
    pub(super) fn plain<R: Read + Seek>(&self, reader: R) -> Plain<R> {
        Plain { reader, position: 0, at: self.at, instead: self.instead.clone() }
    }
}

/// How a file writes its numbers.
struct NumberFormat {
    big_endian: bool,
    /// `BigTIFF`: eight bytes where the original has four.
    big: bool,
}

impl NumberFormat {
    fn take<R: Read>(&self, reader: &mut R, bytes: usize) -> io::Result<u64> {
        let mut read = [0; 8];
        reader.read_exact(&mut read[..bytes])?;
        if self.big_endian {
            read[..bytes].reverse();
        }
        Ok(u64::from_le_bytes(read))
    }

    fn bytes_of(&self, value: u16, bytes: usize) -> Vec<u8> {
        let mut written = u64::from(value).to_le_bytes()[..bytes].to_vec();
        if self.big_endian {
            written.reverse();
        }
        written
    }
}

fn array<const N: usize, R: Read>(reader: &mut R) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A TIFF all of whose samples are plain.
pub(in crate::pipeline) struct Plain<R> {
    reader: R,
    position: u64,
    at: u64,
    instead: Vec<u8>,
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into)?;
        for (at, byte) in (self.at..).zip(&self.instead) {
            let place = at.checked_sub(self.position).and_then(|place| usize::try_from(place).ok());
            if let Some(place) = place.filter(|place| *place < read) {
                into[place] = *byte;
            }
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl<R: Seek> Seek for Plain<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.reader.seek(to)?;
        Ok(self.position)
    }
}

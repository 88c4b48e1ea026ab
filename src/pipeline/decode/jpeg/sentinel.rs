//! A JPEG with a sentinel: in place of its end-of-image marker stand bits that no Huffman code has.
//!
//! Past the marker, decoders make up zeros without an error, so a picture that is cut in the middle and ended there passes
//! as whole. All-ones is a prefix of no code (ITU-T T.81, C.2): a decoder that needs more than the file has reaches the
//! sentinel and fails. One that doesn't, stops before it.

use zune_core::bytestream::{ZByteIoError, ZByteReaderTrait, ZSeekFrom};

/// Pairs of 0xFF and a stuffed zero; each gives eight ones. More than a decoder looks ahead.
const PAIRS: usize = 64;

/// The sentinel alone.
pub(super) const NO_CODE: [u8; 2 * PAIRS] = {
    let mut pairs = [0; 2 * PAIRS];
    let mut i = 0;
    while i < PAIRS {
        pairs[2 * i] = 0xFF;
        i += 1;
    }
    pairs
};

/// The sentinel, and the end-of-image marker behind it.
const SENTINEL: [u8; 2 * PAIRS + 2] = {
    let mut sentinel = [0; 2 * PAIRS + 2];
    let mut i = 0;
    while i <= PAIRS {
        sentinel[2 * i] = 0xFF;
        i += 1;
    }
    sentinel[2 * PAIRS + 1] = 0xD9;
    sentinel
};

/// Reads a file's head, then its data without their end, then the sentinel.
pub(super) struct SentinelReader<'a> {
    head: &'a [u8],
    data: &'a [u8],
    /// From the beginning of `head`.
    position: usize,
}

impl<'a> SentinelReader<'a> {
    pub(super) fn new(head: &'a [u8], data: &'a [u8]) -> Self {
        Self { head, data, position: 0 }
    }

    fn length(&self) -> usize {
        self.head.len() + self.data.len() + SENTINEL.len()
    }

    fn at(&self, position: usize) -> Option<u8> {
        let Some(position) = position.checked_sub(self.head.len()) else { return self.head.get(position).copied() };
        match position.checked_sub(self.data.len()) {
            None => self.data.get(position).copied(),
            Some(beyond) => SENTINEL.get(beyond).copied(),
        }
    }

    /// Copies as much as there is; the position stays.
    #[inline]
    fn peek(&self, into: &mut [u8]) -> usize {
        let data = self.position.checked_sub(self.head.len());
        if let Some(bytes) = data.and_then(|at| self.data.get(at..at + into.len())) {
            into.copy_from_slice(bytes);
            return into.len();
        }
        self.peek_elsewhere(into)
    }

    #[cold]
    fn peek_elsewhere(&self, into: &mut [u8]) -> usize {
        let mut copied = 0;
        for (position, byte) in (self.position..).zip(into) {
            let Some(there) = self.at(position) else { break };
            *byte = there;
            copied += 1;
        }
        copied
    }
}

impl ZByteReaderTrait for SentinelReader<'_> {
    #[inline]
    fn read_byte_no_error(&mut self) -> u8 {
        let data = self.position.checked_sub(self.head.len());
        let byte = match data.and_then(|at| self.data.get(at)) {
            Some(byte) => *byte,
            None => self.at(self.position).unwrap_or(0),
        };
        self.position += 1;
        byte
    }

    #[inline]
    fn read_exact_bytes(&mut self, into: &mut [u8]) -> Result<(), ZByteIoError> {
        self.peek_exact_bytes(into)?;
        self.position += into.len();
        Ok(())
    }

    fn read_bytes(&mut self, into: &mut [u8]) -> Result<usize, ZByteIoError> {
        let read = self.peek(into);
        self.position += read;
        Ok(read)
    }

    fn peek_bytes(&mut self, into: &mut [u8]) -> Result<usize, ZByteIoError> {
        Ok(self.peek(into))
    }

    #[inline]
    fn peek_exact_bytes(&mut self, into: &mut [u8]) -> Result<(), ZByteIoError> {
        match self.peek(into) {
            all if all == into.len() => Ok(()),
            part => Err(ZByteIoError::NotEnoughBytes(part, into.len())),
        }
    }

    fn z_seek(&mut self, to: ZSeekFrom) -> Result<u64, ZByteIoError> {
        let (base, offset) = match to {
            ZSeekFrom::Start(position) => (usize::try_from(position)?, 0),
            ZSeekFrom::End(offset) => (self.length(), offset),
            ZSeekFrom::Current(offset) => (self.position, offset),
        };
        let moved = isize::try_from(offset).ok().and_then(|offset| base.checked_add_signed(offset));
        self.position = moved.ok_or(ZByteIoError::SeekError("before the start"))?;
        Ok(self.position as u64)
    }

    fn is_eof(&mut self) -> Result<bool, ZByteIoError> {
        Ok(self.position >= self.length())
    }

    fn z_position(&mut self) -> Result<u64, ZByteIoError> {
        Ok(self.position as u64)
    }

    fn read_remaining(&mut self, sink: &mut Vec<u8>) -> Result<usize, ZByteIoError> {
        let before = sink.len();
        sink.extend((self.position..self.length()).filter_map(|position| self.at(position)));
        self.position = self.length();
        Ok(sink.len() - before)
    }
}

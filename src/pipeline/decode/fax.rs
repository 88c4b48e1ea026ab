//! Fax rows: ITU-T T.4 and T.6 as TIFF stores them, by the code tables of the fax crate.
//!
//! The crate's own decoders know neither run lengths alone nor Group 3 in two dimensions.

use std::borrow::Cow;
use std::io::{self, Read};

use fax::BitReader;
use fax::maps::{Mode, black, mode, white};

use crate::pipeline::inspect::FaxKind;

/// Reads rows of one bit a pixel, 1 for black, from whole bytes on.
pub(super) struct FaxRows<'a> {
    bits: Bits<'a>,
    kind: FaxKind,
    width: u32,
    /// Where colours change in the row before, and in this one: first from white to black.
    reference: Vec<u32>,
    current: Vec<u32>,
    ended: bool,
    row: Vec<u8>,
    /// Bytes of `row` that were handed out.
    taken: usize,
}

impl<'a> FaxRows<'a> {
    pub(super) fn new(data: Cow<'a, [u8]>, kind: FaxKind, width: u32) -> Self {
        let (reference, current, row) = (Vec::new(), Vec::new(), Vec::new());
        Self { bits: Bits { data, at: 0 }, kind, width, reference, current, ended: false, row, taken: 0 }
    }

    /// Decodes the next row; none if its codes are none that there are.
    fn next_row(&mut self) -> Option<()> {
        std::mem::swap(&mut self.reference, &mut self.current);
        self.current.clear();
        match self.kind {
            FaxKind::RunLengths { aligned } => {
                self.bits.align(aligned);
                self.run_lengths()?;
            }
            FaxKind::Group3 { two_dimensional } => {
                let ends = self.bits.skip_ends_of_line(two_dimensional);
                // Many in a row end the page.
                if ends > 1 && self.bits.is_at_end() {
                    self.ended = true;
                } else if two_dimensional && ends > 0 && self.bits.take(1)? == 0 {
                    self.by_reference()?;
                } else {
                    self.run_lengths()?;
                }
            }
            FaxKind::Group4 => self.by_reference()?,
        }
        if self.ended {
            // The rows that are left out are white.
            self.current.clear();
        }
        Some(())
    }

    /// A row in one dimension.
    fn run_lengths(&mut self) -> Option<()> {
        let (mut at, mut is_black) = (0_u32, false);
        while at < self.width {
            at = self.end_of_run(at, is_black)?;
            self.change_at(at);
            is_black = !is_black;
        }
        Some(())
    }

    /// A row in two dimensions.
    fn by_reference(&mut self) -> Option<()> {
        // The first row's changes are right of an imagined pixel before it.
        let (mut at, mut is_black) = (-1_i64, false);
        let mut next = 0;
        while at < i64::from(self.width) {
            let (b1, b2) = self.changes_above(at, is_black, &mut next);
            match mode::decode(&mut self.bits)? {
                Mode::Pass => at = i64::from(b2),
                Mode::Vertical(offset) => {
                    let change = i64::from(b1) + i64::from(offset);
                    if change < at.max(0) || change > i64::from(self.width) {
                        return None;
                    }
                    self.change_at(u32::try_from(change).ok()?);
                    is_black = !is_black;
                    at = change;
                }
                Mode::Horizontal => {
                    let first = self.end_of_run(u32::try_from(at.max(0)).ok()?, is_black)?;
                    let second = self.end_of_run(first, !is_black)?;
                    self.change_at(first);
                    self.change_at(second);
                    at = i64::from(second);
                }
                Mode::EOF => {
                    self.ended = true;
                    return Some(());
                }
                Mode::Extension => return None,
            }
        }
        Some(())
    }

    /// The next change above, right of `at`, to the other colour than `is_black` says, and the one behind it.
    fn changes_above(&self, at: i64, is_black: bool, next: &mut usize) -> (u32, u32) {
        let is_right = |change: u32| i64::from(change) > at;
        while *next > 0 && is_right(self.reference[*next - 1]) {
            *next -= 1;
        }
        while self.reference.get(*next).is_some_and(|change| !is_right(*change)) {
            *next += 1;
        }
        let b1 = *next + usize::from((*next % 2 == 1) != is_black);
        let change = |index: usize| self.reference.get(index).copied().unwrap_or(self.width);
        (change(b1), change(b1 + 1))
    }

    /// Notes that the colour changes; twice at one place is no change.
    fn change_at(&mut self, at: u32) {
        if self.current.last() == Some(&at) {
            self.current.pop();
        } else if at < self.width {
            self.current.push(at);
        }
    }

    /// Where a run ends that begins at `from`; none if that is outside the row.
    fn end_of_run(&mut self, from: u32, is_black: bool) -> Option<u32> {
        let mut end = from;
        loop {
            let length = if is_black { black::decode(&mut self.bits)? } else { white::decode(&mut self.bits)? };
            end = end.checked_add(u32::from(length)).filter(|end| *end <= self.width)?;
            if length < 64 {
                return Some(end);
            }
        }
    }

    fn paint(&mut self) {
        let bytes = self.width.div_ceil(8) as usize;
        self.row.clear();
        self.row.resize(bytes, 0);
        self.taken = 0;
        for pair in self.current.chunks(2) {
            let (from, to) = (pair[0] as usize, pair.get(1).map_or(self.width, |to| *to) as usize);
            let (first, last) = (from / 8, to / 8);
            let (head, tail) = (0xFF_u8 >> (from % 8), !(0xFF_u8 >> (to % 8)));
            if first == last {
                self.row[first] |= head & tail;
                continue;
            }
            self.row[first] |= head;
            self.row[first + 1..last].fill(0xFF);
            if let Some(byte) = self.row.get_mut(last) {
                *byte |= tail;
            }
        }
    }
}

impl Read for FaxRows<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.row.len() {
            if self.ended {
                self.current.clear();
            } else {
                let is_over = self.bits.is_at_end();
                self.next_row().ok_or(if is_over || self.bits.is_at_end() {
                    io::Error::from(io::ErrorKind::UnexpectedEof)
                } else {
                    io::Error::new(io::ErrorKind::InvalidData, "a fax row of it has a code that there is none of")
                })?;
            }
            self.paint();
        }
        let count = into.len().min(self.row.len() - self.taken);
        into[..count].copy_from_slice(&self.row[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

/// Bits from the highest of each byte on; behind the last come zeros, so that a code that ends there is found.
struct Bits<'a> {
    data: Cow<'a, [u8]>,
    at: usize,
}

impl Bits<'_> {
    /// The next bits, at most 16.
    fn next(&self, bits: u8) -> u16 {
        let byte = |i: usize| u32::from(self.data.get(self.at / 8 + i).copied().unwrap_or(0));
        let three = byte(0) << 16 | byte(1) << 8 | byte(2);
        let shift = 24 - u32::try_from(self.at % 8).unwrap_or(0) - u32::from(bits);
        u16::try_from(three >> shift & ((1 << bits) - 1)).unwrap_or(u16::MAX)
    }

    fn take(&mut self, bits: u8) -> Option<u16> {
        let taken = self.next(bits);
        self.consume(bits).ok().map(|()| taken)
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.data.len() * 8
    }

    fn align(&mut self, bytes: usize) {
        self.at = self.at.next_multiple_of(8 * bytes);
    }

    /// Passes over ends of lines, with the zeros that fill them up, and says how many there were. In two dimensions a bit
    /// follows each, and the last one's is left.
    fn skip_ends_of_line(&mut self, two_dimensional: bool) -> usize {
        let mut ends = 0;
        loop {
            let before = self.at;
            if ends > 0 && two_dimensional {
                self.at += 1;
            }
            // No code has as many zeros.
            if self.is_at_end() || self.next(11) != 0 {
                self.at = before;
                return ends;
            }
            while !self.is_at_end() && self.next(1) == 0 {
                self.at += 1;
            }
            self.at += 1;
            ends += 1;
        }
    }
}

impl BitReader for Bits<'_> {
    type Error = ();

    fn peek(&self, bits: u8) -> Option<u16> {
        (bits <= 16).then(|| self.next(bits))
    }

    fn consume(&mut self, bits: u8) -> Result<(), ()> {
        let at = self.at + usize::from(bits);
        if at > self.data.len() * 8 {
            return Err(());
        }
        self.at = at;
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        u8::try_from(self.at.next_multiple_of(8) - self.at).unwrap_or(0)
    }
}

//! The entropy-coded data of a scan to coefficients (T.81, annexes F.2 and G.2).

use super::bits::BitReader;
use super::huffman::HuffmanTable;
use crate::pipeline::container::jpeg::Scan;

/// The coefficients of eight by eight samples, row by row.
pub(super) type Block = [i16; 64];

/// Where the coefficients lie in a [`Block`] that come one after the other in a file.
#[rustfmt::skip]
pub(super) const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Why a scan can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its data end too soon.
    Short,
    /// They, or the tables for them, are no such data; what is wrong.
    Damaged(&'static str),
}

/// The tables of one of a scan's components.
#[derive(Clone, Copy)]
pub(super) struct Coding<'a> {
    pub(super) dc: Option<&'a HuffmanTable>,
    pub(super) ac: Option<&'a HuffmanTable>,
}

/// Where the units of coding of a scan go.
pub(super) trait Units {
    /// The units of the row `y` come next.
    fn begin_row(&mut self, y: u32);
    /// Reads the blocks of the unit at `x`, `y` from `reader`.
    fn read(&mut self, reader: &mut ScanReader<'_>, x: u32, y: u32) -> Result<(), Fault>;
    /// So many rows have come, or been passed over.
    fn end_row(&mut self, rows: u32);
}

/// Reads a scan block by block.
pub(super) struct ScanReader<'a> {
    bits: BitReader<'a>,
    codings: Vec<Coding<'a>>,
    predictions: [i32; 4],
    /// How many blocks more have nothing new in the band.
    empty_blocks: u32,
    first: usize,
    last: usize,
    low: u32,
}

impl<'a> ScanReader<'a> {
    pub(super) fn new(data: &'a [u8], scan: &Scan, codings: Vec<Coding<'a>>) -> Self {
        Self {
            bits: BitReader::new(data),
            codings,
            predictions: [0; 4],
            empty_blocks: 0,
            first: usize::from(scan.band.0),
            last: usize::from(scan.band.1),
            low: u32::from(scan.bits.1),
        }
    }

    /// Reads all units of coding, `count` across and down, into `units`, with a restart marker after every `interval` of
    /// them, if that is not 0.
    ///
    /// With `tolerant`, what can't be read is passed over, up to the next restart marker or the end.
    pub(super) fn read(
        mut self,
        count: (u32, u32),
        interval: u32,
        tolerant: bool,
        units: &mut impl Units,
    ) -> Result<Outcome, Fault> {
        let mut outcome = Outcome { any: false, last_row: 0, fault: None };
        let mut left = interval;
        // Units to pass over; all that are left, if there is no more data.
        let mut passed = 0_u64;
        let mut broken = false;
        let mut expected = 0;
        for y in 0..count.1 {
            units.begin_row(y);
            for x in 0..count.0 {
                if passed > 0 {
                    passed -= 1;
                    continue;
                }
                if interval > 0 && left == 0 {
                    left = interval;
                    let fault = match self.bits.restart() {
                        None => Some(Fault::Short),
                        Some(number) if number == expected => None,
                        Some(number) => {
                            // One or two intervals are lost, as libjpeg reads it; else the marker is taken as the right one.
                            let ahead = (number + 8 - expected) % 8;
                            let lost = if ahead <= 2 { ahead } else { 0 };
                            passed = u64::from(lost) * u64::from(interval);
                            expected = (expected + lost) % 8;
                            Some(Fault::Damaged("its restart markers are out of order"))
                        }
                    };
                    expected = (expected + 1) % 8;
                    (self.predictions, self.empty_blocks, broken) = ([0; 4], 0, false);
                    if let Some(fault) = fault {
                        outcome.note(fault, tolerant)?;
                        if fault == Fault::Short {
                            passed = u64::MAX;
                        }
                    }
                    if passed > 0 {
                        passed -= 1;
                        continue;
                    }
                }
                left = left.saturating_sub(1);
                if broken {
                    continue;
                }
                match units.read(&mut self, x, y) {
                    Ok(()) => (outcome.any, outcome.last_row) = (true, y),
                    Err(fault) => {
                        outcome.note(fault, tolerant)?;
                        broken = true;
                    }
                }
            }
            units.end_row(y + 1);
        }
        Ok(outcome)
    }

    /// Reads the next block of the member `member` into `block`, which is empty, and says which coefficient is the last
    /// that it has, in the order of the file. After a fault the block is to be dropped.
    #[inline]
    pub(super) fn sequential(&mut self, member: usize, block: &mut Block) -> Result<usize, Fault> {
        let Coding { dc: Some(dc), ac: Some(ac) } = self.codings[member] else { return Err(NO_TABLE) };
        block[0] = self.dc(dc, member)?;
        let mut last = 0;
        let mut k = 1;
        while k < 64 {
            let Some(decoded) = ac.decode(&mut self.bits) else { return Err(self.fault(NO_CODE)) };
            let (run, size) = (usize::from(decoded.symbol >> 4), u32::from(decoded.symbol & 15));
            if size == 0 {
                if run < 15 {
                    break;
                }
                // Some encoders end a block so.
                k += 16;
                continue;
            }
            k += run;
            let value = if decoded.value == 0 { self.bits.number(size) } else { decoded.value };
            let place = ZIGZAG.get(k).ok_or_else(|| self.fault(TOO_MANY))?;
            block[usize::from(*place)] = truncate(value);
            last = k;
            k += 1;
        }
        self.check().map(|()| last)
    }

    /// Reads what a progressive scan has of the next block of the member `member`. After a fault `block` is as it was.
    #[inline]
    pub(super) fn progressive(&mut self, member: usize, refines: bool, block: &mut Block) -> Result<(), Fault> {
        if self.first == 0 {
            let before = block[0];
            let outcome = if refines {
                block[0] |= i16::from(self.bits.bit()) << self.low;
                Ok(())
            } else {
                self.first_dc(member, block)
            };
            return outcome.and_then(|()| self.check()).inspect_err(|_| block[0] = before);
        }
        if self.empty_blocks > 0 && !refines {
            self.empty_blocks -= 1;
            return Ok(());
        }
        let before = *block;
        let outcome = if refines { self.refine_ac(member, block) } else { self.first_ac(member, block) };
        outcome.and_then(|()| self.check()).inspect_err(|_| *block = before)
    }

    fn first_dc(&mut self, member: usize, block: &mut Block) -> Result<(), Fault> {
        let dc = self.codings[member].dc.ok_or(NO_TABLE)?;
        block[0] = self.dc(dc, member)?.wrapping_shl(self.low);
        Ok(())
    }

    fn first_ac(&mut self, member: usize, block: &mut Block) -> Result<(), Fault> {
        let ac = self.codings[member].ac.ok_or(NO_TABLE)?;
        let mut k = self.first;
        while k <= self.last {
            let Some(decoded) = ac.decode(&mut self.bits) else { return Err(self.fault(NO_CODE)) };
            let (run, size) = (usize::from(decoded.symbol >> 4), u32::from(decoded.symbol & 15));
            if size == 0 {
                if run < 15 {
                    self.empty_blocks = self.blocks_to_come(run) - 1;
                    break;
                }
                k += 16;
                continue;
            }
            k += run;
            let value = if decoded.value == 0 { self.bits.number(size) } else { decoded.value };
            let place = ZIGZAG.get(k).filter(|_| k <= self.last).ok_or_else(|| self.fault(TOO_MANY))?;
            block[usize::from(*place)] = truncate(value << self.low);
            k += 1;
        }
        Ok(())
    }

    fn refine_ac(&mut self, member: usize, block: &mut Block) -> Result<(), Fault> {
        let ac = self.codings[member].ac.ok_or(NO_TABLE)?;
        let one = 1_i16 << self.low;
        let mut k = self.first;
        while self.empty_blocks == 0 && k <= self.last {
            let Some(symbol) = ac.symbol(&mut self.bits) else { return Err(self.fault(NO_CODE)) };
            let (mut zeros, size) = (usize::from(symbol >> 4), symbol & 15);
            let new = match (size, zeros) {
                (0, 15) => 0,
                (0, run) => {
                    self.empty_blocks = self.blocks_to_come(run);
                    break;
                }
                (1, _) if self.bits.bit() => one,
                (1, _) => -one,
                _ => return Err(self.fault(NO_CODE)),
            };
            while k <= self.last {
                let coefficient = &mut block[usize::from(ZIGZAG[k])];
                if *coefficient != 0 {
                    self.refine(coefficient, one);
                } else if zeros == 0 {
                    *coefficient = new;
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            k += 1;
        }
        if self.empty_blocks > 0 {
            for place in &ZIGZAG[k.min(self.last + 1)..=self.last] {
                let coefficient = &mut block[usize::from(*place)];
                if *coefficient != 0 {
                    self.refine(coefficient, one);
                }
            }
            self.empty_blocks -= 1;
        }
        Ok(())
    }

    /// One more bit of a coefficient that is not 0, away from it.
    #[inline]
    fn refine(&mut self, coefficient: &mut i16, one: i16) {
        if self.bits.bit() && *coefficient & one == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient > 0 { one } else { -one });
        }
    }

    /// How many blocks, this one included, an end-of-band code of `run` stands for.
    fn blocks_to_come(&mut self, run: usize) -> u32 {
        let run = u32::try_from(run).unwrap_or(0);
        self.bits.fill();
        (1 << run) + self.bits.take(run)
    }

    #[inline]
    fn dc(&mut self, table: &HuffmanTable, member: usize) -> Result<i16, Fault> {
        let Some(decoded) = table.decode(&mut self.bits) else { return Err(self.fault(NO_CODE)) };
        if decoded.symbol > 15 {
            return Err(self.fault(NO_CODE));
        }
        let size = u32::from(decoded.symbol);
        let change = if decoded.value == 0 { self.bits.number(size) } else { decoded.value };
        let value = self.predictions[member].wrapping_add(change);
        self.predictions[member] = value;
        Ok(truncate(value))
    }

    /// What `fault` is where the data end: no fault of theirs.
    #[cold]
    fn fault(&mut self, fault: Fault) -> Fault {
        if self.bits.is_missing() || self.bits.is_exhausted() { self.short() } else { fault }
    }

    #[inline]
    fn check(&self) -> Result<(), Fault> {
        if self.bits.is_missing() { Err(self.short()) } else { Ok(()) }
    }

    /// What it is that there is less than there should be: only at its end a file is cut.
    #[cold]
    fn short(&self) -> Fault {
        if self.bits.has_restart() { LOST } else { Fault::Short }
    }
}

const NO_TABLE: Fault = Fault::Damaged("a scan uses a Huffman table that the file doesn't have");
const LOST: Fault = Fault::Damaged("data are missing before a restart marker");
const NO_CODE: Fault = Fault::Damaged("its data are no codes of its Huffman tables");
const TOO_MANY: Fault = Fault::Damaged("a block has more than 64 coefficients");

/// The low 16 bits, as decoders of C keep them.
#[inline]
fn truncate(value: i32) -> i16 {
    let [low, high, ..] = value.to_le_bytes();
    i16::from_le_bytes([low, high])
}

/// How the reading of a scan went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Whether any unit was read.
    pub(super) any: bool,
    /// The last row of units of which any was read.
    pub(super) last_row: u32,
    /// The first fault that was passed over.
    pub(super) fault: Option<Fault>,
}

impl Outcome {
    fn note(&mut self, fault: Fault, tolerant: bool) -> Result<(), Fault> {
        self.fault.get_or_insert(fault);
        if tolerant { Ok(()) } else { Err(fault) }
    }
}

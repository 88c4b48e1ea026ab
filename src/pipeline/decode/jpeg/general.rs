//! The decoder for every JPEG of Huffman's codes: any legal order of scans, any whole-numbered sampling, at full size or
//! reduced, and whatever is there of a damaged file.
//!
//! zune-jpeg is faster, and right for the JPEGs that cameras and encoders write (see [`super::fast`]). Beyond those
//! neither it nor jpeg-decoder is: both lose or mix up scans of their own, and of a file that ends too soon one gives
//! nothing and the other garbage. This one shows what libjpeg shows, to the same bit but for blocks that libjpeg would make
//! up.

use super::colours::Colours;
use super::huffman::{HuffmanTable, standard, tables};
use super::planes::{Plane, Planes};
use super::scan::{Block, Coding, Fault, ScanReader, Units, ZIGZAG};
use super::smoothing::{Known, Levels, NOTHING, Smoothing};
use crate::pipeline::PipelineError;
use crate::pipeline::container::jpeg::{Component, Frame, Jpeg, Part, Scan};
use crate::pipeline::raster::{Raster, Samples};

impl From<Fault> for PipelineError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short => Self::Truncated,
            Fault::Damaged(detail) => Self::bad_image(detail),
        }
    }
}

/// Decodes `source`, whose markers are `jpeg`, each side divided by `reduction` (1, 2, 4 or 8) and rounded up.
///
/// Damage, and an end that comes too soon, is an error, unless `tolerant`: then what was there before it is right, and the
/// rest is grey, or as far as earlier scans had it.
pub(super) fn decode(source: &[u8], jpeg: &Jpeg, reduction: u32, tolerant: bool) -> Result<Raster, PipelineError> {
    let missing = || PipelineError::bad_image("there is no frame header");
    let frame = jpeg.frame.as_ref().ok_or_else(missing)?;
    let colours = Colours::of(jpeg).ok_or_else(missing)?;
    let planes = Planes::new(frame, reduction)?;
    let pixels = Pixels { colours, samples: Vec::new(), channels: colours.model().colours() };
    let mut decoder = Decoder { frame, tolerant, tables: Tables::default(), planes, pixels, any: false };
    decoder.run(source, jpeg)?;
    let Planes { width, height, .. } = decoder.planes;
    let side = |side: usize| u32::try_from(side).map_err(PipelineError::bad_image);
    let (width, height) = (side(width)?, side(height)?);
    let samples = Samples::U8(decoder.pixels.samples);
    Ok(Raster { width, height, model: colours.model(), alpha: false, samples })
}

/// Whether the scans that give the levels of a progressive picture have them all: their data are looked at, and nothing is
/// made of them.
pub(super) fn has_whole_levels(source: &[u8], jpeg: &Jpeg) -> bool {
    let Some(frame) = &jpeg.frame else { return false };
    let mut tables = Tables::default();
    jpeg.parts.iter().all(|part| match part {
        Part::Huffman(payload) => tables.define_huffman(&source[payload.clone()]).is_ok(),
        Part::Scan(scan) if scan.band.0 == 0 => {
            let codings = scan.members.iter().map(|member| tables.coding(member.dc, member.ac)).collect();
            let mut units = LevelsPassed { grid: Grid::new(frame, scan), refines: scan.bits.0 > 0 };
            let reader = ScanReader::new(&source[scan.data.clone()], scan, codings);
            reader.read(frame.units(&scan.members), scan.interval, false, &mut units).is_ok()
        }
        Part::Quantisation(_) | Part::Scan(_) => true,
        Part::BadScan => false,
    })
}

/// The tables that are in force.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
}

impl Tables {
    /// Reads a DQT segment.
    fn define_quantisation(&mut self, mut payload: &[u8]) -> Result<(), Fault> {
        const DAMAGED: Fault = Fault::Damaged("a quantisation table is damaged");
        while let Some((id, rest)) = payload.split_first() {
            let bytes = if id >> 4 == 0 { 1 } else { 2 };
            let (values, rest) = rest.split_at_checked(64 * bytes).ok_or(DAMAGED)?;
            let table = self.quantisation.get_mut(usize::from(id & 15)).ok_or(DAMAGED)?.get_or_insert([0; 64]);
            for (value, place) in values.chunks_exact(bytes).zip(ZIGZAG) {
                table[usize::from(place)] = value.iter().fold(0, |value, byte| value << 8 | u16::from(*byte));
            }
            payload = rest;
        }
        Ok(())
    }

    /// Reads a DHT segment.
    fn define_huffman(&mut self, payload: &[u8]) -> Result<(), Fault> {
        for (class, number, table) in tables(payload).map_err(Fault::Damaged)? {
            let family = if class == 0 { &mut self.dc } else { &mut self.ac };
            family[usize::from(number)] = Some(table);
        }
        Ok(())
    }

    /// Adds what Motion JPEG takes for granted.
    fn define_standard(&mut self) {
        for number in [0_u8, 1] {
            let i = usize::from(number);
            self.dc[i] = self.dc[i].take().or_else(|| standard(0, number));
            self.ac[i] = self.ac[i].take().or_else(|| standard(1, number));
        }
    }

    /// The quantisation table `number`.
    fn scale(&self, number: u8) -> Result<[u16; 64], Fault> {
        let table = self.quantisation.get(usize::from(number)).copied().flatten();
        table.ok_or(Fault::Damaged("it uses a quantisation table that it doesn't have"))
    }

    fn coding(&self, dc: u8, ac: u8) -> Coding<'_> {
        let [dc, ac] =
            [(&self.dc, dc), (&self.ac, ac)].map(|(family, number)| family.get(usize::from(number))?.as_ref());
        Coding { dc, ac }
    }
}

/// The picture that is being made.
struct Pixels {
    colours: Colours,
    samples: Vec<u8>,
    channels: usize,
}

impl Pixels {
    fn push(&mut self, width: usize, lines: &[&[u8]]) {
        let before = self.samples.len();
        self.samples.resize(before + width * self.channels, 0);
        self.colours.interleave(lines, &mut self.samples[before..]);
    }
}

struct Decoder<'a> {
    frame: &'a Frame,
    tolerant: bool,
    tables: Tables,
    planes: Planes,
    pixels: Pixels,
    /// Whether any unit of coding was read.
    any: bool,
}

impl Decoder<'_> {
    fn run(&mut self, source: &[u8], jpeg: &Jpeg) -> Result<(), PipelineError> {
        let (width, height) = (self.planes.width, self.planes.height);
        self.pixels.samples.reserve_exact(width * height * self.pixels.channels);
        let fault = match (self.frame.progressive, jpeg.is_in_one_scan()) {
            (true, _) => self.progressive(source, jpeg),
            (false, true) => self.in_one_scan(source, jpeg),
            (false, false) => self.scan_by_scan(source, jpeg),
        }
        .or_else(|fault| if self.tolerant { Ok(Some(fault)) } else { Err(fault) })?;
        if !self.any {
            return Err(match fault {
                Some(Fault::Damaged(detail)) => PipelineError::bad_image(detail),
                _ => PipelineError::bad_image("it ends before its picture begins"),
            });
        }
        if jpeg.is_cut() && !self.tolerant {
            return Err(PipelineError::Truncated);
        }
        self.finish(self.frame.mcus().1);
        Ok(())
    }

    /// Puts out the rows that `units` rows of units make.
    fn finish(&mut self, units: u32) {
        let width = self.planes.width;
        self.planes.finish(units as usize, |lines| self.pixels.push(width, lines));
    }

    /// Hands every scan to `read`, with the tables in force in `self`.
    fn scans(
        &mut self,
        source: &[u8],
        jpeg: &Jpeg,
        mut read: impl FnMut(&mut Self, &Scan, &[u8]) -> Result<Option<Fault>, Fault>,
    ) -> Result<Option<Fault>, Fault> {
        let mut first = None;
        for part in &jpeg.parts {
            match part {
                Part::Quantisation(payload) => self.tables.define_quantisation(&source[payload.clone()])?,
                Part::Huffman(payload) => self.tables.define_huffman(&source[payload.clone()])?,
                Part::BadScan => return Err(Fault::Damaged("a scan's header doesn't fit the frame's")),
                Part::Scan(scan) => {
                    if !self.frame.progressive {
                        self.tables.define_standard();
                    }
                    let fault = read(self, scan, &source[scan.data.clone()])?;
                    first = first.or(fault);
                }
            }
        }
        Ok(first)
    }

    /// Sequential, all components together: rows go out as they come.
    fn in_one_scan(&mut self, source: &[u8], jpeg: &Jpeg) -> Result<Option<Fault>, Fault> {
        let mut is_over = false;
        self.scans(source, jpeg, |decoder, scan, data| {
            // What comes after everything is no part of the picture.
            if std::mem::replace(&mut is_over, true) { Ok(None) } else { decoder.sequential(scan, data, true) }
        })
    }

    /// Sequential, components apart: no pixel is whole before the last scan.
    fn scan_by_scan(&mut self, source: &[u8], jpeg: &Jpeg) -> Result<Option<Fault>, Fault> {
        self.planes.begin(self.frame.mcus().1.saturating_sub(1) as usize);
        self.scans(source, jpeg, |decoder, scan, data| decoder.sequential(scan, data, false))
    }

    fn sequential(&mut self, scan: &Scan, data: &[u8], stream: bool) -> Result<Option<Fault>, Fault> {
        let Self { frame, tolerant, tables, planes, pixels, any } = self;
        let scales: Result<_, _> =
            scan.members.iter().map(|member| tables.scale(frame.components[member.index].table)).collect();
        let codings = scan.members.iter().map(|member| tables.coding(member.dc, member.ac)).collect();
        let mut units = Sequential { grid: Grid::new(frame, scan), scales: scales?, planes, pixels, stream };
        let outcome = ScanReader::new(data, scan, codings).read(
            frame.units(&scan.members),
            scan.interval,
            *tolerant,
            &mut units,
        )?;
        *any |= outcome.any;
        Ok(outcome.fault)
    }

    fn progressive(&mut self, source: &[u8], jpeg: &Jpeg) -> Result<Option<Fault>, Fault> {
        let mut coefficients: Vec<Coefficients> = self
            .planes
            .all
            .iter()
            .zip(&self.frame.components)
            .map(|(plane, component)| Coefficients::new(plane, self.frame, component))
            .collect();
        // Rows of the frame's units up to which the last scan came.
        let mut last_rows = self.frame.mcus().1;
        let mut scans = 0;
        let outcome = self.scans(source, jpeg, |decoder, scan, data| {
            let Self { frame, tolerant, tables, any, .. } = decoder;
            check_progression(scan)?;
            for member in &scan.members {
                let of = &mut coefficients[member.index];
                // A table that is defined anew later is for others.
                if of.scale.is_none() {
                    of.scale = Some(tables.scale(frame.components[member.index].table)?);
                }
                of.begin(scan, scans);
            }
            scans += 1;
            let codings = scan.members.iter().map(|member| tables.coding(member.dc, member.ac)).collect();
            let grid = Grid::new(frame, scan);
            let mut units = Progressive { grid, refines: scan.bits.0 > 0, coefficients: &mut coefficients };
            let reader = ScanReader::new(data, scan, codings);
            let outcome = reader.read(frame.units(&scan.members), scan.interval, *tolerant, &mut units)?;
            *any |= outcome.any;
            last_rows = units.grid.frame_row(outcome.last_row) + 1;
            Ok(outcome.fault)
        });
        if scans == 1 {
            // Beyond where it came, nothing is known but that there is a level.
            for of in &mut coefficients {
                of.before = NOTHING;
            }
        }
        if outcome.is_ok() || self.tolerant {
            self.transform(&coefficients, last_rows);
        }
        outcome
    }

    /// Makes samples, and rows, of all coefficients; the last scan came up to `last_rows` rows of units.
    fn transform(&mut self, coefficients: &[Coefficients], last_rows: u32) {
        let smoothings = Coefficients::smoothings(coefficients);
        for row in 0..self.frame.mcus().1 {
            self.planes.begin(row as usize);
            for ((of, plane), smoothing) in coefficients.iter().zip(&mut self.planes.all).zip(&smoothings) {
                let Some(scale) = &of.scale else { continue };
                let smoothing = smoothing[usize::from(row >= last_rows)].as_ref();
                let down = plane.blocks_down();
                for y in row as usize * down..(row as usize + 1) * down {
                    for (x, block) in of.row(y).iter().enumerate() {
                        let completed = smoothing.map(|s| s.complete(block, &of.levels(x, y), scale));
                        let block = completed.as_ref().unwrap_or(block);
                        // Most blocks have few coefficients, or the first alone.
                        let last = usize::from(block[1..].iter().any(|coefficient| *coefficient != 0));
                        plane.put(block, scale, last, x, y);
                    }
                }
            }
            self.finish(row + 1);
        }
    }
}

/// Refuses a scan that no progressive file has.
fn check_progression(scan: &Scan) -> Result<(), Fault> {
    let ((first, last), (high, low)) = (scan.band, scan.bits);
    let band = if first == 0 { last == 0 } else { first <= last && last < 64 && scan.members.len() == 1 };
    let bits = low <= 13 && (high == 0 || high == low + 1);
    if band && bits { Ok(()) } else { Err(Fault::Damaged("a scan's header says what no progressive scan has")) }
}

/// Where the blocks of a scan lie in their components.
struct Grid {
    members: Vec<GridMember>,
}

struct GridMember {
    /// Which of the frame's components it is.
    index: usize,
    /// Its blocks in a unit.
    across: usize,
    down: usize,
    /// Its rows of blocks in a row of the frame's units.
    frame_down: u32,
}

impl Grid {
    fn new(frame: &Frame, scan: &Scan) -> Self {
        let alone = scan.members.len() == 1;
        let member = |index: usize| {
            let (h, v) = frame.components[index].sampling;
            let (across, down) = if alone { (1, 1) } else { (h as usize, v as usize) };
            GridMember { index, across, down, frame_down: if alone { v } else { 1 } }
        };
        Self { members: scan.members.iter().map(|m| member(m.index)).collect() }
    }

    /// Calls `block` with each block of the unit at `x`, `y`: the place in the scan and the index of its component, and
    /// where in that it lies.
    #[inline]
    fn blocks(
        &self,
        (x, y): (u32, u32),
        mut block: impl FnMut(usize, usize, usize, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for (i, member) in self.members.iter().enumerate() {
            for v in 0..member.down {
                for h in 0..member.across {
                    block(i, member.index, x as usize * member.across + h, y as usize * member.down + v)?;
                }
            }
        }
        Ok(())
    }

    /// Which row of the frame's units the row `y` of units is in.
    fn frame_row(&self, y: u32) -> u32 {
        y / self.members.first().map_or(1, |member| member.frame_down)
    }
}

/// Blocks that become samples as they come.
struct Sequential<'a> {
    grid: Grid,
    scales: Vec<[u16; 64]>,
    planes: &'a mut Planes,
    pixels: &'a mut Pixels,
    /// Whether rows go out as they come.
    stream: bool,
}

impl Units for Sequential<'_> {
    fn begin_row(&mut self, y: u32) {
        self.planes.begin(self.grid.frame_row(y) as usize);
    }

    fn read(&mut self, reader: &mut ScanReader<'_>, x: u32, y: u32) -> Result<(), Fault> {
        let Self { grid, scales, planes, .. } = self;
        grid.blocks((x, y), |i, index, x, y| {
            let mut block: Block = [0; 64];
            let last = reader.sequential(i, &mut block)?;
            planes.all[index].put(&block, &scales[i], last, x, y);
            Ok(())
        })
    }

    fn end_row(&mut self, rows: u32) {
        if self.stream {
            let width = self.planes.width;
            self.planes.finish(self.grid.frame_row(rows) as usize, |lines| self.pixels.push(width, lines));
        }
    }
}

/// The coefficients of one component.
struct Coefficients {
    /// Blocks a row, up to the end of the last unit.
    across: usize,
    /// Blocks across and down that are not beyond the picture.
    shown: (usize, usize),
    blocks: Vec<Block>,
    /// Its quantisation table, as its first scan found it.
    scale: Option<[u16; 64]>,
    /// What its scans gave, and what they had given before the last of them.
    known: Known,
    before: Known,
}

impl Coefficients {
    fn new(plane: &Plane, frame: &Frame, component: &Component) -> Self {
        let across = plane.blocks_across();
        let count = across * plane.blocks_down() * frame.mcus().1 as usize;
        let (width, height) = frame.samples(component);
        let shown = (width.div_ceil(8) as usize, height.div_ceil(8) as usize);
        let (known, before) = (NOTHING, NOTHING);
        Self { across, shown, blocks: vec![[0; 64]; count], scale: None, known, before }
    }

    /// Notes what `scan` will give.
    fn begin(&mut self, scan: &Scan, scans_before: usize) {
        // As libjpeg does it: what only the first scan gave is not smoothed again where a later one ends.
        self.before = if scans_before == 0 { [Some(0); 10] } else { self.known };
        let (first, last) = (usize::from(scan.band.0), usize::from(scan.band.1));
        for known in self.known.iter_mut().take(last + 1).skip(first) {
            *known = Some(scan.bits.1);
        }
    }

    /// How to complete the blocks of each of `all`: where the last scan came, and beyond it. Nothing is to be completed if
    /// all has come, or if there are components that nothing has come of.
    fn smoothings(all: &[Self]) -> Vec<[Option<Smoothing>; 2]> {
        let any = all.iter().all(|of| of.known[0].is_some());
        let open = all.iter().any(|of| of.known[1..].iter().any(|bits| *bits != Some(0)));
        let smoothing = |of: &Self, known: &Known| {
            let scale = of.scale.as_ref().filter(|_| any && open)?;
            Smoothing::new(&[&of.known[..1], &known[1..]].concat().try_into().ok()?, scale)
        };
        all.iter().map(|of| [smoothing(of, &of.known), smoothing(of, &of.before)]).collect()
    }

    fn row(&self, y: usize) -> &[Block] {
        &self.blocks[y * self.across..(y + 1) * self.across]
    }

    /// The levels around the block at `x`, `y`; beyond the picture are those of its edge.
    fn levels(&self, x: usize, y: usize) -> Levels {
        let near = |at: usize, step: usize, count: usize| (at + step).saturating_sub(2).min(count.max(1) - 1);
        std::array::from_fn(|down| {
            let row = self.row(near(y, down, self.shown.1));
            std::array::from_fn(|across| row[near(x, across, self.shown.0)][0])
        })
    }
}

/// Levels that are read, and kept nowhere.
struct LevelsPassed {
    grid: Grid,
    refines: bool,
}

impl Units for LevelsPassed {
    fn begin_row(&mut self, _: u32) {}

    fn read(&mut self, reader: &mut ScanReader<'_>, x: u32, y: u32) -> Result<(), Fault> {
        let mut block: Block = [0; 64];
        self.grid.blocks((x, y), |i, _, _, _| reader.progressive(i, self.refines, &mut block))
    }

    fn end_row(&mut self, _: u32) {}
}

/// Blocks that every scan says more of.
struct Progressive<'a> {
    grid: Grid,
    /// Whether the scan adds bits to what an earlier one gave.
    refines: bool,
    coefficients: &'a mut [Coefficients],
}

impl Units for Progressive<'_> {
    fn begin_row(&mut self, _: u32) {}

    fn read(&mut self, reader: &mut ScanReader<'_>, x: u32, y: u32) -> Result<(), Fault> {
        let Self { grid, refines, coefficients } = self;
        grid.blocks((x, y), |i, index, x, y| {
            let of = &mut coefficients[index];
            reader.progressive(i, *refines, &mut of.blocks[y * of.across + x])
        })
    }

    fn end_row(&mut self, _: u32) {}
}

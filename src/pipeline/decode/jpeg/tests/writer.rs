//! A writer of any JPEG of Huffman's codes: what encoders don't write, decoders have to read all the same.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::super::scan::ZIGZAG;

/// One scan: which components, which coefficients in zigzag order, and how many low bits are still to come before and after.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) members: Vec<usize>,
    pub(super) band: (usize, usize),
    pub(super) bits: (u32, u32),
}

/// What to write.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) size: (usize, usize),
    pub(super) sampling: Vec<(usize, usize)>,
    pub(super) ids: Vec<u8>,
    pub(super) progressive: bool,
    pub(super) passes: Vec<Pass>,
    /// Units of coding between restart markers.
    pub(super) interval: usize,
    /// What stands between SOI and the tables.
    pub(super) markers: Vec<u8>,
    /// Whether Huffman tables are left out.
    pub(super) without_tables: bool,
    /// What stands before every scan but the first.
    pub(super) between: Vec<u8>,
}

/// All components in one sequential scan.
pub(super) fn together(components: usize) -> Vec<Pass> {
    apart(&[&(0..components).collect::<Vec<_>>()])
}

/// Sequential scans of these components.
pub(super) fn apart(scans: &[&[usize]]) -> Vec<Pass> {
    scans.iter().map(|members| Pass { members: members.to_vec(), band: (0, 63), bits: (0, 0) }).collect()
}

impl Plan {
    pub(super) fn new(size: (usize, usize), sampling: &[(usize, usize)]) -> Self {
        Self {
            size,
            sampling: sampling.to_vec(),
            ids: (1..).take(sampling.len()).collect(),
            progressive: false,
            passes: together(sampling.len()),
            interval: 0,
            markers: Vec::new(),
            without_tables: false,
            between: Vec::new(),
        }
    }

    fn largest(&self) -> (usize, usize) {
        self.sampling.iter().fold((1, 1), |a, b| (a.0.max(b.0), a.1.max(b.1)))
    }

    fn mcus(&self) -> (usize, usize) {
        let largest = self.largest();
        (self.size.0.div_ceil(8 * largest.0), self.size.1.div_ceil(8 * largest.1))
    }

    /// Samples that a component has.
    fn samples(&self, index: usize) -> (usize, usize) {
        let (largest, own) = (self.largest(), self.sampling[index]);
        ((self.size.0 * own.0).div_ceil(largest.0), (self.size.1 * own.1).div_ceil(largest.1))
    }

    /// The whole file.
    pub(super) fn write(&self, coefficients: &[Coefficients]) -> Vec<u8> {
        let mut file = b"\xFF\xD8".to_vec();
        file.extend(&self.markers);
        for (number, step) in [(0, STEPS[0]), (1, STEPS[1])] {
            segment(&mut file, 0xDB, &[&[number][..], &[step; 64]].concat());
        }
        let (width, height) = (two_bytes(self.size.0), two_bytes(self.size.1));
        let mut frame = [&[8][..], &height, &width, &[self.sampling.len() as u8]].concat();
        for (index, (h, v)) in self.sampling.iter().enumerate() {
            frame.extend([self.ids[index], (h << 4 | v) as u8, table_of(index)]);
        }
        segment(&mut file, if self.progressive { 0xC2 } else { 0xC0 }, &frame);
        let tables = if self.progressive { [wide_dc(), wide_ac()] } else { standard_tables() };
        if !self.without_tables {
            for (class, table) in tables.iter().enumerate() {
                segment(&mut file, 0xC4, &[&[(class << 4) as u8][..], &table.counts, &table.symbols].concat());
            }
        }
        if self.interval > 0 {
            segment(&mut file, 0xDD, &two_bytes(self.interval));
        }
        for (i, pass) in self.passes.iter().enumerate() {
            if i > 0 {
                file.extend(&self.between);
            }
            let mut header = vec![pass.members.len() as u8];
            header.extend(pass.members.iter().flat_map(|member| [self.ids[*member], 0]));
            header.extend([pass.band.0 as u8, pass.band.1 as u8, (pass.bits.0 << 4 | pass.bits.1) as u8]);
            segment(&mut file, 0xDA, &header);
            self.data(pass, coefficients, [&tables[0], &tables[1]], &mut file);
        }
        file.extend(b"\xFF\xD9");
        file
    }

    fn data(&self, pass: &Pass, coefficients: &[Coefficients], tables: [&Table; 2], file: &mut Vec<u8>) {
        let alone = pass.members.len() == 1;
        let units = if alone {
            let (width, height) = self.samples(pass.members[0]);
            (width.div_ceil(8), height.div_ceil(8))
        } else {
            self.mcus()
        };
        let mut bits = BitWriter::default();
        let mut predictions = [0; 4];
        for unit in 0..units.0 * units.1 {
            if self.interval > 0 && unit > 0 && unit % self.interval == 0 {
                file.extend(bits.end());
                file.extend([0xFF, 0xD0 + ((unit / self.interval - 1) % 8) as u8]);
                predictions = [0; 4];
            }
            let (x, y) = (unit % units.0, unit / units.0);
            for member in &pass.members {
                let (h, v) = if alone { (1, 1) } else { self.sampling[*member] };
                for (row, column) in (0..v).flat_map(|row| (0..h).map(move |column| (row, column))) {
                    let of = &coefficients[*member];
                    let block = &of.blocks[(y * v + row) * of.across + x * h + column];
                    Self::block(pass, block, &mut predictions[*member], tables, &mut bits);
                }
            }
        }
        file.extend(bits.end());
    }

    fn block(pass: &Pass, block: &[i32; 64], prediction: &mut i32, tables: [&Table; 2], bits: &mut BitWriter) {
        let (high, low) = pass.bits;
        if pass.band.0 == 0 {
            let level = block[0] >> low;
            if high > 0 {
                bits.put((level & 1) as u32, 1);
            } else {
                let change = level - std::mem::replace(prediction, level);
                tables[0].put(size_of(change) as u8, bits);
                bits.number(change);
            }
        }
        let band = pass.band.0.max(1)..=pass.band.1;
        // Towards zero, other than the first.
        let shifted = |k: usize| block[usize::from(ZIGZAG[k])].signum() * (block[usize::from(ZIGZAG[k])].abs() >> low);
        let mut run = 0;
        let mut waiting: Vec<u32> = Vec::new();
        for k in band.clone() {
            let value = shifted(k);
            if value == 0 {
                run += 1;
                continue;
            }
            let is_refined = high > 0 && value.abs() > 1;
            // Corrections wait behind the next code; a run of zeros needs one before anything that isn't at its end.
            let is_last_new = high > 0 && !(k..=*band.end()).any(|k| shifted(k).abs() == 1);
            while run > 15 && !is_last_new {
                tables[1].put(0xF0, bits);
                bits.all(&mut waiting);
                run -= 16;
            }
            if is_refined {
                waiting.push((value.abs() & 1) as u32);
                continue;
            }
            tables[1].put((run << 4 | size_of(value) as usize) as u8, bits);
            bits.number(value);
            bits.all(&mut waiting);
            run = 0;
        }
        if !band.is_empty() && (run > 0 || !waiting.is_empty()) {
            tables[1].put(0, bits);
            bits.all(&mut waiting);
        }
    }
}

/// The quantised coefficients of a component.
pub(super) struct Coefficients {
    across: usize,
    blocks: Vec<[i32; 64]>,
}

/// Steps of the quantisation tables.
const STEPS: [u8; 2] = [5, 7];

fn table_of(index: usize) -> u8 {
    u8::from(index == 1 || index == 2)
}

/// The coefficients of a picture: smooth, with some texture, and with other colours beyond its edges, as lossless
/// cropping leaves them there.
pub(super) fn picture(plan: &Plan) -> Vec<Coefficients> {
    let waves: Vec<[f64; 8]> = (0..8).map(|u| std::array::from_fn(|x| wave(x, u))).collect();
    let component = |index: usize| {
        let (mcus, own) = (plan.mcus(), plan.sampling[index]);
        let (across, down) = (mcus.0 * own.0, mcus.1 * own.1);
        let (width, height) = plan.samples(index);
        let block = |i: usize| {
            let samples: [[f64; 8]; 8] = std::array::from_fn(|y| {
                std::array::from_fn(|x| sample(index, (i % across * 8 + x, i / across * 8 + y), (width, height)))
            });
            let rows: [[f64; 8]; 8] =
                std::array::from_fn(|y| std::array::from_fn(|u| (0..8).map(|x| samples[y][x] * waves[u][x]).sum()));
            std::array::from_fn(|c| {
                let value: f64 = (0..8).map(|y| rows[y][c % 8] * waves[c / 8][y]).sum();
                (value / f64::from(STEPS[usize::from(table_of(index))])).round() as i32
            })
        };
        Coefficients { across, blocks: (0..across * down).map(block).collect() }
    };
    (0..plan.sampling.len()).map(component).collect()
}

fn wave(x: usize, u: usize) -> f64 {
    let factor = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
    factor / 2.0 * ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos()
}

fn sample(index: usize, (x, y): (usize, usize), (width, height): (usize, usize)) -> f64 {
    if x >= width || y >= height {
        return if index == 0 { -100.0 } else { 60.0 };
    }
    let (u, v) = (x as f64 / width as f64, y as f64 / height as f64);
    let texture = 14.0 * (x as f64 * 1.3).sin() * (y as f64 * 0.9 + index as f64).cos();
    let slope = [90.0 * u - 60.0 * v, 70.0 * v - 50.0 * u, 80.0 * u * v - 40.0, 60.0 * v - 30.0];
    slope[index] + texture
}

/// Bits of the magnitude of `value`.
fn size_of(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

fn two_bytes(value: usize) -> [u8; 2] {
    (value as u16).to_be_bytes()
}

/// A segment with this marker.
pub(super) fn segment(file: &mut Vec<u8>, code: u8, payload: &[u8]) {
    file.extend([0xFF, code]);
    file.extend(two_bytes(payload.len() + 2));
    file.extend(payload);
}

/// A Huffman table to write with.
struct Table {
    counts: [u8; 16],
    symbols: Vec<u8>,
    /// Code and length by symbol.
    codes: BTreeMap<u8, (u32, u32)>,
}

impl Table {
    fn new(counts: [u8; 16], symbols: Vec<u8>) -> Self {
        let (mut codes, mut code, mut place) = (BTreeMap::new(), 0, 0);
        for (length, count) in (1..).zip(counts) {
            for _ in 0..count {
                codes.insert(symbols[place], (code, length));
                code += 1;
                place += 1;
            }
            code <<= 1;
        }
        Self { counts, symbols, codes }
    }

    fn put(&self, symbol: u8, bits: &mut BitWriter) {
        let (code, length) = self.codes[&symbol];
        bits.put(code, length);
    }
}

/// Every size of a difference.
fn wide_dc() -> Table {
    Table::new([0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], (0..12).collect())
}

/// Every symbol that there is.
fn wide_ac() -> Table {
    Table::new([0, 0, 0, 0, 0, 0, 0, 255, 1, 0, 0, 0, 0, 0, 0, 0], (0..=255).collect())
}

/// The luma tables of annex K, in the numbers 0.
fn standard_tables() -> [Table; 2] {
    let dc = Table::new([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], (0..12).collect());
    let ac =
        Table::new([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], super::super::huffman::LUMA_SYMBOLS.to_vec());
    [dc, ac]
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    pending: u32,
    count: u32,
}

impl BitWriter {
    fn put(&mut self, value: u32, count: u32) {
        for i in (0..count).rev() {
            self.pending = self.pending << 1 | (value >> i & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.pending as u8);
                if self.pending == 0xFF {
                    self.bytes.push(0);
                }
                (self.pending, self.count) = (0, 0);
            }
        }
    }

    fn number(&mut self, value: i32) {
        let size = size_of(value);
        let value = if value < 0 { value - 1 } else { value };
        self.put(value as u32 & ((1 << size) - 1), size);
    }

    fn all(&mut self, waiting: &mut Vec<u32>) {
        waiting.drain(..).for_each(|bit| self.put(bit, 1));
    }

    /// What was written, filled up with ones.
    fn end(&mut self) -> Vec<u8> {
        while self.count > 0 {
            self.put(1, 1);
        }
        std::mem::take(&mut self.bytes)
    }
}

//! Components of different sizes to rows of pixels.
//!
//! Chroma is interpolated as libjpeg does it by default: between two samples at three quarters and one quarter, where
//! it has half as many samples; repeated where it has a third or a quarter, or where a row has no more than two.

use super::idct::transform;
use super::scan::Block;
use crate::pipeline::PipelineError;
use crate::pipeline::container::jpeg::Frame;

/// What a component has where the file says nothing: the middle.
const MIDDLE: u8 = 128;

/// How a component becomes as large as the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upsampling {
    Same,
    /// Twice as wide.
    Across,
    /// Twice as high.
    Down,
    /// Both.
    Both,
    /// So many times as wide and as high.
    Repeat(usize, usize),
}

/// The samples of one component, or those of some of its rows.
#[derive(Debug)]
pub(super) struct Plane {
    /// Samples across and down a block; fewer than eight in a smaller picture.
    size: usize,
    /// Samples that are shown.
    width: usize,
    height: usize,
    stride: usize,
    upsampling: Upsampling,
    /// Rows of blocks in a row of units.
    down: usize,
    /// How many rows one row of units gives.
    unit_rows: usize,
    /// The row that `samples` begins with.
    first: usize,
    samples: Vec<u8>,
}

impl Plane {
    /// Blocks across.
    pub(super) fn blocks_across(&self) -> usize {
        self.stride / self.size
    }

    /// Rows of blocks in a row of units.
    pub(super) fn blocks_down(&self) -> usize {
        self.down
    }

    /// Puts the samples of the block at `x`, `y` in their place.
    #[inline]
    pub(super) fn put(&mut self, block: &Block, table: &[u16; 64], last: usize, x: usize, y: usize) {
        let at = (y * self.size - self.first) * self.stride + x * self.size;
        transform(block, table, last, self.size, &mut self.samples[at..], self.stride);
    }

    /// Makes room for the row `units` of units.
    fn begin(&mut self, units: usize) {
        let end = ((units + 1) * self.unit_rows - self.first) * self.stride;
        if self.samples.len() < end {
            self.samples.resize(end, MIDDLE);
        }
    }

    /// Forgets the rows before `row`.
    fn drop_before(&mut self, row: usize) {
        let gone = row.saturating_sub(self.first);
        self.samples.drain(..gone * self.stride);
        self.first += gone;
    }

    fn line(&self, row: usize) -> &[u8] {
        let at = (row.min(self.height - 1) - self.first) * self.stride;
        &self.samples[at..at + self.width]
    }

    /// The row of the picture `y`, in `scratch` if it has to be made.
    fn row<'a>(&'a self, y: usize, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        // The nearest row, and the next nearest.
        let (near, far) = (y / 2, if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 });
        scratch.clear();
        match self.upsampling {
            Upsampling::Same => return self.line(y),
            Upsampling::Across => {
                let line = self.line(y);
                let between = |near: u8, far: u8, half: u16| byte((3 * u16::from(near) + u16::from(far) + half) >> 2);
                scratch.extend([line[0], between(line[0], line[1], 2)]);
                for w in line.windows(3) {
                    scratch.extend([between(w[1], w[0], 1), between(w[1], w[2], 2)]);
                }
                let [.., before, last] = line else { return line };
                scratch.extend([between(*last, *before, 1), *last]);
            }
            Upsampling::Down => {
                let half = if y.is_multiple_of(2) { 1 } else { 2 };
                let lines = self.line(near).iter().zip(self.line(far));
                scratch.extend(lines.map(|(near, far)| byte((3 * u16::from(*near) + u16::from(*far) + half) >> 2)));
            }
            Upsampling::Both => {
                let sum = |(near, far): (&u8, &u8)| 3 * u16::from(*near) + u16::from(*far);
                let mut sums = self.line(near).iter().zip(self.line(far)).map(sum);
                let mut before = sums.next().unwrap_or(0);
                let mut here = before;
                scratch.push(byte((4 * here + 8) >> 4));
                for after in sums {
                    if scratch.len() > 1 {
                        scratch.push(byte((3 * here + before + 8) >> 4));
                    }
                    scratch.push(byte((3 * here + after + 7) >> 4));
                    (before, here) = (here, after);
                }
                scratch.extend([byte((3 * here + before + 8) >> 4), byte((4 * here + 7) >> 4)]);
            }
            Upsampling::Repeat(across, down) => {
                for sample in self.line(y / down) {
                    scratch.extend(std::iter::repeat_n(*sample, across));
                }
            }
        }
        scratch
    }

    /// The last row of the component that the picture's row `y` is made of.
    fn needed(&self, y: usize) -> usize {
        let row = match self.upsampling {
            Upsampling::Same | Upsampling::Across => y,
            Upsampling::Down | Upsampling::Both => y.div_ceil(2),
            Upsampling::Repeat(_, down) => y / down,
        };
        row.min(self.height - 1)
    }

    /// The first row that rows from `y` on are made of.
    fn still_needed(&self, y: usize) -> usize {
        match self.upsampling {
            Upsampling::Same | Upsampling::Across => y,
            Upsampling::Down | Upsampling::Both => (y / 2).saturating_sub(1),
            Upsampling::Repeat(_, down) => y / down,
        }
    }
}

/// Sums of sixteen parts of bytes are bytes.
#[inline]
fn byte(value: u16) -> u8 {
    value.to_le_bytes()[0]
}

/// All components of a picture, or those rows of them that are still needed.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) all: Vec<Plane>,
    pub(super) width: usize,
    pub(super) height: usize,
    /// Rows of the picture that a row of units gives.
    unit_rows: usize,
    /// Rows that are out.
    done: usize,
    scratch: Vec<Vec<u8>>,
}

impl Planes {
    /// Of a picture of `frame`, each side divided by `reduction` (1, 2, 4 or 8) and rounded up.
    pub(super) fn new(frame: &Frame, reduction: u32) -> Result<Self, PipelineError> {
        if let Some(fault) = frame.sampling_fault() {
            return Err(PipelineError::bad_image(fault));
        }
        let largest = frame.sampling_max();
        let size = 8 / reduction;
        let mcus = frame.mcus();
        let plane = |component: &crate::pipeline::container::jpeg::Component| {
            let (h, v) = component.sampling;
            // A component with fewer samples than others needs less of a reduction.
            let mut own = size;
            let fits =
                |own: u32| (largest.0 * size).is_multiple_of(own * h) && (largest.1 * size).is_multiple_of(own * v);
            while own < 8 && fits(2 * own) {
                own *= 2;
            }
            let (across, down) = (largest.0 * size / (h * own), largest.1 * size / (v * own));
            let width = (frame.width * h * own).div_ceil(8 * largest.0) as usize;
            let height = (frame.height * v * own).div_ceil(8 * largest.1) as usize;
            // As libjpeg does it: not where samples are whole blocks.
            let smooth = size > 1;
            let upsampling = match (across, down) {
                (1, 1) => Upsampling::Same,
                (2, 1) if smooth && width > 2 => Upsampling::Across,
                (1, 2) if smooth => Upsampling::Down,
                (2, 2) if smooth && width > 2 => Upsampling::Both,
                (across, down) => Upsampling::Repeat(across as usize, down as usize),
            };
            Plane {
                size: own as usize,
                width,
                height,
                stride: (mcus.0 * h * own) as usize,
                upsampling,
                down: v as usize,
                unit_rows: (v * own) as usize,
                first: 0,
                samples: Vec::new(),
            }
        };
        Ok(Self {
            all: frame.components.iter().map(plane).collect(),
            width: frame.width.div_ceil(reduction) as usize,
            height: frame.height.div_ceil(reduction) as usize,
            unit_rows: (largest.1 * size) as usize,
            done: 0,
            scratch: vec![Vec::new(); frame.components.len()],
        })
    }

    /// Makes room for the row `units` of units.
    pub(super) fn begin(&mut self, units: usize) {
        self.all.iter_mut().for_each(|plane| plane.begin(units));
    }

    /// Hands every row of the picture to `row` that can be made now that `units` rows of units are there, and forgets what
    /// no other row needs.
    pub(super) fn finish(&mut self, units: usize, mut row: impl FnMut(&[&[u8]])) {
        let there = (units * self.unit_rows).min(self.height);
        let is_last = there == self.height;
        while self.done < there {
            let y = self.done;
            let complete = |plane: &Plane| is_last || plane.needed(y) < units * plane.unit_rows;
            if !self.all.iter().all(complete) {
                break;
            }
            let lines: Vec<&[u8]> =
                self.all.iter().zip(&mut self.scratch).map(|(plane, scratch)| plane.row(y, scratch)).collect();
            row(&lines);
            self.done += 1;
        }
        for plane in &mut self.all {
            plane.drop_before(plane.still_needed(self.done));
        }
    }
}

//! PNG row by row, every few pixels averaged into one: the picture is never in memory at its full size.

use super::DecodedRaster;
use super::png::{Open, finish_data};
use crate::pipeline::raster::{Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// Decodes `source`, each side divided by `reduction` and rounded up; none if it is interlaced, since then no row is
/// whole before the last pass. With `tolerant`, the rows before the damage.
pub(super) fn decode(
    source: &[u8],
    info: &SourceInfo,
    tolerant: bool,
    reduction: u32,
) -> Result<Option<DecodedRaster>, PipelineError> {
    let Open { mut reader, icc, model, alpha, sixteen } = Open::new(source, info)?;
    if reader.info().interlaced {
        return Ok(None);
    }
    let (width, height) = reader.info().size();
    let channels = model.colours() + usize::from(alpha);
    let mut means = Means::new(width as usize, channels, alpha, reduction as usize);
    let (width, rows) = (width.div_ceil(reduction), height.div_ceil(reduction));
    let count = width as usize * rows as usize * channels;
    let mut samples =
        if sixteen { Samples::U16(Vec::with_capacity(count)) } else { Samples::U8(Vec::with_capacity(count)) };
    for _ in 0..height {
        match reader.next_row() {
            Ok(Some(row)) if sixteen => {
                let (pairs, _) = row.data().as_chunks::<2>();
                means.add(pairs.iter().map(|pair| u16::from_be_bytes(*pair)));
            }
            Ok(Some(row)) => means.add(row.data().iter().copied().map(u16::from)),
            Ok(None) => break,
            Err(_) if tolerant => break,
            Err(e) => return Err(PipelineError::bad_image(e)),
        }
        if means.rows == reduction as usize {
            means.finish(&mut samples);
        }
    }
    // Of a tolerant one rows may be left.
    if !tolerant {
        finish_data(&mut reader).map_err(PipelineError::bad_image)?;
    }
    means.finish(&mut samples);
    match &mut samples {
        Samples::U8(samples) => samples.resize(count, 0),
        Samples::U16(samples) => samples.resize(count, 0),
    }
    Ok(Some(DecodedRaster { raster: Raster { width, height: rows, model, alpha, samples }, icc }))
}

/// The means of a band of rows.
struct Means {
    /// Pixels of a row that comes in.
    width: usize,
    channels: usize,
    alpha: bool,
    reduction: usize,
    /// Rows added so far.
    rows: usize,
    /// For every pixel that goes out, the sum of each channel; colours times alpha if there is one.
    sums: Vec<u64>,
}

impl Means {
    fn new(width: usize, channels: usize, alpha: bool, reduction: usize) -> Self {
        let sums = vec![0; width.div_ceil(reduction) * channels];
        Self { width, channels, alpha, reduction, rows: 0, sums }
    }

    /// Adds a row.
    fn add(&mut self, row: impl Iterator<Item = u16>) {
        match (self.channels, self.alpha) {
            (1, _) => self.add_pixels::<1, false>(row),
            (2, _) => self.add_pixels::<2, true>(row),
            (3, _) => self.add_pixels::<3, false>(row),
            (_, _) => self.add_pixels::<4, true>(row),
        }
        self.rows += 1;
    }

    fn add_pixels<const N: usize, const ALPHA: bool>(&mut self, mut row: impl Iterator<Item = u16>) {
        let mut left = self.width;
        for sums in self.sums.as_chunks_mut::<N>().0 {
            for _ in 0..left.min(self.reduction) {
                let pixel: [u64; N] = std::array::from_fn(|_| u64::from(row.next().unwrap_or(0)));
                let weight = if ALPHA { pixel[N - 1] } else { 1 };
                for (i, (sum, sample)) in sums.iter_mut().zip(pixel).enumerate() {
                    *sum += if ALPHA && i == N - 1 { sample } else { sample * weight };
                }
            }
            left = left.saturating_sub(self.reduction);
        }
    }

    /// Appends the means to `into`, if any row was added, and starts the next band.
    fn finish(&mut self, into: &mut Samples) {
        if self.rows == 0 {
            return;
        }
        let mut left = self.width;
        for sums in self.sums.chunks_exact_mut(self.channels) {
            let count = (left.min(self.reduction) * self.rows) as u64;
            let weights = if self.alpha { sums[self.channels - 1] } else { count };
            for (i, sum) in sums.iter_mut().enumerate() {
                let of = if self.alpha && i == self.channels - 1 { count } else { weights };
                // Where all is transparent there is no colour.
                let mean = (*sum + of / 2).checked_div(of).unwrap_or(0);
                match into {
                    Samples::U8(into) => into.push(u8::try_from(mean).unwrap_or(u8::MAX)),
                    Samples::U16(into) => into.push(u16::try_from(mean).unwrap_or(u16::MAX)),
                }
                *sum = 0;
            }
            left = left.saturating_sub(self.reduction);
        }
        self.rows = 0;
    }
}

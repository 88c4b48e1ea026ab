//! Luma and chroma to colour samples: range, matrix, and chroma between its samples (ITU-T H.273, 8.3).

use crate::pipeline::PipelineError;
use crate::pipeline::inspect::{ChromaSubsampling, Cicp};

/// Samples of one kind, rows top down.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a, T> {
    pub(super) samples: &'a [T],
    /// Samples from one row to the next.
    pub(super) stride: usize,
}

impl<'a, T> Plane<'a, T> {
    fn row(&self, y: usize, width: usize) -> Option<&'a [T]> {
        self.samples.get(y.checked_mul(self.stride)?..)?.get(..width)
    }
}

/// A coded picture: luma, and blue and red differences unless it is grey.
pub(super) struct CodedPlanes<'a, T> {
    pub(super) luma: Plane<'a, T>,
    pub(super) differences: Option<[Plane<'a, T>; 2]>,
    pub(super) chroma: ChromaSubsampling,
    /// Whether chroma lies on the columns of luma, not between them.
    pub(super) cosited: bool,
    pub(super) bits: u8,
    /// (width, height) of luma.
    pub(super) size: (usize, usize),
}

/// The same in whichever type a decoder has its samples.
pub(super) enum AnyPlanes<'a> {
    #[cfg(feature = "input-avif")]
    U8(CodedPlanes<'a, u8>),
    #[cfg(feature = "input-avif")]
    U16(CodedPlanes<'a, u16>),
    #[cfg(feature = "input-heic")]
    I32(CodedPlanes<'a, i32>),
}

/// A colour sample of the raster.
pub(super) trait RasterSample: Copy {
    /// The largest.
    const FULL: f32;
    fn value(self) -> f32;
    /// To the nearest, clamped.
    fn rounded(value: f32) -> Self;
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floating point saturate")]
impl RasterSample for u8 {
    const FULL: f32 = 255.0;

    fn value(self) -> f32 {
        self.into()
    }

    fn rounded(value: f32) -> Self {
        (value + 0.5) as Self
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts from floating point saturate")]
impl RasterSample for u16 {
    const FULL: f32 = 65_535.0;

    fn value(self) -> f32 {
        self.into()
    }

    fn rounded(value: f32) -> Self {
        (value + 0.5) as Self
    }
}

/// Where in a raster a coded picture goes: pixels from `to` on, of the picture's from `from` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    /// (x, y) on the raster.
    pub(super) to: (usize, usize),
    /// (x, y) on the coded picture.
    pub(super) from: (usize, usize),
    /// (width, height).
    pub(super) size: (usize, usize),
}

/// The raster's samples while it is put together.
pub(super) struct PaintTarget<'a, S> {
    pub(super) samples: &'a mut [S],
    /// Pixels a row.
    pub(super) width: usize,
    /// Samples a pixel.
    pub(super) channels: usize,
}

impl<S> PaintTarget<'_, S> {
    fn row(&mut self, x: usize, y: usize, pixels: usize) -> Option<impl Iterator<Item = &mut [S]>> {
        let start = (y * self.width + x) * self.channels;
        let row = self.samples.get_mut(start..start + pixels * self.channels)?;
        Some(row.chunks_exact_mut(self.channels))
    }
}

/// How three planes become red, green and blue: a matrix and what is added, on the scale of the raster.
pub(super) struct Conversion {
    matrix: [[f32; 3]; 3],
    offsets: [f32; 3],
    /// What luma alone is multiplied with, and what is added.
    grey: (f32, f32),
}

impl Conversion {
    /// For samples of `bits` bits, to a raster whose largest sample is `full`.
    pub(super) fn new(cicp: Cicp, bits: u8, full: f32) -> Result<Self, PipelineError> {
        let [luma, chroma] = ranges(bits, cicp.full_range);
        let matrix = match cicp.matrix {
            // Green, blue, red, all on luma's scale.
            0 => return Ok(Self::scaled([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [luma; 3], full)),
            8 => [[1.0, -1.0, 1.0], [1.0, 1.0, 0.0], [1.0, -1.0, -1.0]],
            matrix => {
                let (kr, kb) = luma_weights(matrix, cicp.primaries).ok_or_else(|| {
                    PipelineError::bad_image(format!(
                        "its colours are coded in a way that can't be read (matrix {matrix})"
                    ))
                })?;
                let kg = 1.0 - kr - kb;
                let (red, blue) = (2.0 * (1.0 - kr), 2.0 * (1.0 - kb));
                [[1.0, 0.0, red], [1.0, -blue * kb / kg, -red * kr / kg], [1.0, blue, 0.0]]
            }
        };
        Ok(Self::scaled(matrix, [luma, chroma, chroma], full))
    }

    /// `ranges`: of each plane, the sample that is zero and how many make one.
    fn scaled(matrix: [[f32; 3]; 3], ranges: [(f32, f32); 3], full: f32) -> Self {
        let matrix = matrix.map(|row| std::array::from_fn(|i| row[i] * full / ranges[i].1));
        let offsets = matrix.map(|row| -row.iter().zip(ranges).map(|(weight, (zero, _))| weight * zero).sum::<f32>());
        let (zero, range) = ranges[0];
        Self { matrix, offsets, grey: (full / range, -zero * full / range) }
    }

    /// Paints the first `colours` (1 or 3) samples of each pixel of `patch`. `None` if planes or raster are too small.
    pub(super) fn paint<T: Copy + Into<i32>, S: RasterSample>(
        &self,
        planes: &CodedPlanes<T>,
        canvas: &mut PaintTarget<S>,
        patch: Patch,
        colours: usize,
    ) -> Option<()> {
        let Some([blue, red]) = &planes.differences else { return self.paint_grey(planes, canvas, patch, colours) };
        let ((x, y), (width, height)) = (patch.from, patch.size);
        let (mut blue_row, mut red_row) = (Vec::new(), Vec::new());
        for line in 0..height {
            planes.spread(blue, y + line, &mut blue_row)?;
            planes.spread(red, y + line, &mut red_row)?;
            let luma = planes.luma.row(y + line, planes.size.0)?;
            let samples = luma.get(x..)?.iter().zip(blue_row.get(x..)?).zip(red_row.get(x..)?);
            let pixels = canvas.row(patch.to.0, patch.to.1 + line, width)?;
            for (pixel, ((luma, blue), red)) in pixels.zip(samples) {
                let from = [float(*luma), *blue, *red];
                for ((sample, row), offset) in pixel.iter_mut().zip(&self.matrix).zip(self.offsets) {
                    *sample = S::rounded(row[0] * from[0] + row[1] * from[1] + row[2] * from[2] + offset);
                }
            }
        }
        Some(())
    }

    fn paint_grey<T: Copy + Into<i32>, S: RasterSample>(
        &self,
        planes: &CodedPlanes<T>,
        canvas: &mut PaintTarget<S>,
        patch: Patch,
        colours: usize,
    ) -> Option<()> {
        let (scale, offset) = self.grey;
        for line in 0..patch.size.1 {
            let luma = planes.luma.row(patch.from.1 + line, planes.size.0)?.get(patch.from.0..)?;
            let pixels = canvas.row(patch.to.0, patch.to.1 + line, patch.size.0)?;
            for (pixel, luma) in pixels.zip(luma) {
                pixel[..colours].fill(S::rounded(float(*luma) * scale + offset));
            }
        }
        Some(())
    }
}

/// Paints the last sample of each pixel of `patch`: alpha.
pub(super) fn paint_alpha<T: Copy + Into<i32>, S: RasterSample>(
    planes: &CodedPlanes<T>,
    full_range: bool,
    canvas: &mut PaintTarget<S>,
    patch: Patch,
) -> Option<()> {
    let [(zero, range), _] = ranges(planes.bits, full_range);
    let scale = S::FULL / range;
    for line in 0..patch.size.1 {
        let alpha = planes.luma.row(patch.from.1 + line, planes.size.0)?.get(patch.from.0..)?;
        let pixels = canvas.row(patch.to.0, patch.to.1 + line, patch.size.0)?;
        for (pixel, alpha) in pixels.zip(alpha) {
            *pixel.last_mut()? = S::rounded((float(*alpha) - zero) * scale);
        }
    }
    Some(())
}

impl<T: Copy + Into<i32>> CodedPlanes<'_, T> {
    /// One row of a difference at luma's resolution, linear between its samples.
    fn spread(&self, plane: &Plane<T>, y: usize, row: &mut Vec<f32>) -> Option<()> {
        let (across, down) = self.chroma.steps();
        let (width, height) = (self.size.0.div_ceil(across as usize), self.size.1.div_ceil(down as usize));
        row.clear();
        if down == 1 {
            let near = plane.row(y, width)?;
            return self.spread_across(|x| near.get(x).map(|sample| float(*sample)), width, row);
        }
        // Chroma rows lie between two of luma: three quarters of the nearer, a quarter of the next on the other side.
        let near = y / 2;
        let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(height - 1) };
        let (near, far) = (plane.row(near, width)?, plane.row(far, width)?);
        let between = |x: usize| Some(float(*near.get(x)?) * 0.75 + float(*far.get(x)?) * 0.25);
        self.spread_across(between, width, row)
    }

    fn spread_across(&self, at: impl Fn(usize) -> Option<f32>, width: usize, row: &mut Vec<f32>) -> Option<()> {
        if self.chroma.steps().0 == 1 {
            row.extend((0..width).map_while(at));
            return Some(());
        }
        let (mut before, mut here) = (at(0)?, at(0)?);
        for x in 0..width {
            let after = at((x + 1).min(width - 1))?;
            if self.cosited {
                row.extend([here, f32::midpoint(here, after)]);
            } else {
                row.extend([here * 0.75 + before * 0.25, here * 0.75 + after * 0.25]);
            }
            (before, here) = (here, after);
        }
        Some(())
    }
}

/// Of luma and of chroma: the sample that is zero, and how many make one.
fn ranges(bits: u8, full: bool) -> [(f32, f32); 2] {
    let scale = f32::from(1_u16 << (bits - 8));
    let largest = 256.0 * scale - 1.0;
    if full {
        [(0.0, largest), (128.0 * scale, largest)]
    } else {
        [(16.0 * scale, 219.0 * scale), (128.0 * scale, 224.0 * scale)]
    }
}

/// The shares of red and blue in luma.
fn luma_weights(matrix: u8, primaries: u8) -> Option<(f32, f32)> {
    match matrix {
        1 => Some((0.2126, 0.0722)),
        // Unspecified: as JPEG has it, which is what writers that don't say mean.
        2 | 3 | 5 | 6 => Some((0.299, 0.114)),
        4 => Some((0.30, 0.11)),
        7 => Some((0.212, 0.087)),
        9 => Some((0.2627, 0.0593)),
        // From the primaries.
        12 => match primaries {
            1 | 2 => Some((0.2126, 0.0722)),
            5..=7 => Some((0.2124, 0.0866)),
            9 => Some((0.2627, 0.0593)),
            12 => Some((0.2290, 0.0793)),
            _ => None,
        },
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "samples have 16 bits at most")]
fn float(sample: impl Into<i32>) -> f32 {
    sample.into() as f32
}

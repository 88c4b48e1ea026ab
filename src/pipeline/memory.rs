//! How much memory a job will need, from its header.
//!
//! A job has three stages, and its peak is that of the one that takes most: decoding (the pixels, and what the decoder keeps beside them),
//! the first resize (the pixels, the resizer's rows and the result), and encoding (a picture a size, and what the
//! encoders work with). The pixels outlive the first resize only if another size is made from them too.
//!
//! The figures are the largest measured over photos, noise and flat pictures of 3 to 50 MP, rounded up; the test in
//! `tests/it/pixels/memory.rs` holds some of them against real runs.

use serde::{Deserialize, Serialize};

use super::engine::encode_settings;
use super::outputs::is_animated;
use super::plan::{ResizeStep, plan, reduction, takes_pixels_unscaled};
use super::{InspectError, Layout, PixelLimits, SourceInfo};
use crate::encoder::{EncodeSettings, built_in};
use crate::job::{SourceFormat, VariantSpec};

/// What every job takes, whatever its size: stacks, tables, colour transforms, the allocator's arenas.
const BASE_BYTES: u64 = 12 * 1024 * 1024;

/// How much memory one job may need.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// Bytes at its peak, the original's own included.
    pub bytes_max: u64,
    /// Threads that encode.
    pub threads: usize,
    /// How the source is read.
    pub pixels: PixelLimits,
}

/// What a job is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Bytes that its process may take.
    pub bytes: u64,
    /// Threads that may encode.
    pub threads: usize,
}

/// Memory for what a process has before it begins, and for each of its threads: stacks and arenas, mostly untouched, but
/// a cap counts them.
const PROCESS_BYTES: u64 = 96 * 1024 * 1024;
const THREAD_BYTES: u64 = 12 * 1024 * 1024;

/// The least that jobs may be limited to: what a photo of a few megapixels into one small JPEG is given. With less, no job
/// could ever run.
pub const JOB_BYTES_MIN: u64 = 128 * 1024 * 1024;

/// Jobs are given whole steps: a process that was given a step fits the next job too that is a little larger.
const STEP_BYTES: u64 = 32 * 1024 * 1024;

impl MemoryLimit {
    /// What making `variants` of an original of `source_bytes` is given: what it is expected to take at its peak, and a
    /// quarter of that for what allocators waste, in whole steps as far as it may. With fewer threads than there are, if that is what it takes.
    ///
    /// # Errors
    /// [`InspectError::TooLarge`] if even one thread would need more than a job may.
    pub fn admit(
        &self,
        source: &SourceInfo,
        source_bytes: u64,
        variants: &[VariantSpec],
    ) -> Result<Admission, InspectError> {
        let needed = |threads: usize| {
            let pixels = memory_estimate(source, variants, threads, &self.pixels).saturating_add(source_bytes);
            let process = PROCESS_BYTES + THREAD_BYTES.saturating_mul(threads as u64);
            pixels.saturating_add(pixels / 4).saturating_add(process)
        };
        let admitted = (1..=self.threads.max(1)).rev().map(|threads| Admission { bytes: needed(threads), threads });
        let given = admitted.into_iter().find(|given| given.bytes <= self.bytes_max);
        let given = given.ok_or_else(|| self.refusal(needed(1)))?;
        let stepped = given.bytes.checked_next_multiple_of(STEP_BYTES).unwrap_or(u64::MAX);
        Ok(Admission { bytes: stepped.min(self.bytes_max), ..given })
    }

    fn refusal(&self, needed: u64) -> InspectError {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        InspectError::TooLarge {
            detail: format!(
                "making these variants takes some {} MiB of memory, and this server allows a job {} MiB; ask for smaller \
                 or fewer sizes, or raise PIXERVE_WORKER_MEMORY_MAX and PIXERVE_WORKER_MEMORY_BUDGET",
                mib(needed),
                mib(self.bytes_max)
            ),
        }
    }
}

/// Bytes that rendering `variants` on `threads` takes at most at its peak, besides the original's own bytes: the decoded
/// source and what its decoder keeps beside it, or one picture a size and the working memory of the encoders that run at
/// once, whichever is more. At most about twice what is really taken.
#[must_use]
pub fn memory_estimate(source: &SourceInfo, variants: &[VariantSpec], threads: usize, limits: &PixelLimits) -> u64 {
    let (moving, still): (Vec<&VariantSpec>, Vec<&VariantSpec>) =
        variants.iter().partition(|variant| is_animated(variant, source));
    let layouts: Vec<_> =
        still.iter().enumerate().map(|(i, v)| (i, Layout::of(source.width, source.height, v))).collect();
    let steps = plan(&layouts);
    let decoded = if steps.is_empty() {
        DecodedMemory { pixels: 0, beside: 0, bytes_a_pixel: 0, height: 0 }
    } else {
        DecodedMemory::of(source, reduction(&steps, source, limits))
    };
    let reused = steps.iter().filter(|step| step.from.is_none()).count() > 1;
    let kept = if reused { decoded.pixels } else { 0 };
    // Multiplied by alpha, in a copy, since the pixels themselves are wanted, too.
    let copied =
        if reused && takes_pixels_unscaled(&steps) && source.channels.is_multiple_of(2) { decoded.pixels } else { 0 };
    let resizing = decoded.pixels + copied + steps.first().map_or(0, |step| decoded.resizing(step, source));
    let stills = kept + pictures(&steps, source, reused) + encoders(&still, source, threads);
    let animations: u64 = moving.iter().map(|variant| animation(variant, source, threads)).sum();
    BASE_BYTES + animations + (decoded.pixels + decoded.beside).max(resizing).max(stills)
}

/// What is in memory of an original.
struct DecodedMemory {
    /// Bytes of its pixels.
    pixels: u64,
    /// Bytes that the decoder takes besides.
    beside: u64,
    bytes_a_pixel: u64,
    /// Rows as they are held.
    height: u64,
}

impl DecodedMemory {
    fn of(source: &SourceInfo, reduction: u32) -> Self {
        let channels = u64::from(source.channels);
        let bytes_a_pixel = channels * u64::from(source.bits / 8);
        let whole = source.pixels() * bytes_a_pixel;
        let by = match source.format {
            // Interlaced, it has to be held as a whole.
            SourceFormat::Png if source.progressive => 1,
            SourceFormat::Jpeg | SourceFormat::Png => u64::from(reduction),
            _ => 1,
        };
        let reduced = (source.pixels() / (by * by)) * bytes_a_pixel;
        let height = u64::from(source.stored_size().1) / by;
        let coefficients =
            if source.progressive && source.format == SourceFormat::Jpeg { source.pixels() * 2 * channels } else { 0 };
        let rows = u64::from(source.stored_size().0) * channels * 64;
        let beside = match source.format {
            SourceFormat::Jpeg => coefficients + rows,
            SourceFormat::Png | SourceFormat::Bmp => rows,
            // A canvas of four channels and a frame beside it.
            SourceFormat::Gif => source.pixels() * 5,
            SourceFormat::Webp => source.pixels() * 6,
            // All of it may be one strip.
            SourceFormat::Tiff => whole,
            SourceFormat::Avif | SourceFormat::Heic => whole + source.pixels() * 2,
        };
        Self { pixels: reduced, beside, bytes_a_pixel, height }
    }

    /// Bytes beside the pixels while the largest size is made of them: rows of the new width, and the result.
    fn resizing(&self, step: &ResizeStep, source: &SourceInfo) -> u64 {
        let (width, height) = (u64::from(step.layout.width), u64::from(step.layout.height));
        let side = if super::orient::swaps_sides(source.orientation) { height } else { width };
        let same = (step.layout.width, step.layout.height) == (source.width, source.height);
        let between = if same { 0 } else { side * self.height * self.bytes_a_pixel };
        // Upright, and as sRGB.
        let results = width * height * (self.bytes_a_pixel + 4);
        between + results
    }
}

/// Bytes of the pictures that wait for their encoders; a source that is not 8-bit sRGB is kept in its own colours, too,
/// while smaller sizes are made of it.
fn pictures(steps: &[ResizeStep], source: &SourceInfo, reused: bool) -> u64 {
    let channels = u64::from(source.channels).max(3);
    let own = u64::from(source.channels) * u64::from(source.bits / 8);
    let pixels = |step: &ResizeStep| u64::from(step.layout.width) * u64::from(step.layout.height);
    let waiting: u64 = steps.iter().map(|step| pixels(step) * channels).sum();
    let kept = if steps.len() > 1 || reused { steps.first().map_or(0, |step| pixels(step) * own) } else { 0 };
    waiting + kept
}

/// The working memory of the encoders that run at once, if those are the ones that take most.
fn encoders(variants: &[&VariantSpec], source: &SourceInfo, threads: usize) -> u64 {
    let working = |variant: &&VariantSpec| {
        let layout = Layout::of(source.width, source.height, variant);
        let memory = built_in(variant.format).working_memory(&encode_settings(variant, source, &layout));
        let (width, height) = layout.output_size();
        // On a canvas, or without its alpha, the picture is another one.
        let composed = if layout.canvas.is_some() || !variant.format.info().alpha { 4 } else { 0 };
        memory.fixed + u64::from(width) * u64::from(height) * (memory.per_pixel + composed)
    };
    let mut all: Vec<u64> = variants.iter().map(working).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.iter().take(threads.max(1)).sum()
}

/// An animation holds its canvas, a batch of frames of the new size, and the encoders of those.
fn animation(variant: &VariantSpec, source: &SourceInfo, threads: usize) -> u64 {
    let (width, height) = Layout::of(source.width, source.height, variant).output_size();
    let threads = threads.max(1) as u64;
    let frame = u64::from(width) * u64::from(height);
    let encoder = built_in(variant.format).working_memory(&EncodeSettings::default());
    source.pixels() * 16 + frame * (4 * (2 * threads + 4) + threads * encoder.per_pixel)
}

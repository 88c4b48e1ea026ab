//! Animated GIF, WebP and PNG to animated WebP: every frame, its duration, and how often it plays.
//!
//! Frames go through in batches of a few: decoded one by one, resized, and encoded side by side.

mod apng;
mod muxer;
mod source_frames;

use fast_image_resize::Resizer;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::colour::Converter;
use super::decode::{is_complete, may_be_whole, repaired};
use super::orient::{stored_region, upright};
use super::outputs::is_animated;
use super::raster::Raster;
use super::resize::resize;
use super::{Layout, PipelineError, PixelLimits, SourceInfo};
use crate::encoder::{EncodeError, EncodeSettings, Pixels};
use crate::job::VariantSpec;
use muxer::{AnimatedWebp, Frame};
use source_frames::{SourceFrame, SourceFrames};

/// The shortest time a frame shows. Browsers show what asks for less than this for a tenth of a second, since old
/// animations count on it; so does this.
const FRAME_MS_MIN: u32 = 11;
const FRAME_MS_DEFAULT: u32 = 100;

/// Frames that an animation may have, however small: each is a file of its own to the encoder. Ten minutes at 16 a second.
const FRAMES_MAX: u32 = 10_000;

/// Refuses an animation of too many frames, or whose frames have more pixels in all than a source may have.
pub(super) fn check(
    source: &[u8],
    info: &SourceInfo,
    variants: &[VariantSpec],
    limits: &PixelLimits,
) -> Result<(), PipelineError> {
    let mut moving = variants.iter().filter(|variant| is_animated(variant, info)).peekable();
    if moving.peek().is_none() {
        return Ok(());
    }
    if info.frames > FRAMES_MAX {
        let detail = format!("{} frames; {FRAMES_MAX} are allowed", info.frames);
        return Err(PipelineError::TooLarge { detail });
    }
    let pixels = info.pixels().saturating_mul(u64::from(info.frames));
    if pixels > limits.source_max {
        let detail = format!("{} frames have {pixels} pixels; {} are allowed", info.frames, limits.source_max);
        return Err(PipelineError::TooLarge { detail });
    }
    if moving.any(|variant| !variant.tolerant) && !may_be_whole(info.format, source, true) {
        return Err(PipelineError::Truncated);
    }
    Ok(())
}

/// Makes one animated variant, and says whether it has every frame whole. `stopped` is asked before every batch.
pub(super) fn render(
    source: &[u8],
    info: &SourceInfo,
    variant: &VariantSpec,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<(Vec<u8>, bool), PipelineError> {
    let layout = Layout::of(info.width, info.height, variant);
    let (width, height) = layout.output_size();
    let settings = EncodeSettings { quality: variant.quality, speed: variant.speed, ..EncodeSettings::default() };
    let repaired = repaired(info.format, source);
    let cut = |error| match error {
        PipelineError::BadImage { .. } if !is_complete(info.format, source) => PipelineError::Truncated,
        error => error,
    };
    let mut animation = SourceFrames::open(repaired.as_deref().unwrap_or(source), info).map_err(cut)?;
    let mut file = AnimatedWebp::new(width, height, animation.plays);
    let mut canvas = AnimationCanvas { info, variant, layout, converter: None, resizer: Resizer::new(), before: None };
    let batch = rayon::current_num_threads().max(1) * 2;
    let mut frames_left = info.frames as usize;
    let mut is_whole = may_be_whole(info.format, source, true);
    loop {
        if stopped() {
            return Err(PipelineError::Cancelled);
        }
        let mut frames = Vec::with_capacity(batch);
        while frames.len() < batch.min(frames_left) {
            match animation.next() {
                Some(Ok(frame)) => frames.push(canvas.next(frame, animation.icc.as_deref())?),
                Some(Err(_)) if variant.tolerant && canvas.before.is_some() => {
                    is_whole = false;
                    break;
                }
                Some(Err(error)) => return Err(cut(error)),
                None => break,
            }
        }
        frames_left -= frames.len();
        let last = frames.len() < batch;
        let encoded: Vec<Result<Vec<u8>, EncodeError>> = frames.par_iter().map(|f| f.encode(settings)).collect();
        for (frame, encoded) in frames.iter().zip(encoded) {
            file.push(frame, &encoded?);
        }
        if last {
            return Ok((file.finish()?, is_whole));
        }
    }
}

/// The canvas of one variant, from frame to frame.
struct AnimationCanvas<'a> {
    info: &'a SourceInfo,
    variant: &'a VariantSpec,
    layout: Layout,
    converter: Option<Converter>,
    resizer: Resizer,
    /// The canvas that the last frame left: R, G, B, A.
    before: Option<Vec<u8>>,
}

impl AnimationCanvas<'_> {
    fn next(&mut self, frame: SourceFrame, icc: Option<&[u8]>) -> Result<Frame, PipelineError> {
        let SourceFrame { raster, duration_ms } = frame;
        let duration_ms = if duration_ms < FRAME_MS_MIN { FRAME_MS_DEFAULT } else { duration_ms };
        if (raster.width, raster.height) != self.info.stored_size() {
            return Err(PipelineError::bad_image("a frame has another size than the animation"));
        }
        let canvas = self.show(&raster, icc)?;
        let (width, height) = self.layout.output_size();
        let difference = Frame::difference(self.before.as_deref(), &canvas, width, height, duration_ms);
        self.before = Some(canvas);
        Ok(difference)
    }

    /// The frame as the variant shows it: R, G, B, A.
    fn show(&mut self, raster: &Raster, icc: Option<&[u8]>) -> Result<Vec<u8>, PipelineError> {
        let Layout { region, width, height, .. } = self.layout;
        let orientation = self.info.orientation;
        let region = stored_region(region, raster.width, raster.height, orientation);
        let (width, height) = if super::orient::swaps_sides(orientation) { (height, width) } else { (width, height) };
        let resized = upright(resize(&mut self.resizer, raster, region, width, height)?, orientation);
        let converter = self.converter.get_or_insert_with(|| Converter::new(&resized, icc));
        let picture = super::compose::compose(&converter.convert(&resized)?, &self.layout, self.variant);
        Ok(match picture.pixels {
            Pixels::Rgba(samples) => samples,
            Pixels::Rgb(samples) => samples.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
        })
    }
}

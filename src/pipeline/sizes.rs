//! The sizes of one job, largest first, each made from the smallest that serves.

use std::sync::Arc;

use fast_image_resize::Resizer;

use super::colour::Converter;
use super::orient::{stored_region, swaps_sides, upright};
use super::plan::{ResizeStep, takes_pixels_unscaled, within};
use super::raster::Raster;
use super::resize::resize;
use super::source_raster::SourceRaster;
use super::{Layout, PipelineError, SourceInfo};
use crate::encoder::Picture;

/// Makes one size after the other; keeps each, and the original, only as long as a later one is made from it.
pub(super) struct Sizes<'a> {
    info: &'a SourceInfo,
    steps: &'a [ResizeStep],
    source: Option<SourceRaster>,
    made: Vec<Option<Made>>,
    resizer: Resizer,
    converter: Converter,
}

/// Upright pixels to make smaller ones from.
enum Made {
    /// In the source's colours.
    Raster(Raster),
    /// In sRGB, where those are the same.
    Picture(Arc<Picture>),
}

impl<'a> Sizes<'a> {
    pub(super) fn new(
        info: &'a SourceInfo,
        steps: &'a [ResizeStep],
        mut source: SourceRaster,
        icc: Option<&[u8]>,
    ) -> Result<Self, PipelineError> {
        let converter = Converter::new(&source.kind(), icc);
        if !takes_pixels_unscaled(steps) {
            source.premultiply()?;
        }
        Ok(Self { info, steps, source: Some(source), made: Vec::new(), resizer: Resizer::new(), converter })
    }

    /// The picture of the next step.
    pub(super) fn next(&mut self) -> Result<Arc<Picture>, PipelineError> {
        let i = self.made.len();
        let ResizeStep { layout, from, .. } = &self.steps[i];
        let raster = match from {
            Some(earlier) => self.make_from_earlier(layout, *earlier)?,
            None => self.make_from_source(layout, i)?,
        };
        for earlier in 0..i {
            if !self.is_needed(Some(earlier), i) {
                self.made[earlier] = None;
            }
        }
        let needed = self.is_needed(Some(i), i);
        let (picture, made) = if self.converter.keeps(&raster) {
            let picture = Arc::new(Converter::keep(raster)?);
            (Arc::clone(&picture), Made::Picture(picture))
        } else {
            (Arc::new(self.converter.convert(&raster)?), Made::Raster(raster))
        };
        self.made.push(needed.then_some(made));
        Ok(picture)
    }

    fn make_from_earlier(&mut self, layout: &Layout, earlier: usize) -> Result<Raster, PipelineError> {
        let region = within(layout.region, &self.steps[earlier].layout);
        match &self.made[earlier] {
            Some(Made::Raster(raster)) => resize(&mut self.resizer, raster, region, layout.width, layout.height),
            Some(Made::Picture(picture)) => resize(&mut self.resizer, &**picture, region, layout.width, layout.height),
            None => Err(PipelineError::bad_image("a size is gone")),
        }
    }

    fn make_from_source(&mut self, layout: &Layout, i: usize) -> Result<Raster, PipelineError> {
        let orientation = self.info.orientation;
        let source = self.source.take().ok_or_else(|| PipelineError::bad_image("the source is gone"))?;
        let (stored_width, stored_height) = self.info.stored_size();
        let region = stored_region(layout.region, stored_width, stored_height, orientation);
        let whole = region.width >= f64::from(stored_width) && region.height >= f64::from(stored_height);
        let (width, height) =
            if swaps_sides(orientation) { (layout.height, layout.width) } else { (layout.width, layout.height) };
        let last = !self.is_needed(None, i);
        if last && whole && (width, height) == (source.raster.width, source.raster.height) {
            return Ok(upright(source.raster, orientation));
        }
        let scaled = source.resize(&mut self.resizer, region, width, height)?;
        if last {
            drop(source);
            self.resizer.reset_internal_buffers();
        } else {
            self.source = Some(source);
        }
        Ok(upright(scaled, orientation))
    }

    /// Whether a step after `i` is made from the step `from`, or from the source.
    fn is_needed(&self, from: Option<usize>, i: usize) -> bool {
        self.steps[i + 1..].iter().any(|step| step.from == from)
    }
}

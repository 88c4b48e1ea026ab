//! A decoded original as it is stored: not yet upright, in its own colours, maybe smaller than its header says.

use fast_image_resize::Resizer;

use super::raster::{Raster, Samples};
use super::resize::{premultiply, resize, resize_premultiplied};
use super::{PipelineError, Region};

/// What a decoder made of an original.
#[derive(Debug)]
pub(super) struct SourceRaster {
    pub(super) raster: Raster,
    /// How many pixels of the original one of these spans, across and down. At the right and lower edges it may be
    /// fewer: the sides are rounded up.
    pub(super) reduction: u32,
    /// Whether the colours are multiplied by their alpha.
    premultiplied: bool,
}

impl SourceRaster {
    pub(super) fn new(raster: Raster, reduction: u32) -> Self {
        Self { raster, reduction, premultiplied: false }
    }

    /// Multiplies the colours by their alpha, in place: the resizer would do it in a copy, for every size again.
    pub(super) fn premultiply(&mut self) -> Result<(), PipelineError> {
        if self.raster.alpha && !self.premultiplied {
            premultiply(&mut self.raster, false)?;
            self.premultiplied = true;
        }
        Ok(())
    }

    /// A raster without pixels, of the kind that [`Self::resize`] makes.
    pub(super) fn kind(&self) -> Raster {
        let samples = match self.raster.samples {
            Samples::U8(_) => Samples::U8(Vec::new()),
            Samples::U16(_) => Samples::U16(Vec::new()),
        };
        Raster { samples, ..self.raster }
    }

    /// `region`, in pixels of the original, as `width` x `height` pixels.
    pub(super) fn resize(
        &self,
        resizer: &mut Resizer,
        region: Region,
        width: u32,
        height: u32,
    ) -> Result<Raster, PipelineError> {
        let by = f64::from(self.reduction);
        let Region { x, y, width: across, height: down } = region;
        let region = Region { x: x / by, y: y / by, width: across / by, height: down / by };
        if !self.premultiplied {
            return resize(resizer, &self.raster, region, width, height);
        }
        let mut smaller = resize_premultiplied(resizer, &self.raster, region, width, height)?;
        premultiply(&mut smaller, true)?;
        Ok(smaller)
    }
}

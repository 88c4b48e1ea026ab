//! A decoded original as it is stored: not yet upright, in its own colours, maybe smaller than its header says.

use fast_image_resize::Resizer;

use super::raster::{Raster, Samples};
use super::resize::resize;
use super::{PipelineError, Region};

/// What a decoder made of an original.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) raster: Raster,
    /// How many pixels of the original one of these spans, across and down. At the right and lower edges it may be
    /// fewer: the sides are rounded up.
    pub(super) reduction: u32,
}

impl From<Raster> for Stored {
    fn from(raster: Raster) -> Self {
        Self { raster, reduction: 1 }
    }
}

impl Stored {
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
        resize(resizer, &self.raster, region, width, height)
    }
}

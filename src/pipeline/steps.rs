//! Single steps, for the benches in `tests/bench/steps.rs`; jobs go through [`super::Engine`].

use std::io::Cursor;

use fast_image_resize::Resizer;

use super::colour::Converter;
use super::decode::{DecodedSource, open};
use super::raster::Raster;
use super::{PipelineError, PixelLimits, Region, SourceInfo, inspect};
use crate::encoder::Picture;
use crate::job::Placeholder;

/// A decoded original.
pub struct DecodedOriginal {
    info: SourceInfo,
    opened: DecodedSource,
}

/// A size of it, in its own colours.
pub struct Size(Raster);

impl DecodedOriginal {
    /// Decodes `source`, each side divided by `reduction` (1, 2, 4 or 8) where its format makes that possible.
    pub fn decode(source: &[u8], reduction: u32) -> Result<Self, PipelineError> {
        let info = inspect(Cursor::new(source), &PixelLimits::NONE)?;
        Ok(Self { opened: open(source, &info, false, reduction)?, info })
    }

    /// The original at these widths, each made from the one before.
    pub fn cascade(&self, widths: &[u32]) -> Result<Vec<Size>, PipelineError> {
        let mut resizer = Resizer::new();
        let (stored_width, stored_height) = self.info.stored_size();
        let mut sizes: Vec<Size> = Vec::new();
        for width in widths {
            let height = (stored_height * width / stored_width).max(1);
            let (across, down) = sizes.last().map_or((stored_width, stored_height), |s| (s.0.width, s.0.height));
            let region = Region { x: 0.0, y: 0.0, width: f64::from(across), height: f64::from(down) };
            sizes.push(Size(match sizes.last() {
                None => self.opened.stored.resize(&mut resizer, region, *width, height)?,
                Some(Size(larger)) => super::resize::resize(&mut resizer, larger, region, *width, height)?,
            }));
        }
        Ok(sizes)
    }
}

impl Size {
    /// Its colours as sRGB, by the profile `icc`.
    pub fn convert(&self, icc: Option<&[u8]>) -> Result<Picture, PipelineError> {
        Converter::new(&self.0, icc).convert(&self.0)
    }
}

/// What stands in the place of an upright picture in sRGB.
pub fn placeholder(picture: &Picture) -> Result<Placeholder, PipelineError> {
    super::placeholder::placeholder(picture)
}

//! Lanczos3, in the source's depth, with alpha premultiplied.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{MulDiv, PixelType, ResizeError, ResizeOptions, Resizer};

use super::raster::{Model, Raster, Samples};
use super::{PipelineError, Region};
use crate::encoder::{Picture, Pixels};

/// Pixels to make others from.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    width: u32,
    height: u32,
    model: Model,
    alpha: bool,
    sixteen: bool,
    bytes: &'a [u8],
}

impl View<'_> {
    fn channels(&self) -> usize {
        self.model.colours() + usize::from(self.alpha)
    }
}

impl<'a> From<&'a Raster> for View<'a> {
    fn from(raster: &'a Raster) -> Self {
        let Raster { width, height, model, alpha, ref samples } = *raster;
        let (sixteen, bytes) = match samples {
            Samples::U8(samples) => (false, samples.as_slice()),
            Samples::U16(samples) => (true, bytemuck::cast_slice(samples)),
        };
        Self { width, height, model, alpha, sixteen, bytes }
    }
}

impl<'a> From<&'a Picture> for View<'a> {
    fn from(picture: &'a Picture) -> Self {
        let (alpha, bytes) = match &picture.pixels {
            Pixels::Rgb(samples) => (false, samples),
            Pixels::Rgba(samples) => (true, samples),
        };
        Self { width: picture.width, height: picture.height, model: Model::Rgb, alpha, sixteen: false, bytes }
    }
}

/// `region` of `source`, in its pixels, as `width` x `height` pixels.
pub(super) fn resize<'a>(
    resizer: &mut Resizer,
    source: impl Into<View<'a>>,
    region: Region,
    width: u32,
    height: u32,
) -> Result<Raster, PipelineError> {
    let source = source.into();
    // K is no alpha.
    let straight = source.alpha && source.model != Model::Cmyk;
    resize_as(resizer, source, straight, region, width, height)
}

/// The same of pixels whose colours are multiplied by their alpha, as they are in the result.
pub(super) fn resize_premultiplied(
    resizer: &mut Resizer,
    source: &Raster,
    region: Region,
    width: u32,
    height: u32,
) -> Result<Raster, PipelineError> {
    resize_as(resizer, source.into(), false, region, width, height)
}

fn resize_as(
    resizer: &mut Resizer,
    source: View<'_>,
    straight: bool,
    region: Region,
    width: u32,
    height: u32,
) -> Result<Raster, PipelineError> {
    let length = width as usize * height as usize * source.channels();
    let mut samples = if source.sixteen { Samples::U16(vec![0; length]) } else { Samples::U8(vec![0; length]) };
    let kind = pixel_type(&source);
    let options = options(region, source.width, source.height).use_alpha(straight);
    let from = ImageRef::new(source.width, source.height, source.bytes, kind).map_err(failed)?;
    let mut target = Image::from_slice_u8(width, height, bytes_mut(&mut samples), kind).map_err(failed)?;
    resizer.resize(&from, &mut target, &options).map_err(|e: ResizeError| failed(e))?;
    drop(target);
    Ok(Raster { width, height, model: source.model, alpha: source.alpha, samples })
}

/// Multiplies the colours of `raster`, or of one that [`resize`] made of such, by their alpha, in place; with `undo`,
/// divides them by it.
pub(super) fn premultiply(raster: &mut Raster, undo: bool) -> Result<(), PipelineError> {
    let kind = pixel_type(&View::from(&*raster));
    let (width, height) = (raster.width, raster.height);
    let mut image = Image::from_slice_u8(width, height, bytes_mut(&mut raster.samples), kind).map_err(failed)?;
    let arithmetic = MulDiv::new();
    if undo { arithmetic.divide_alpha_inplace(&mut image) } else { arithmetic.multiply_alpha_inplace(&mut image) }
        .map_err(failed)
}

/// `region` without the last bits by which arithmetic pushed it over the edge.
fn options(region: Region, width: u32, height: u32) -> ResizeOptions {
    let (width, height) = (f64::from(width), f64::from(height));
    let (x, y) = (region.x.clamp(0.0, width), region.y.clamp(0.0, height));
    ResizeOptions::new().crop(x, y, region.width.min(width - x), region.height.min(height - y))
}

fn failed(error: impl std::fmt::Display) -> PipelineError {
    PipelineError::bad_image(format!("it can't be resized: {error}"))
}

fn pixel_type(source: &View<'_>) -> PixelType {
    match (source.sixteen, source.channels()) {
        (false, 1) => PixelType::U8,
        (false, 2) => PixelType::U8x2,
        (false, 3) => PixelType::U8x3,
        (false, _) => PixelType::U8x4,
        (true, 1) => PixelType::U16,
        (true, 2) => PixelType::U16x2,
        (true, 3) => PixelType::U16x3,
        (true, _) => PixelType::U16x4,
    }
}

fn bytes_mut(samples: &mut Samples) -> &mut [u8] {
    match samples {
        Samples::U8(samples) => samples,
        Samples::U16(samples) => bytemuck::cast_slice_mut(samples),
    }
}

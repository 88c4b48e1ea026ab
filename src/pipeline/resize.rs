//! Lanczos3, in the source's depth, with alpha premultiplied.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeError, ResizeOptions, Resizer};

use super::raster::{Model, Raster, Samples};
use super::{PipelineError, Region};

/// `region` of `raster`, in its stored pixels, as `width` x `height` pixels.
pub(super) fn resize(
    resizer: &mut Resizer,
    raster: &Raster,
    region: Region,
    width: u32,
    height: u32,
) -> Result<Raster, PipelineError> {
    let length = width as usize * height as usize * raster.channels();
    let mut samples = match &raster.samples {
        Samples::U8(_) => Samples::U8(vec![0; length]),
        Samples::U16(_) => Samples::U16(vec![0; length]),
    };
    let kind = pixel_type(raster);
    let region = inside(region, raster);
    let options = ResizeOptions::new()
        .crop(region.x, region.y, region.width, region.height)
        // K is no alpha.
        .use_alpha(raster.alpha && raster.model != Model::Cmyk);
    let source = ImageRef::new(raster.width, raster.height, bytes(&raster.samples), kind).map_err(failed)?;
    let mut target = Image::from_slice_u8(width, height, bytes_mut(&mut samples), kind).map_err(failed)?;
    resizer.resize(&source, &mut target, &options).map_err(|e: ResizeError| failed(e))?;
    drop(target);
    Ok(Raster { width, height, samples, ..*raster })
}

/// `region` without the last bits by which arithmetic pushed it over the edge.
fn inside(region: Region, raster: &Raster) -> Region {
    let (width, height) = (f64::from(raster.width), f64::from(raster.height));
    let (x, y) = (region.x.clamp(0.0, width), region.y.clamp(0.0, height));
    Region { x, y, width: region.width.min(width - x), height: region.height.min(height - y) }
}

fn failed(error: impl std::fmt::Display) -> PipelineError {
    PipelineError::bad_image(format!("it can't be resized: {error}"))
}

fn pixel_type(raster: &Raster) -> PixelType {
    match (&raster.samples, raster.channels()) {
        (Samples::U8(_), 1) => PixelType::U8,
        (Samples::U8(_), 2) => PixelType::U8x2,
        (Samples::U8(_), 3) => PixelType::U8x3,
        (Samples::U8(_), _) => PixelType::U8x4,
        (Samples::U16(_), 1) => PixelType::U16,
        (Samples::U16(_), 2) => PixelType::U16x2,
        (Samples::U16(_), 3) => PixelType::U16x3,
        (Samples::U16(_), _) => PixelType::U16x4,
    }
}

fn bytes(samples: &Samples) -> &[u8] {
    match samples {
        Samples::U8(samples) => samples,
        Samples::U16(samples) => bytemuck::cast_slice(samples),
    }
}

fn bytes_mut(samples: &mut Samples) -> &mut [u8] {
    match samples {
        Samples::U8(samples) => samples,
        Samples::U16(samples) => bytemuck::cast_slice_mut(samples),
    }
}

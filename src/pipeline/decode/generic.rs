//! What `image` decodes as it should: WebP, GIF and BMP.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::DecodedRaster;
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// Memory that a decoder may take besides its result: tables, profiles, rows.
const SCRATCH_BYTES: u64 = 64 * 1024 * 1024;

/// What a decoder may take at most for this source.
pub(in crate::pipeline) fn limits(info: &SourceInfo) -> Limits {
    let mut limits = Limits::default();
    // Some decoders hold a frame and the canvas, at four samples a pixel whatever the file has.
    let frame = info.pixels().saturating_mul(4 * u64::from(info.bits / 8));
    limits.max_alloc = Some(frame.saturating_mul(3).saturating_add(SCRATCH_BYTES));
    limits
}

/// The first frame. The decoder gives all of it or nothing.
pub(super) fn webp(source: &[u8], info: &SourceInfo) -> Result<DecodedRaster, PipelineError> {
    read(WebPDecoder::new(Cursor::new(source)).map_err(refuse)?, info, false)
}

/// The first frame; with `tolerant`, what comes before the damage.
pub(super) fn gif(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    read(GifDecoder::new(Cursor::new(source)).map_err(refuse)?, info, tolerant)
}

/// The picture; with `tolerant`, what comes before the damage.
pub(super) fn bmp(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    read(BmpDecoder::new(Cursor::new(source)).map_err(refuse)?, info, tolerant)
}

/// Runs a decoder to its end.
fn read(mut decoder: impl ImageDecoder, info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    decoder.set_limits(limits(info)).map_err(refuse)?;
    let icc = decoder.icc_profile().ok().flatten();
    let raster = raster_of(decoder, tolerant).map_err(refuse)?;
    Ok(DecodedRaster { raster, icc })
}

/// The decoder's picture in the depth it has.
fn raster_of(decoder: impl ImageDecoder, tolerant: bool) -> Result<Raster, ImageError> {
    let (width, height) = decoder.dimensions();
    let colour = decoder.color_type();
    let count = width as usize * height as usize * usize::from(colour.channel_count());
    let deep = matches!(colour, ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16);
    let mut samples = if deep { Samples::U16(vec![0; count]) } else { Samples::U8(vec![0; count]) };
    let buffer = match &mut samples {
        Samples::U8(samples) => samples.as_mut_slice(),
        Samples::U16(samples) => bytemuck::cast_slice_mut(samples),
    };
    match decoder.read_image(buffer) {
        // What was decoded before the damage is in the buffer.
        Err(ImageError::Decoding(_) | ImageError::IoError(_)) if tolerant => {}
        outcome => outcome?,
    }
    let model = if colour.has_color() { Model::Rgb } else { Model::Grey };
    Ok(Raster { width, height, model, alpha: colour.has_alpha(), samples })
}

fn refuse(error: ImageError) -> PipelineError {
    match error {
        ImageError::Limits(limit) => PipelineError::TooLarge { detail: limit.to_string() },
        other => PipelineError::bad_image(other),
    }
}

//! What `image` decodes as it should: WebP, GIF, BMP, and TIFF but for ink.

use std::io::Cursor;

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, webp::WebPDecoder};
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::Decoded;
use crate::job::SourceFormat;
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

pub(super) fn decode(source: &[u8], info: &SourceInfo) -> Result<Decoded, PipelineError> {
    let bytes = Cursor::new(source);
    match info.format {
        SourceFormat::Webp => read(WebPDecoder::new(bytes).map_err(refuse)?, info),
        SourceFormat::Gif => read(GifDecoder::new(bytes).map_err(refuse)?, info),
        _ => read(BmpDecoder::new(bytes).map_err(refuse)?, info),
    }
}

/// Runs a decoder to its end.
pub(super) fn read(mut decoder: impl ImageDecoder, info: &SourceInfo) -> Result<Decoded, PipelineError> {
    decoder.set_limits(limits(info)).map_err(refuse)?;
    let icc = decoder.icc_profile().ok().flatten();
    let raster = raster_of(decoder).map_err(refuse)?;
    Ok(Decoded { raster, icc })
}

/// The decoder's picture in the depth it has; floating point becomes 16 bits.
fn raster_of(decoder: impl ImageDecoder) -> Result<Raster, ImageError> {
    let (width, height) = decoder.dimensions();
    let colour = decoder.color_type();
    let count = width as usize * height as usize * usize::from(colour.channel_count());
    let samples = match colour {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => {
            let mut samples = vec![0; count];
            decoder.read_image(&mut samples)?;
            Samples::U8(samples)
        }
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let mut samples = vec![0_u16; count];
            decoder.read_image(bytemuck::cast_slice_mut(&mut samples))?;
            Samples::U16(samples)
        }
        _ => {
            let mut samples = vec![0_f32; count];
            decoder.read_image(bytemuck::cast_slice_mut(&mut samples))?;
            Samples::U16(samples.into_iter().map(from_float).collect())
        }
    };
    let model = if colour.has_color() { Model::Rgb } else { Model::Grey };
    Ok(Raster { width, height, model, alpha: colour.has_alpha(), samples })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of u16; NaN is 0")]
fn from_float(sample: f32) -> u16 {
    (sample.clamp(0.0, 1.0) * 65_535.0).round() as u16
}

fn refuse(error: ImageError) -> PipelineError {
    match error {
        ImageError::Limits(limit) => PipelineError::TooLarge { detail: limit.to_string() },
        other => PipelineError::bad_image(other),
    }
}

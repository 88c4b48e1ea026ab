//! TIFF: by `image`, but ink by the tiff crate itself, since `image` would turn it into RGB without the profile.

use std::io::Cursor;

use image::codecs::tiff::TiffDecoder;
use image::{ExtendedColorType, ImageDecoder};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::{Decoded, decoder_limits, generic};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

pub(super) fn decode(source: &[u8], info: &SourceInfo) -> Result<Decoded, PipelineError> {
    let decoder = TiffDecoder::new(Cursor::new(source)).map_err(PipelineError::bad_image)?;
    match decoder.original_color_type() {
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16 => ink(source, info),
        _ => generic::read(decoder, info),
    }
}

fn ink(source: &[u8], info: &SourceInfo) -> Result<Decoded, PipelineError> {
    let bytes = usize::try_from(decoder_limits(info).max_alloc.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = bytes;
    limits.intermediate_buffer_size = bytes;
    let mut decoder = Decoder::new(Cursor::new(source)).map_err(PipelineError::bad_image)?.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(PipelineError::bad_image)?;
    let icc = decoder.get_tag_u8_vec(Tag::IccProfile).ok();
    let samples = match decoder.read_image().map_err(PipelineError::bad_image)? {
        DecodingResult::U8(samples) => Samples::U8(samples),
        DecodingResult::U16(samples) => Samples::U16(samples),
        _ => return Err(PipelineError::bad_image("its samples are no integers")),
    };
    let count = match &samples {
        Samples::U8(samples) => samples.len(),
        Samples::U16(samples) => samples.len(),
    };
    if count != width as usize * height as usize * 4 {
        return Err(PipelineError::bad_image("ink in separate planes can't be read"));
    }
    Ok(Decoded { raster: Raster { width, height, model: Model::Cmyk, alpha: false, samples }, icc })
}

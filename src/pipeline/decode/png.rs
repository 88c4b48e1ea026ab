//! PNG by the png crate, asked directly so that the rows of a truncated file are kept.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};

use super::png_colour::profile;
use super::{DecodedRaster, ICC_BYTES_MAX};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// What the decoder may take for its own buffers, besides a byte a pixel: two rows, and the window of zlib.
const ROWS_BYTES: usize = 2 * 1024 * 1024;

/// A PNG whose header is read, and what its pixels are.
pub(super) struct Open<'a> {
    pub(super) reader: Reader<Cursor<&'a [u8]>>,
    pub(super) model: Model,
    pub(super) alpha: bool,
    pub(super) sixteen: bool,
}

impl<'a> Open<'a> {
    pub(super) fn new(source: &'a [u8], info: &SourceInfo) -> Result<Self, PipelineError> {
        // A profile and a few rows; the pixels are ours. It also bounds what a compressed profile may grow to.
        let bytes = usize::try_from(info.pixels()).unwrap_or(usize::MAX).saturating_add(ICC_BYTES_MAX + ROWS_BYTES);
        let mut decoder = Decoder::new_with_limits(Cursor::new(source), Limits { bytes });
        decoder.set_ignore_text_chunk(true);
        decoder.set_transformations(Transformations::EXPAND);
        let reader = decoder.read_info().map_err(PipelineError::bad_image)?;
        let (colour, depth) = reader.output_color_type();
        let (model, alpha) = match colour {
            ColorType::Grayscale => (Model::Grey, false),
            ColorType::GrayscaleAlpha => (Model::Grey, true),
            ColorType::Rgb => (Model::Rgb, false),
            ColorType::Rgba => (Model::Rgb, true),
            ColorType::Indexed => return Err(PipelineError::bad_image("its palette is missing")),
        };
        Ok(Self { reader, model, alpha, sixteen: depth == BitDepth::Sixteen })
    }
}

pub(super) fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    let Open { mut reader, model, alpha, sixteen } = Open::new(source, info)?;
    let size = reader.output_buffer_size().ok_or_else(|| PipelineError::bad_image("it is too large for memory"))?;
    let mut samples = if sixteen { Samples::U16(vec![0; size / 2]) } else { Samples::U8(vec![0; size]) };
    let bytes = match &mut samples {
        Samples::U8(samples) => samples.as_mut_slice(),
        Samples::U16(samples) => bytemuck::cast_slice_mut(samples),
    };
    match reader.next_frame(bytes) {
        Ok(_) => {}
        // The rows before the damage are in the buffer.
        Err(_) if tolerant => {}
        Err(e) => return Err(PipelineError::bad_image(e)),
    }
    if let Samples::U16(samples) = &mut samples {
        for sample in samples {
            *sample = u16::from_be(*sample);
        }
    }
    let (width, height) = reader.info().size();
    let icc = profile(reader.info());
    Ok(DecodedRaster { raster: Raster { width, height, model, alpha, samples }, icc })
}

//! PNG by the png crate, asked directly so that the rows of a truncated file are kept.

use std::io::{Cursor, ErrorKind};

use png::{
    BitDepth, ColorType, Decoder, DecodingError, InterlaceInfo, Limits, Reader, Transformations, expand_interlaced_row,
};

use super::png_colour::profile;
use super::{DecodedRaster, ICC_BYTES_MAX};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// What the decoder may take for its own buffers, besides a byte a pixel: two rows, and the window of zlib.
const ROWS_BYTES: usize = 2 * 1024 * 1024;

/// A PNG whose header is read, and what its pixels are.
pub(in crate::pipeline) struct Open<'a> {
    pub(in crate::pipeline) reader: Reader<Cursor<&'a [u8]>>,
    /// What explains its colours.
    pub(in crate::pipeline) icc: Option<Vec<u8>>,
    pub(super) model: Model,
    pub(super) alpha: bool,
    pub(super) sixteen: bool,
}

impl<'a> Open<'a> {
    pub(in crate::pipeline) fn new(source: &'a [u8], info: &SourceInfo) -> Result<Self, PipelineError> {
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
        let icc = profile(reader.info());
        Ok(Self { reader, icc, model, alpha, sixteen: depth == BitDepth::Sixteen })
    }
}

pub(super) fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    let Open { mut reader, icc, model, alpha, sixteen } = Open::new(source, info)?;
    let size = reader.output_buffer_size().ok_or_else(|| PipelineError::bad_image("it is too large for memory"))?;
    let mut samples = if sixteen { Samples::U16(vec![0; size / 2]) } else { Samples::U8(vec![0; size]) };
    let bytes = match &mut samples {
        Samples::U8(samples) => samples.as_mut_slice(),
        Samples::U16(samples) => bytemuck::cast_slice_mut(samples),
    };
    match read_rows(&mut reader, bytes) {
        Ok(()) => {}
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
    Ok(DecodedRaster { raster: Raster { width, height, model, alpha, samples }, icc })
}

/// Reads every row. What ends the file may be missing.
fn read_rows(reader: &mut Reader<Cursor<&[u8]>>, bytes: &mut [u8]) -> Result<(), DecodingError> {
    let (width, height) = reader.info().size();
    let stride = reader.output_line_size(width).ok_or(DecodingError::LimitsExceeded)?;
    if !reader.info().interlaced {
        for row in bytes.chunks_exact_mut(stride) {
            reader.read_row(row)?;
        }
        return finish_data(reader);
    }
    let (colour, depth) = reader.output_color_type();
    let bits = u8::try_from(colour.samples() * depth as usize).unwrap_or(u8::MAX);
    for _ in 0..interlaced_rows(width, height) {
        if let Some(row) = reader.next_interlaced_row()?
            && let InterlaceInfo::Adam7(pass) = row.interlace()
        {
            expand_interlaced_row(bytes, stride, row.data(), pass, bits);
        }
    }
    finish_data(reader)
}

/// Reads what is left of the pixels' data behind the last row: a checksum that doesn't hold is damage. That the file ends
/// there is none. Every row must have been read.
pub(super) fn finish_data(reader: &mut Reader<Cursor<&[u8]>>) -> Result<(), DecodingError> {
    match reader.read_row(&mut []) {
        Err(DecodingError::IoError(error)) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        finished => finished.map(drop),
    }
}

/// Rows of all seven passes.
fn interlaced_rows(width: u32, height: u32) -> u32 {
    // Where each begins, across and down, and its steps.
    const PASSES: [[u32; 4]; 7] =
        [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
    let rows = |[x, y, _, down]: [u32; 4]| if x < width { height.saturating_sub(y).div_ceil(down) } else { 0 };
    PASSES.into_iter().map(rows).sum()
}

//! PNG by the png crate, asked directly so that the rows of a truncated file are kept.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::{Decoded, decoder_limits};
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

pub(super) fn decode(source: &[u8], info: &SourceInfo, tolerant: bool) -> Result<Decoded, PipelineError> {
    let bytes = usize::try_from(decoder_limits(info).max_alloc.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(Cursor::new(source), Limits { bytes });
    decoder.set_ignore_text_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(PipelineError::bad_image)?;
    let (colour, depth) = reader.output_color_type();
    let (model, alpha) = match colour {
        ColorType::Grayscale => (Model::Grey, false),
        ColorType::GrayscaleAlpha => (Model::Grey, true),
        ColorType::Rgb => (Model::Rgb, false),
        ColorType::Rgba => (Model::Rgb, true),
        ColorType::Indexed => return Err(PipelineError::bad_image("its palette is missing")),
    };
    let size = reader.output_buffer_size().ok_or_else(|| PipelineError::bad_image("it is too large for memory"))?;
    let mut bytes = vec![0; size];
    match reader.next_frame(&mut bytes) {
        Ok(_) => {}
        // The rows before the damage are in the buffer.
        Err(_) if tolerant => {}
        Err(e) => return Err(PipelineError::bad_image(e)),
    }
    let samples = match depth {
        BitDepth::Sixteen => {
            Samples::U16(bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect())
        }
        _ => Samples::U8(bytes),
    };
    let (width, height) = reader.info().size();
    let icc = reader.info().icc_profile.as_deref().map(<[u8]>::to_vec);
    Ok(Decoded { raster: Raster { width, height, model, alpha, samples }, icc })
}

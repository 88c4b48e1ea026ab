//! JPEG by zune-jpeg, asked directly so that CMYK comes as it is stored.

use std::cell::Cell;

use zune_core::bytestream::ZByteReaderTrait;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::DecodedRaster;
use super::jpeg_sentinel::SentinelReader;
use super::jpeg_structure::Structure;
use crate::pipeline::PipelineError;
use crate::pipeline::raster::{Model, Raster, Samples};

/// Decodes `source`. Damage in the picture's data is an error unless `tolerant`.
pub(super) fn decode(source: &[u8], tolerant: bool) -> Result<DecodedRaster, PipelineError> {
    let structure = Structure::of(source);
    structure.check_scans()?;
    let reached = Cell::new(false);
    if structure.end.is_none() && !tolerant {
        return Err(PipelineError::Truncated);
    }
    let file = &source[..structure.end.unwrap_or(structure.walked)];
    let outcome = match run(SentinelReader::new(file, &reached), &structure, !tolerant) {
        // The strict mode notices damage that the other paints grey, but it also refuses bytes between segments, which
        // are common and harmless.
        Err(DecodeErrors::FormatStatic(detail)) if detail.contains("Extra bytes") => {
            run(SentinelReader::new(&without_extra_bytes(file, &structure), &reached), &structure, true)
        }
        outcome => outcome,
    };
    outcome.map_err(|e| if reached.get() { PipelineError::Truncated } else { PipelineError::bad_image(e) })
}

fn run<R: ZByteReaderTrait>(reader: R, structure: &Structure, strict: bool) -> Result<DecodedRaster, DecodeErrors> {
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(reader, options);
    decoder.decode_headers()?;
    let missing = DecodeErrors::FormatStatic("there is no frame header");
    let (Some(info), Some(stored)) = (decoder.info(), decoder.input_colorspace()) else { return Err(missing) };
    let (model, asked) = match (info.components, stored) {
        (1, _) => (Model::Grey, ColorSpace::Luma),
        (4, ColorSpace::YCCK) => (Model::Cmyk, ColorSpace::YCCK),
        (4, _) => (Model::Cmyk, ColorSpace::CMYK),
        // Said to be YCbCr, and so not converted.
        (_, ColorSpace::YCbCr) if is_rgb_by_name(structure) => (Model::Rgb, ColorSpace::YCbCr),
        _ => (Model::Rgb, ColorSpace::RGB),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(asked));
    let mut samples = decoder.decode()?;
    if asked == ColorSpace::YCCK {
        ycck_to_cmyk(&mut samples);
    } else if model == Model::Cmyk && structure.adobe {
        // Adobe's programs store ink inverted, 255 for none, and say so only by signing the file.
        for sample in &mut samples {
            *sample = 255 - *sample;
        }
    }
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let samples = Samples::U8(samples);
    Ok(DecodedRaster { raster: Raster { width, height, model, alpha: false, samples }, icc: decoder.icc_profile() })
}

/// Without a marker that says otherwise, components called R, G and B are what they are called.
pub(super) fn is_rgb_by_name(structure: &Structure) -> bool {
    let names = structure.frame.iter().flat_map(|frame| &frame.components).map(|component| component.id);
    !structure.adobe && !structure.jfif && names.eq(*b"RGB")
}

/// `file` with its segments one after the other.
fn without_extra_bytes(file: &[u8], structure: &Structure) -> Vec<u8> {
    let mut joined = file[..2].to_vec();
    for segment in &structure.segments {
        joined.extend(&file[segment.clone()]);
    }
    joined.extend(&file[structure.segments.last().map_or(2, |segment| segment.end)..]);
    joined
}

/// Full-range YCbCr of BT.601, in 16-bit fixed point.
pub(super) fn rgb_of_ycbcr(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    let r = y + ((91_881 * cr + half) >> 16);
    let g = y - ((22_554 * cb + 46_802 * cr + half) >> 16);
    let b = y + ((116_130 * cb + half) >> 16);
    [r, g, b].map(|value| u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX))
}

/// YCCK is inverted CMY as YCbCr, and inverted K; only Adobe's programs write it.
fn ycck_to_cmyk(samples: &mut [u8]) {
    for pixel in samples.chunks_exact_mut(4) {
        // The file holds 255 - (255 - R) = R where CMYK proper wants C = 255 - R, and it holds that inverted once more:
        // R it is.
        let [c, m, y] = rgb_of_ycbcr(pixel[0], pixel[1], pixel[2]);
        pixel.copy_from_slice(&[c, m, y, 255 - pixel[3]]);
    }
}

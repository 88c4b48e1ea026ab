//! JPEG by zune-jpeg, asked directly so that CMYK comes as it is stored.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::Decoded;
use crate::pipeline::PipelineError;
use crate::pipeline::raster::{Model, Raster, Samples};

/// Decodes `source`. Damage in the picture's data is an error unless `tolerant`.
pub(super) fn decode(source: &[u8], tolerant: bool) -> Result<Decoded, PipelineError> {
    if tolerant {
        return run(source, false).map_err(refuse);
    }
    // The strict mode notices damage that the other paints grey, but it also refuses bytes between segments, which are
    // common and harmless.
    match run(source, true) {
        Err(DecodeErrors::FormatStatic(detail)) if detail.contains("Extra bytes") => run(source, false),
        outcome => outcome,
    }
    .map_err(refuse)
}

fn run(source: &[u8], strict: bool) -> Result<Decoded, DecodeErrors> {
    let options = DecoderOptions::default()
        .set_strict_mode(strict)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(source), options);
    decoder.decode_headers()?;
    let missing = DecodeErrors::FormatStatic("there is no frame header");
    let (Some(info), Some(stored)) = (decoder.info(), decoder.input_colorspace()) else { return Err(missing) };
    let (model, asked) = match (info.components, stored) {
        (1, _) => (Model::Grey, ColorSpace::Luma),
        (4, ColorSpace::YCCK) => (Model::Cmyk, ColorSpace::YCCK),
        (4, _) => (Model::Cmyk, ColorSpace::CMYK),
        _ => (Model::Rgb, ColorSpace::RGB),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(asked));
    let mut samples = decoder.decode()?;
    if asked == ColorSpace::YCCK {
        ycck_to_cmyk(&mut samples);
    } else if model == Model::Cmyk && has_adobe_marker(source) {
        for sample in &mut samples {
            *sample = 255 - *sample;
        }
    }
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let samples = Samples::U8(samples);
    Ok(Decoded { raster: Raster { width, height, model, alpha: false, samples }, icc: decoder.icc_profile() })
}

fn refuse(error: DecodeErrors) -> PipelineError {
    PipelineError::bad_image(error)
}

/// Adobe's programs store ink inverted, 255 for none, and say so only by signing the file.
pub(super) fn has_adobe_marker(source: &[u8]) -> bool {
    let mut rest = source.get(2..).unwrap_or_default();
    while let [0xFF, code, high, low, after @ ..] = rest {
        match code {
            0xEE if after.starts_with(b"Adobe") => return true,
            0xDA => return false,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(2 + length..).unwrap_or_default();
    }
    false
}

/// YCCK is inverted CMY as YCbCr, and inverted K; only Adobe's programs write it.
fn ycck_to_cmyk(samples: &mut [u8]) {
    for pixel in samples.chunks_exact_mut(4) {
        let (y, cb, cr) = (i32::from(pixel[0]), i32::from(pixel[1]) - 128, i32::from(pixel[2]) - 128);
        let half = 1 << 15;
        // BT.601 in 16-bit fixed point. The file holds 255 - (255 - R) = R where CMYK proper wants C = 255 - R, and it
        // holds that inverted once more: R it is.
        let r = y + ((91_881 * cr + half) >> 16);
        let g = y - ((22_554 * cb + 46_802 * cr + half) >> 16);
        let b = y + ((116_130 * cb + half) >> 16);
        let clamped = |value: i32| u8::try_from(value.clamp(0, 255)).unwrap_or(u8::MAX);
        pixel[0] = clamped(r);
        pixel[1] = clamped(g);
        pixel[2] = clamped(b);
        pixel[3] = 255 - pixel[3];
    }
}

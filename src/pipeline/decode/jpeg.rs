//! JPEG by zune-jpeg, asked directly so that CMYK comes as it is stored.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::Decoded;
use crate::pipeline::PipelineError;
use crate::pipeline::raster::{Model, Raster, Samples};

pub(super) fn decode(source: &[u8]) -> Result<Decoded, PipelineError> {
    // Not strict: what strictness refuses (bytes between segments, odd markers) is common and harmless. Whether the
    // file is whole has been looked at before.
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(source), options);
    decoder.decode_headers().map_err(refuse)?;
    let stored = decoder.input_colorspace().ok_or_else(|| PipelineError::bad_image("it has no frame header"))?;
    let components = decoder.info().map_or(0, |info| info.components);
    let (model, asked) = match (components, stored) {
        (1, _) => (Model::Grey, ColorSpace::Luma),
        (4, ColorSpace::YCCK) => (Model::Cmyk, ColorSpace::YCCK),
        (4, _) => (Model::Cmyk, ColorSpace::CMYK),
        _ => (Model::Rgb, ColorSpace::RGB),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(asked));
    let mut samples = decoder.decode().map_err(refuse)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| PipelineError::bad_image("it has no dimensions"))?;
    if asked == ColorSpace::YCCK {
        ycck_to_cmyk(&mut samples);
    } else if model == Model::Cmyk && has_adobe_marker(source) {
        samples.iter_mut().for_each(|sample| *sample = 255 - *sample);
    }
    let icc = decoder.icc_profile();
    let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    let raster = Raster { width: side(width), height: side(height), model, alpha: false, samples: Samples::U8(samples) };
    Ok(Decoded { raster, icc })
}

fn refuse(error: zune_jpeg::errors::DecodeErrors) -> PipelineError {
    PipelineError::bad_image(error)
}

/// Adobe's programs store ink inverted, 255 for none, and say so only by signing the file.
fn has_adobe_marker(source: &[u8]) -> bool {
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

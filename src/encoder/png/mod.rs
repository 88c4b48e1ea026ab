//! PNG in the smallest pixel format that loses nothing; of an original with a palette, in a palette where that doesn't show.
//!
//! The png crate writes the file; rows are filtered here and deflated by libdeflate, which sees nothing but them.

mod fewer;
mod filter;
mod reduce;

use libdeflater::{CompressionLvl, Compressor};
use png::{DeflateCompression, EncodingError, Filter};

use super::palette::Palette;
use super::{EncodeError, EncodeSettings, Encoder, Picture, WorkingMemory, tuning};
use crate::job::Format;
use fewer::with_fewer_colours;
use reduce::Reduced;

/// Up to so many colours packed numbers of them are always the smallest; above, filtered pixels may be.
const CLEARLY_FEW: usize = 16;

/// What a file holds besides its pixels, generously: signature, chunks, a palette.
const HEADERS: usize = 2048;

/// Bytes before the second chunk: the signature, then length, type, thirteen bytes and checksum of the first.
const IHDR_END: usize = 8 + 4 + 4 + 13 + 4;

/// Makes PNG files: palette or grey down to 1 bit, grey + alpha, RGB or RGBA; 8 bits a sample at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Png;

impl Encoder for Png {
    fn format(&self) -> Format {
        Format::Png
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let knobs = tuning::png(*settings);
        // Looking for colours that don't show takes ten times as long as a file does.
        let fewer = settings.few_colours && knobs.deflate_level.is_some();
        let made = if fewer { with_few_colours(picture, knobs) } else { smallest(picture, knobs) };
        made.map_err(|e| EncodeError::new(Format::Png, picture, e))
    }

    /// As a chunk behind IHDR.
    fn with_exif(&self, file: Vec<u8>, exif: &[u8], _: (u32, u32)) -> Vec<u8> {
        let (Some((before, after)), Ok(length)) = (file.split_at_checked(IHDR_END), u32::try_from(exif.len())) else {
            return file;
        };
        let chunk = [b"eXIf", exif].concat();
        let checksum = crc32fast::hash(&chunk);
        [before, &length.to_be_bytes(), &chunk, &checksum.to_be_bytes(), after].concat()
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        let exact = WorkingMemory { fixed: 0, per_pixel: 10 };
        // The exact file and a picture beside it; the colours that there are, and what scoring a band takes.
        let fewer = WorkingMemory { fixed: 48 * 1024 * 1024, per_pixel: 20 };
        if settings.few_colours { fewer } else { exact }
    }
}

/// As it is, or with fewer colours where that is smaller.
fn with_few_colours(picture: &Picture, knobs: tuning::PngKnobs) -> Result<Vec<u8>, EncodingError> {
    let exact = smallest(picture, knobs)?;
    let Some(fewer) = with_fewer_colours(picture) else { return Ok(exact) };
    let file = smallest(&fewer, knobs)?;
    Ok(if file.len() < exact.len() { file } else { exact })
}

fn smallest(picture: &Picture, knobs: tuning::PngKnobs) -> Result<Vec<u8>, EncodingError> {
    let Some(palette) = Palette::of(picture) else {
        return write(picture, &Reduced::direct(picture), knobs);
    };
    let packed = write(picture, &Reduced::few_colours(picture, &palette), knobs)?;
    if palette.colours.len() <= CLEARLY_FEW {
        return Ok(packed);
    }
    // A grey photo, or a shadow: few colours, but neighbours are alike, and filters make use of that.
    let direct = write(picture, &Reduced::direct(picture), knobs)?;
    Ok(if direct.len() < packed.len() { direct } else { packed })
}

fn write(picture: &Picture, reduced: &Reduced<'_>, knobs: tuning::PngKnobs) -> Result<Vec<u8>, EncodingError> {
    // fdeflate is made for filtered pixels; numbers of colours it would hardly shrink.
    let level = knobs.deflate_level.or((!reduced.filtered).then_some(1));
    let stream = level.map(|level| deflate(&reduced.rows(picture), level));
    let mut file = Vec::with_capacity(stream.as_ref().map_or(0, |stream| stream.len() + HEADERS));
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(reduced.colour);
    encoder.set_depth(reduced.depth);
    // What the pixels mean: nobody has to guess, and no profile has to be carried along.
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    if let Some(palette) = &reduced.palette {
        encoder.set_palette(palette);
    }
    if let Some(transparency) = &reduced.transparency {
        encoder.set_trns(transparency);
    }
    encoder.set_filter(Filter::Adaptive);
    encoder.set_deflate_compression(DeflateCompression::FdeflateUltraFast);
    let mut writer = encoder.write_header()?;
    match stream {
        Some(stream) => writer.write_chunk(png::chunk::IDAT, &stream)?,
        None => writer.write_image_data(&reduced.samples)?,
    }
    writer.finish()?;
    Ok(file)
}

/// A zlib stream of `rows`.
fn deflate(rows: &[u8], level: u8) -> Vec<u8> {
    let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
    let mut compressor = Compressor::new(level);
    let mut stream = vec![0; compressor.zlib_compress_bound(rows.len())];
    let length = compressor.zlib_compress(rows, &mut stream).expect("INVARIANT: the bound is enough for any input");
    stream.truncate(length);
    stream
}

#[cfg(test)]
mod tests;

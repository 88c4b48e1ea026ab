//! JPEG by jpeg-decoder at a half, a quarter or an eighth of its size: what the smaller picture doesn't show is never
//! computed and never in memory. A progressive JPEG's coefficients still are: its last scan may change any of them.

use std::io::{self, Read};

use jpeg_decoder::{ColorTransform, Decoder};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::DecodedRaster;
use super::jpeg::is_rgb_by_name;
use super::jpeg_structure::Structure;
use crate::pipeline::raster::{Model, Raster, Samples};
use crate::pipeline::{PipelineError, SourceInfo};

/// Decodes `source`, each side divided by `reduction` (2, 4 or 8) and rounded up. Damage in the picture's data is an
/// error.
///
/// Call it on a thread of a rayon pool: that is where the decoder looks for help.
pub(super) fn decode(source: &[u8], info: &SourceInfo, reduction: u32) -> Result<DecodedRaster, PipelineError> {
    let (stored_width, stored_height) = info.stored_size();
    let (width, height) = (stored_width.div_ceil(reduction), stored_height.div_ceil(reduction));
    let structure = Structure::of(source);
    structure.check_scans()?;
    let (model, transform) = colours(source, &structure)?;
    let mut decoder = Decoder::new(GuardedJpeg::new(source));
    decoder.set_color_transform(transform);
    decoder.set_max_decoding_buffer_size(width as usize * height as usize * model.colours());
    let side = |length: u32| u16::try_from(length).map_err(PipelineError::bad_image);
    let scaled = decoder.scale(side(width)?, side(height)?).map_err(PipelineError::bad_image)?;
    if (u32::from(scaled.0), u32::from(scaled.1)) != (width, height) {
        return Err(PipelineError::bad_image(format!("it can't be read at {width} x {height} pixels")));
    }
    let mut samples = decoder.decode().map_err(PipelineError::bad_image)?;
    if samples.len() != width as usize * height as usize * model.colours() {
        return Err(PipelineError::bad_image("its components don't make a picture"));
    }
    // The decoder takes all ink for inverted, which only Adobe's programs store it as.
    if transform == ColorTransform::CMYK && !structure.adobe {
        for sample in &mut samples {
            *sample = 255 - *sample;
        }
    }
    let icc = decoder.icc_profile();
    Ok(DecodedRaster { raster: Raster { width, height, model, alpha: false, samples: Samples::U8(samples) }, icc })
}

/// What the components mean. zune-jpeg's headers say it for pictures of all sizes alike.
fn colours(source: &[u8], structure: &Structure) -> Result<(Model, ColorTransform), PipelineError> {
    let side_max = usize::from(u16::MAX);
    let options = DecoderOptions::default().set_max_width(side_max).set_max_height(side_max);
    let mut headers = JpegDecoder::new_with_options(ZCursor::new(source), options);
    headers.decode_headers().map_err(PipelineError::bad_image)?;
    match headers.input_colorspace() {
        Some(ColorSpace::Luma) => Ok((Model::Grey, ColorTransform::Grayscale)),
        Some(ColorSpace::RGB) => Ok((Model::Rgb, ColorTransform::RGB)),
        Some(ColorSpace::YCbCr) if is_rgb_by_name(structure) => Ok((Model::Rgb, ColorTransform::RGB)),
        Some(ColorSpace::YCbCr) => Ok((Model::Rgb, ColorTransform::YCbCr)),
        Some(ColorSpace::CMYK) => Ok((Model::Cmyk, ColorTransform::CMYK)),
        Some(ColorSpace::YCCK) => Ok((Model::Cmyk, ColorTransform::YCCK)),
        other => Err(PipelineError::bad_image(format!("its colours can't be read: {other:?}"))),
    }
}

/// Bits that no Huffman table has a code for, as they look in a scan: 48 ones.
///
/// The longest code and the bits after it are 31, so 16 are left for the next code, which there is none for. One byte
/// more and the decoder would not find the marker behind them.
const NO_CODE: &[u8] = &[0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0];

/// A JPEG with [`NO_CODE`] before every marker that ends entropy-coded data.
///
/// jpeg-decoder reads zeros where such data ends too soon, and paints grey. Here it finds what is no code, and says so.
/// Where the data is whole it never looks at them.
struct GuardedJpeg<'a> {
    /// What is handed out next.
    chunk: &'a [u8],
    /// What comes behind it.
    rest: &'a [u8],
    at: Section,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Before a segment, or bytes between segments.
    Segments,
    /// Inside entropy-coded data.
    Data,
    /// Before the marker that ends it.
    Marker,
    /// Behind the picture.
    Behind,
}

impl<'a> GuardedJpeg<'a> {
    fn new(source: &'a [u8]) -> Self {
        Self { chunk: &[], rest: source, at: Section::Segments }
    }

    fn next_chunk(&mut self) {
        let length = match self.at {
            Section::Segments => self.segment(),
            Section::Data => {
                self.at = Section::Marker;
                self.data()
            }
            Section::Marker => {
                self.at = match code(self.rest) {
                    Some((0xD0..=0xD7, _)) => Section::Data,
                    _ => Section::Segments,
                };
                self.chunk = NO_CODE;
                // A restart's marker goes out with the data that follows it.
                return;
            }
            Section::Behind => self.rest.len(),
        };
        (self.chunk, self.rest) = self.rest.split_at(length.min(self.rest.len()));
    }

    /// Bytes of the segment, or of what is between segments, that `rest` starts with.
    fn segment(&mut self) -> usize {
        match code(self.rest) {
            None => 1 + self.rest.iter().skip(1).take_while(|byte| **byte != 0xFF).count(),
            Some((0xD9, before)) => {
                self.at = Section::Behind;
                before + 1
            }
            Some((0x01 | 0xD0..=0xD8, before)) => before + 1,
            Some((code, before)) => {
                if code == 0xDA {
                    self.at = Section::Data;
                }
                let length = self.rest.get(before + 1..before + 3).map_or(0, |l| u16::from_be_bytes([l[0], l[1]]));
                before + 1 + usize::from(length)
            }
        }
    }

    /// Bytes of entropy-coded data that `rest` starts with, a restart marker before it included.
    fn data(&self) -> usize {
        let mut from = match code(self.rest) {
            Some((0xD0..=0xD7, before)) => before + 1,
            _ => 0,
        };
        while let Some(found) = self.rest[from..].iter().position(|byte| *byte == 0xFF) {
            match code(&self.rest[from + found..]) {
                Some(_) => return from + found,
                None => from += found + 1,
            }
        }
        self.rest.len()
    }
}

/// The code of the marker that `bytes` starts with, and how many bytes come before the code; none if it is no marker.
fn code(bytes: &[u8]) -> Option<(u8, usize)> {
    let before = bytes.iter().take_while(|byte| **byte == 0xFF).count();
    let code = *bytes.get(before)?;
    (before > 0 && code != 0).then_some((code, before))
}

impl Read for GuardedJpeg<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() && !self.rest.is_empty() {
            self.next_chunk();
        }
        if self.chunk.is_empty() && !self.rest.is_empty() {
            // Data that begins with its end.
            self.next_chunk();
        }
        let count = self.chunk.len().min(into.len());
        let (read, left) = self.chunk.split_at(count);
        into[..count].copy_from_slice(read);
        self.chunk = left;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_of_entropy_coded_data_are_guarded() {
        let mut source = b"\xFF\xD8\xFF\xE0\0\x04\xFF\xD9\xFF\xDA\0\x03\x01".to_vec();
        let head = source.len();
        source.extend(b"ab\xFF\0c\xFF\xD0d\xFF\xFF\xD1\xFF\xD9trailing\xFF\xDA");
        let mut guarded = Vec::new();
        GuardedJpeg::new(&source).read_to_end(&mut guarded).expect("memory");
        let expected = [
            &source[..head],
            b"ab\xFF\0c",
            NO_CODE,
            b"\xFF\xD0d",
            NO_CODE,
            b"\xFF\xFF\xD1",
            NO_CODE,
            b"\xFF\xD9trailing\xFF\xDA",
        ];
        assert_eq!(guarded, expected.concat());
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        for source in [&b""[..], b"\xFF", b"\xFF\xDA", b"\xFF\xDA\0\x02", b"\xFF\xDA\0\x02\xFF\xD0\xFF", b"xx\xFF\0"] {
            let mut guarded = Vec::new();
            GuardedJpeg::new(source).read_to_end(&mut guarded).expect("memory");
            assert!(guarded.len() >= source.len());
        }
    }
}

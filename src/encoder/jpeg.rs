//! JPEG by mozjpeg, most often in its libjpeg-turbo mode.

use mozjpeg::qtable::{AnnexK_Chroma, AnnexK_Luma, KleinSilversteinCarney, QTable};
use mozjpeg::{ColorSpace, Compress};

use super::{EncodeError, EncodeSettings, Encoder, Picture, Pixels, WorkingMemory, tuning};
use crate::job::Format;

/// Below so many bytes the tables of several passes can cost more than the passes save.
const SMALL: usize = 16 * 1024;

/// Makes JPEG files: sRGB, 8 bits, grey where the picture is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Jpeg;

impl Encoder for Jpeg {
    fn format(&self) -> Format {
        Format::Jpeg
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let Pixels::Rgb(samples) = &picture.pixels else {
            return Err(EncodeError::new(Format::Jpeg, picture, "it has no alpha channel; flatten the picture first"));
        };
        let knobs = tuning::jpeg(*settings);
        let written = if picture.is_grey() {
            let grey: Vec<u8> = samples.iter().step_by(3).copied().collect();
            smallest(picture, &grey, ColorSpace::JCS_GRAYSCALE, knobs)
        } else {
            smallest(picture, samples, ColorSpace::JCS_RGB, knobs)
        };
        written.map_err(|e| EncodeError::new(Format::Jpeg, picture, e))
    }

    /// As a segment behind SOI and JFIF's own segment.
    fn with_exif(&self, file: Vec<u8>, exif: &[u8], _: (u32, u32)) -> Vec<u8> {
        let jfif = match file.get(2..6) {
            Some([0xFF, 0xE0, high, low]) => 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        };
        let (Some((before, after)), Ok(length)) = (file.split_at_checked(2 + jfif), u16::try_from(exif.len() + 8))
        else {
            return file;
        };
        [before, &[0xFF, 0xE1], &length.to_be_bytes(), b"Exif\0\0", exif, after].concat()
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        // In full colour: coefficients in two bytes each, three a pixel instead of one and a half, and a larger file.
        let per_pixel = if tuning::jpeg(*settings).halve_colour { 4 } else { 8 };
        WorkingMemory { fixed: 0, per_pixel }
    }
}

fn smallest(
    picture: &Picture,
    samples: &[u8],
    colour: ColorSpace,
    knobs: tuning::JpegKnobs,
) -> std::io::Result<Vec<u8>> {
    let file = write(picture, samples, colour, knobs)?;
    // Scans chosen by trial are never larger but for their headers; trellis gives other pixels, not only other bytes.
    let surely_smaller = knobs.trellis || (knobs.optimise_scans && file.len() > SMALL);
    if !knobs.progressive || surely_smaller {
        return Ok(file);
    }
    let in_one_pass = tuning::JpegKnobs { progressive: false, optimise_scans: false, ..knobs };
    let baseline = write(picture, samples, colour, in_one_pass)?;
    Ok(if baseline.len() < file.len() { baseline } else { file })
}

fn write(picture: &Picture, samples: &[u8], colour: ColorSpace, knobs: tuning::JpegKnobs) -> std::io::Result<Vec<u8>> {
    let mut compress = Compress::new(colour);
    compress.set_size(picture.width as usize, picture.height as usize);
    if !knobs.trellis {
        // Resets everything but the size: it has to come before the other settings.
        compress.set_fastest_defaults();
    }
    let (luma, chroma) = tables(knobs);
    compress.set_luma_qtable(&luma);
    if colour == ColorSpace::JCS_RGB {
        compress.set_chroma_qtable(&chroma);
        let size = if knobs.halve_colour { (2, 2) } else { (1, 1) };
        compress.set_chroma_sampling_pixel_sizes(size, size);
    }
    // Before the passes: they are cut for it.
    compress.set_optimize_scans(knobs.optimise_scans);
    if knobs.progressive {
        compress.set_progressive_mode();
    }
    compress.set_optimize_coding(knobs.optimise_huffman);
    let mut started = compress.start_compress(Vec::new())?;
    started.write_scanlines(samples)?;
    started.finish()
}

/// How coarse each frequency is stored, for brightness and for colour.
///
/// With colour halved, the table of Klein, Silverstein and Carney (1992), made from how well people see each frequency,
/// gives 11 to 13 % fewer bytes at equal SSIMULACRA2 (72 to 82) than the one in the standard's annex K, on photos that
/// it wasn't chosen by as on those that it was. With colour in full the annex's is the better one, by 9 %.
fn tables(knobs: tuning::JpegKnobs) -> (QTable, QTable) {
    let quality = f32::from(knobs.quality_tenths) / 10.0;
    let scaled = |table: &QTable| table.scaled(quality, quality);
    if knobs.halve_colour {
        (scaled(&KleinSilversteinCarney), scaled(&KleinSilversteinCarney))
    } else {
        (scaled(&AnnexK_Luma), scaled(&AnnexK_Chroma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gradients with texture, so that there is something to code everywhere.
    fn picture(width: u32, height: u32) -> Picture {
        let texture = |x: u32, y: u32| (x * x * 7 + y * y * 3 + x * y) % 41;
        let pixel = |x: u32, y: u32| [x / 4 + texture(x, y), y / 4 + texture(y, x), 90 + texture(x, x + y)];
        let rows = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y)));
        Picture { width, height, pixels: Pixels::Rgb(rows.map(|c| u8::try_from(c).unwrap_or(255)).collect()) }
    }

    fn encode(picture: &Picture, quality: u8, speed: u8) -> Vec<u8> {
        let settings = EncodeSettings { quality: Some(quality), speed: Some(speed), ..EncodeSettings::default() };
        Jpeg.encode(picture, &settings).expect("a file")
    }

    /// The frame header's marker and what it holds.
    fn frame(file: &[u8]) -> (u8, &[u8]) {
        let mut at = 2;
        loop {
            let length = usize::from(file[at + 2]) << 8 | usize::from(file[at + 3]);
            if let marker @ (0xC0..=0xC2) = file[at + 1] {
                return (marker, &file[at + 4..at + 2 + length]);
            }
            at += 2 + length;
        }
    }

    #[test]
    fn slow_speeds_are_progressive_and_fast_ones_baseline() {
        let picture = picture(400, 300);
        for speed in 1..=10 {
            let expected = if speed <= 6 { 0xC2 } else { 0xC0 };
            assert_eq!(frame(&encode(&picture, 90, speed)).0, expected, "speed {speed}");
        }
    }

    #[test]
    fn a_slower_speed_never_gives_a_larger_file() {
        for side in [24, 400] {
            let picture = picture(side, side);
            // With trellis the pixels differ too, so that bytes alone say nothing.
            let sizes: Vec<usize> = (3..=10).map(|speed| encode(&picture, 80, speed).len()).collect();
            assert!(sizes.is_sorted(), "{sizes:?}");
        }
    }

    #[test]
    fn a_tiny_picture_is_baseline_where_that_is_smaller() {
        assert_eq!(frame(&encode(&picture(16, 16), 80, 5)).0, 0xC0);
    }

    #[test]
    fn colour_is_halved_below_quality_90() {
        let sampling = |quality| frame(&encode(&picture(64, 64), quality, 7)).1[7];
        assert_eq!((sampling(89), sampling(90)), (0x22, 0x11));
    }

    #[test]
    fn every_quality_makes_a_file() {
        let picture = picture(40, 30);
        let sizes: Vec<usize> = [1, 10, 50, 89, 90, 100].map(|quality| encode(&picture, quality, 7).len()).into();
        assert!(sizes.is_sorted(), "{sizes:?}");
    }
}

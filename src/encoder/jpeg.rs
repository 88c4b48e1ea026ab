//! JPEG by mozjpeg, most often in its libjpeg-turbo mode.

use mozjpeg::{ColorSpace, Compress};

use super::{EncodeError, EncodeSettings, Encoder, Picture, Pixels, tuning};
use crate::job::Format;

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
            write(picture, &grey, ColorSpace::JCS_GRAYSCALE, knobs)
        } else {
            write(picture, samples, ColorSpace::JCS_RGB, knobs)
        };
        written.map_err(|e| EncodeError::new(Format::Jpeg, picture, e))
    }
}

fn write(picture: &Picture, samples: &[u8], colour: ColorSpace, knobs: tuning::JpegKnobs) -> std::io::Result<Vec<u8>> {
    let mut compress = Compress::new(colour);
    compress.set_size(picture.width as usize, picture.height as usize);
    if !knobs.trellis {
        // Resets everything but the size: it has to come before the other settings.
        compress.set_fastest_defaults();
    }
    compress.set_quality(f32::from(knobs.quality));
    if colour == ColorSpace::JCS_RGB {
        let size = if knobs.halve_colour { (2, 2) } else { (1, 1) };
        compress.set_chroma_sampling_pixel_sizes(size, size);
    }
    if knobs.progressive {
        compress.set_progressive_mode();
    }
    compress.set_optimize_coding(knobs.optimise_huffman);
    let mut started = compress.start_compress(Vec::new())?;
    started.write_scanlines(samples)?;
    started.finish()
}

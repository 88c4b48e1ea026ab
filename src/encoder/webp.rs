//! WebP by libwebp.

use webp::{Encoder as LibWebp, PixelLayout, WebPConfig};

use super::palette::Palette;
use super::{EncodeError, EncodeSettings, Encoder, Picture, Pixels, WorkingMemory, tuning};
use crate::job::Format;

/// Up to so many pixels a picture of at most 256 colours is also tried without loss.
const DRAWING_PIXELS_MAX: u64 = 4_000_000;

/// Makes still WebP files, lossy below quality 100 unless a picture of few colours is smaller without loss.
#[derive(Clone, Copy, Debug, Default)]
pub struct Webp;

impl Encoder for Webp {
    fn format(&self) -> Format {
        Format::Webp
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let side_max = Format::Webp.info().side_max;
        if picture.width > side_max || picture.height > side_max {
            return Err(EncodeError::new(Format::Webp, picture, format!("a side may have {side_max} pixels at most")));
        }
        let knobs = tuning::webp(*settings);
        let file = write(picture, knobs)?;
        if knobs.lossless || u64::from(picture.width) * u64::from(picture.height) > DRAWING_PIXELS_MAX {
            return Ok(file);
        }
        if Palette::of(picture).is_none() {
            return Ok(file);
        }
        let lossless = write(picture, tuning::WebpKnobs { lossless: true, ..knobs })?;
        Ok(if lossless.len() <= file.len() { lossless } else { file })
    }

    fn with_exif(&self, file: Vec<u8>, exif: &[u8], size: (u32, u32)) -> Vec<u8> {
        with_exif(&file, exif, size).unwrap_or(file)
    }

    fn working_memory(&self, settings: &EncodeSettings) -> WorkingMemory {
        let per_pixel = if tuning::webp(*settings).lossless { 40 } else { 12 };
        WorkingMemory { fixed: 0, per_pixel }
    }
}

fn write(picture: &Picture, knobs: tuning::WebpKnobs) -> Result<Vec<u8>, EncodeError> {
    let config = config(knobs).ok_or_else(|| EncodeError::new(Format::Webp, picture, "no configuration"))?;
    let (samples, layout) = match &picture.pixels {
        Pixels::Rgb(samples) => (samples, PixelLayout::Rgb),
        Pixels::Rgba(samples) => (samples, PixelLayout::Rgba),
    };
    let memory = LibWebp::new(samples, layout, picture.width, picture.height)
        .encode_advanced(&config)
        .map_err(|code| EncodeError::new(Format::Webp, picture, format!("libwebp says {code:?}")))?;
    Ok(memory.to_vec())
}

fn config(knobs: tuning::WebpKnobs) -> Option<WebPConfig> {
    let mut config = WebPConfig::new().ok()?;
    config.method = i32::from(knobs.method);
    config.sns_strength = i32::from(knobs.noise_shaping);
    if knobs.lossless {
        config.lossless = 1;
        // Here quality is how hard to search; the method already says that.
        config.quality = 20.0 + 10.0 * f32::from(knobs.method);
    } else {
        config.quality = f32::from(knobs.quality_tenths) / 10.0;
    }
    Some(config)
}

/// As a chunk at the end, announced in the header; a file in the simple layout gets a header.
fn with_exif(file: &[u8], exif: &[u8], (width, height): (u32, u32)) -> Option<Vec<u8>> {
    const HAS_EXIF: u8 = 0b1000;
    const HAS_ALPHA: u8 = 0b1_0000;
    let mut chunks = file.get(12..)?.to_vec();
    if chunks.starts_with(b"VP8X") {
        *chunks.get_mut(8)? |= HAS_EXIF;
    } else {
        // A lossless picture says in its own header whether it has alpha; a lossy one without VP8X has none.
        let alpha = chunks.starts_with(b"VP8L") && chunks.get(12)? >> 4 & 1 == 1;
        let mut header = b"VP8X\x0A\0\0\0".to_vec();
        header.extend([HAS_EXIF | if alpha { HAS_ALPHA } else { 0 }, 0, 0, 0]);
        header.extend(&(width - 1).to_le_bytes()[..3]);
        header.extend(&(height - 1).to_le_bytes()[..3]);
        chunks.splice(..0, header);
    }
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    chunks.extend(b"EXIF");
    chunks.extend(u32::try_from(exif.len()).ok()?.to_le_bytes());
    chunks.extend(exif);
    chunks.resize(chunks.len().next_multiple_of(2), 0);
    let size = u32::try_from(chunks.len() + 4).ok()?;
    Some([b"RIFF", &size.to_le_bytes()[..], b"WEBP", &chunks].concat())
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "samples wrap around, as they may in a picture")]
mod tests {
    use super::*;

    fn picture(pixel: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        let side = 160;
        let pixels = (0..side).flat_map(|y| (0..side).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)).collect();
        Picture { width: side, height: side, pixels: Pixels::Rgb(pixels) }
    }

    fn is_lossless(picture: &Picture, quality: Option<u8>) -> bool {
        let file = Webp
            .encode(picture, &EncodeSettings { quality, speed: None, ..EncodeSettings::default() })
            .expect("a file");
        file[12..16] == *b"VP8L"
    }

    #[test]
    fn a_drawing_is_kept_without_loss_and_is_smaller_for_it() {
        let drawing = picture(|x, y| if (x / 20 + y / 20) % 2 == 0 { [250, 40, 0] } else { [0, 90, 200] });
        assert!(is_lossless(&drawing, None) && is_lossless(&drawing, Some(30)));
        let knobs = tuning::webp(EncodeSettings::default());
        let lossy = write(&drawing, knobs).expect("a file");
        let kept = Webp.encode(&drawing, &EncodeSettings::default()).expect("a file");
        assert!(kept.len() < lossy.len());
    }

    #[test]
    fn few_colours_that_are_larger_without_loss_are_lossy() {
        let noise = picture(|x, y| {
            let n = (x * 2_654_435 + y * 40_503 + x * y * 977) >> 3;
            [120 + (n % 16) as u8, 120 + (n / 16 % 16) as u8, 120]
        });
        assert!(!is_lossless(&noise, Some(40)));
    }

    #[test]
    fn a_photo_is_lossy_below_quality_100() {
        let photo = picture(|x, y| [(x + y / 3) as u8, (x * 2 + y) as u8 / 2, (x * y / 50) as u8]);
        assert!(!is_lossless(&photo, None) && !is_lossless(&photo, Some(99)) && is_lossless(&photo, Some(100)));
    }
}

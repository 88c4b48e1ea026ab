//! WebP by libwebp.

use webp::{Encoder as LibWebp, PixelLayout, WebPConfig};

use super::{EncodeError, EncodeSettings, Encoder, Picture, Pixels, tuning};
use crate::job::Format;

/// Makes still WebP files, lossy below quality 100.
#[derive(Clone, Copy, Debug, Default)]
pub struct Webp;

impl Encoder for Webp {
    fn format(&self) -> Format {
        Format::Webp
    }

    fn encode(&self, picture: &Picture, settings: &EncodeSettings) -> Result<Vec<u8>, EncodeError> {
        let side_max = Format::Webp.side_max();
        if picture.width > side_max || picture.height > side_max {
            return Err(EncodeError::new(Format::Webp, picture, format!("a side may have {side_max} pixels at most")));
        }
        let config = config(*settings).ok_or_else(|| EncodeError::new(Format::Webp, picture, "no configuration"))?;
        let (samples, layout) = match &picture.pixels {
            Pixels::Rgb(samples) => (samples, PixelLayout::Rgb),
            Pixels::Rgba(samples) => (samples, PixelLayout::Rgba),
        };
        let memory = LibWebp::new(samples, layout, picture.width, picture.height)
            .encode_advanced(&config)
            .map_err(|code| EncodeError::new(Format::Webp, picture, format!("libwebp says {code:?}")))?;
        Ok(memory.to_vec())
    }
}

fn config(settings: EncodeSettings) -> Option<WebPConfig> {
    let knobs = tuning::webp(settings);
    let mut config = WebPConfig::new().ok()?;
    config.method = i32::from(knobs.method);
    if knobs.lossless {
        config.lossless = 1;
        // Here quality is how hard to search; the method already says that.
        config.quality = 20.0 + 10.0 * f32::from(knobs.method);
    } else {
        config.quality = f32::from(knobs.quality);
    }
    Some(config)
}

//! libaom: C, several times faster than ravif at the same quality.

use std::borrow::Cow;

use super::super::{EncodeSettings, Picture, Pixels};
use super::edges::has_sharp_colour;
use super::ffi::{self, Chroma, PlanarFrame, PlaneSamples};
use super::graphics::content;
use super::knobs::{self, AomKnobs};
use super::planes::{Colour, Planes, Sample};
use super::{container, hidden};

/// A file with `picture`.
pub(super) fn encode(picture: &Picture, settings: EncodeSettings) -> Result<Vec<u8>, String> {
    let knobs = knobs::aom(settings, content(picture));
    if knobs.ten_bits { encode_as::<u16>(picture, &knobs) } else { encode_as::<u8>(picture, &knobs) }
}

/// The same with planes of `S`.
fn encode_as<S: Sample>(picture: &Picture, knobs: &AomKnobs) -> Result<Vec<u8>, String>
where
    for<'a> PlaneSamples<'a>: From<&'a [S]>,
{
    let Picture { width, height, .. } = *picture;
    let kept = if picture.is_grey() {
        Colour::None
    } else if knobs.full_colour || has_sharp_colour(picture) {
        Colour::Full
    } else {
        Colour::Halved
    };
    let planes = Planes::of(&with_transparent_pixels_filled(picture), kept);
    let chroma = (kept != Colour::None).then(|| Chroma {
        halved: kept == Colour::Halved,
        planes: planes.chroma.each_ref().map(|c| PlaneSamples::from(&c[..])),
    });
    let frame = PlanarFrame { width, height, luma: PlaneSamples::from(&planes.luma[..]), chroma };
    let colour = ffi::encode(&frame, knobs.quantizer, &knobs.settings)?;
    let alpha = if planes.alpha.is_empty() {
        None
    } else {
        let frame = PlanarFrame { width, height, luma: PlaneSamples::from(&planes.alpha[..]), chroma: None };
        Some(ffi::encode(&frame, knobs.alpha_quantizer, &knobs.alpha_settings)?)
    };
    Ok(container::write((width, height), kept, knobs.ten_bits, &colour, alpha.as_deref()))
}

/// `picture` with colours under its transparent pixels that take few bytes.
fn with_transparent_pixels_filled(picture: &Picture) -> Cow<'_, Picture> {
    let Pixels::Rgba(samples) = &picture.pixels else { return Cow::Borrowed(picture) };
    let mut samples = samples.clone();
    hidden::fill_transparent_pixels(&mut samples, picture.width as usize);
    Cow::Owned(Picture { pixels: Pixels::Rgba(samples), ..*picture })
}

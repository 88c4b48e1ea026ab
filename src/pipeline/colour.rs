//! The source's colours to sRGB, 8 bits.

use std::sync::Arc;

use moxcms::{
    ColorProfile, DataColorSpace, Layout, ToneReprCurve, Transform8BitExecutor, Transform16BitExecutor,
    TransformExecutor, TransformOptions,
};

use super::PipelineError;
use super::raster::{Model, Raster, Samples, without_last};
use crate::encoder::{Picture, Pixels};

/// Converts rasters of one source. Made once a job, used for every size.
pub(super) struct Converter {
    eight: Option<Arc<Transform8BitExecutor>>,
    sixteen: Option<Arc<Transform16BitExecutor>>,
}

impl Converter {
    /// For rasters like `raster`, whose file carries the profile `icc`. A profile that can't be read, or that is for
    /// other pixels than these, is passed over, as browsers do; the colours then are sRGB's.
    pub(super) fn new(raster: &Raster, icc: Option<&[u8]>) -> Self {
        let none = Self { eight: None, sixteen: None };
        let Some(profile) = icc.and_then(|icc| ColorProfile::new_from_slice(icc).ok()) else { return none };
        let Some(profile) = connected_by_xyz(profile) else { return none };
        let model = match profile.color_space {
            DataColorSpace::Gray => Model::Grey,
            DataColorSpace::Rgb => Model::Rgb,
            DataColorSpace::Cmyk => Model::Cmyk,
            _ => return none,
        };
        if model != raster.model {
            return none;
        }
        let (from, to) = layouts(raster);
        let srgb = ColorProfile::new_srgb();
        let options = TransformOptions::default();
        match raster.samples {
            Samples::U8(_) => {
                let eight = profile.create_transform_8bit(from, &srgb, to, options).ok();
                Self { eight: eight.filter(|t| model != Model::Rgb || changes_anything(&**t, from)), ..none }
            }
            Samples::U16(_) => Self { sixteen: profile.create_transform_16bit(from, &srgb, to, options).ok(), ..none },
        }
    }

    /// Whether [`Self::convert`] would merely copy `raster`.
    pub(super) fn keeps(&self, raster: &Raster) -> bool {
        matches!((&raster.samples, raster.model), (Samples::U8(_), Model::Rgb)) && self.eight.is_none()
    }

    /// `raster` as the picture it already is, as [`Self::keeps`] says.
    pub(super) fn keep(raster: Raster) -> Result<Picture, PipelineError> {
        let Raster { width, height, alpha, samples, .. } = raster.without_opaque_alpha();
        let Samples::U8(samples) = samples else { return Err(PipelineError::bad_image("its samples are too deep")) };
        let pixels = if alpha { Pixels::Rgba(samples) } else { Pixels::Rgb(samples) };
        Ok(Picture { width, height, pixels })
    }

    /// `raster` in sRGB, without alpha if it is opaque.
    pub(super) fn convert(&self, raster: &Raster) -> Result<Picture, PipelineError> {
        let samples = match (&raster.samples, &self.eight, &self.sixteen) {
            (Samples::U8(samples), Some(transform), _) => transformed(raster, samples, &**transform)?,
            (Samples::U16(samples), _, Some(transform)) => rounded(&transformed(raster, samples, &**transform)?),
            (Samples::U8(samples), None, _) => untagged(raster, samples),
            (Samples::U16(samples), _, None) => untagged(raster, &rounded(samples)),
        };
        let Raster { width, height, alpha, .. } = *raster;
        let pixels = match alpha.then(|| without_last(&samples, 4, u8::MAX)) {
            None => Pixels::Rgb(samples),
            Some(Some(opaque)) => Pixels::Rgb(opaque),
            Some(None) => Pixels::Rgba(samples),
        };
        Ok(Picture { width, height, pixels })
    }
}

/// Steps of a grey curve from black to white; one between two is on their line.
const GREY_STEPS: usize = 4096;

/// A grey profile whose curve leads to lightness, as one whose curve leads to light, which is the kind that moxcms converts;
/// none if its curve can't be read. Other profiles stay as they are.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
fn connected_by_xyz(mut profile: ColorProfile) -> Option<ColorProfile> {
    if profile.color_space != DataColorSpace::Gray || profile.pcs != DataColorSpace::Lab {
        return Some(profile);
    }
    let lightness = profile.build_gray_linearize_table::<u16, 65_536, 16>().ok()?;
    let light = |step: usize| {
        let at = step * (lightness.len() - 1) / (GREY_STEPS - 1);
        // CIE 1976, of L* from 0 to 100.
        let y = (lightness[at].clamp(0.0, 1.0) * 100.0 + 16.0) / 116.0;
        let light = if y > 6.0 / 29.0 { y.powi(3) } else { 3.0 * (6.0_f32 / 29.0).powi(2) * (y - 4.0 / 29.0) };
        (light.clamp(0.0, 1.0) * 65_535.0).round() as u16
    };
    profile.gray_trc = Some(ToneReprCurve::Lut((0..GREY_STEPS).map(light).collect()));
    profile.pcs = DataColorSpace::Xyz;
    Some(profile)
}

fn layouts(raster: &Raster) -> (Layout, Layout) {
    let from = match (raster.model, raster.alpha) {
        (Model::Grey, false) => Layout::Gray,
        (Model::Grey, true) => Layout::GrayAlpha,
        (Model::Rgb, false) => Layout::Rgb,
        // Four samples each; the profile says which they are.
        (Model::Rgb, true) | (Model::Cmyk, _) => Layout::Rgba,
    };
    (from, if raster.alpha { Layout::Rgba } else { Layout::Rgb })
}

/// Whether a transform does more than rounding: most profiles in the wild are sRGB under one of its names.
fn changes_anything(transform: &Transform8BitExecutor, layout: Layout) -> bool {
    let levels = || (0..=255).step_by(17);
    let mut before = Vec::new();
    for (r, g, b) in levels().flat_map(|r| levels().flat_map(move |g| levels().map(move |b| (r, g, b)))) {
        before.extend([r, g, b]);
        if layout == Layout::Rgba {
            before.push(255);
        }
    }
    let mut after = vec![0; before.len()];
    transform.transform(&before, &mut after).is_err() || before.iter().zip(&after).any(|(a, b)| a.abs_diff(*b) > 1)
}

fn transformed<T: Copy + Default>(
    raster: &Raster,
    samples: &[T],
    transform: &(impl TransformExecutor<T> + ?Sized),
) -> Result<Vec<T>, PipelineError> {
    let channels = if raster.alpha { 4 } else { 3 };
    let mut converted = vec![T::default(); raster.width as usize * raster.height as usize * channels];
    transform
        .transform(samples, &mut converted)
        .map_err(|e| PipelineError::bad_image(format!("its colours can't be converted: {e}")))?;
    Ok(converted)
}

/// 16 bits to 8, to the nearest.
pub(super) fn rounded(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|sample| u8::try_from((u32::from(*sample) + 128) / 257).unwrap_or(u8::MAX)).collect()
}

/// RGB or RGBA of samples that no profile explains.
fn untagged(raster: &Raster, samples: &[u8]) -> Vec<u8> {
    match (raster.model, raster.alpha) {
        (Model::Grey, false) => samples.iter().flat_map(|v| [*v; 3]).collect(),
        (Model::Grey, true) => samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
        (Model::Rgb, _) => samples.to_vec(),
        (Model::Cmyk, _) => samples.chunks_exact(4).flat_map(|p| ink(p[0], p[1], p[2], p[3])).collect(),
    }
}

/// The sRGB of the sixteen ways to print full ink or none on coated paper, as offset printing's usual condition (ISO
/// 12647-2, coated) shows them; index bits from the lowest: C, M, Y, K. White is the paper, taken as full white.
const OVERPRINTS: [[u16; 3]; 16] = [
    [255, 255, 255],
    [0, 158, 224],
    [229, 0, 125],
    [49, 39, 130],
    [255, 236, 0],
    [0, 149, 64],
    [227, 6, 19],
    [55, 52, 53],
    [29, 29, 27],
    [0, 18, 26],
    [26, 0, 12],
    [8, 4, 14],
    [28, 26, 0],
    [0, 16, 6],
    [24, 2, 2],
    [0, 0, 0],
];

/// sRGB of ink without a profile: between the overprints, by how much of the paper each covers (Neugebauer's model).
fn ink(c: u8, m: u8, y: u8, k: u8) -> [u8; 3] {
    let mut sums = [0_u64; 3];
    for (i, overprint) in OVERPRINTS.iter().enumerate() {
        let share = [c, m, y, k].iter().enumerate().fold(1_u64, |share, (bit, amount)| {
            share * u64::from(if i >> bit & 1 == 1 { *amount } else { 255 - amount })
        });
        for (sum, value) in sums.iter_mut().zip(overprint) {
            *sum += share * u64::from(*value);
        }
    }
    let full = 255_u64.pow(4);
    sums.map(|sum| u8::try_from((sum + full / 2) / full).unwrap_or(u8::MAX))
}

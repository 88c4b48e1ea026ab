//! What a PNG says about its colours, by the precedence of PNG's third edition: cICP, iCCP, sRGB, gAMA with cHRM.

use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile, MatrixCoefficients, ToneReprCurve,
    TransferCharacteristics,
};
use png::{CodingIndependentCodePoints, ColorType, Info, SourceChromaticities};

/// gAMA's of files that mean sRGB, times 100,000: 45,455 and what rounding makes of it.
const SRGB_GAMMA: std::ops::RangeInclusive<u32> = 45_000..=46_000;

/// gAMA's that can be meant, times 100,000; linear light has 100,000.
const GAMMAS: std::ops::RangeInclusive<u32> = 10_000..=500_000;

/// An ICC profile for the pixels; none if they are sRGB or say nothing.
pub(super) fn profile(info: &Info<'_>) -> Option<Vec<u8>> {
    let grey = matches!(info.color_type, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    if let Some(code_points) = info.coding_independent_code_points
        && let Some(profile) = of_code_points(code_points, grey)
    {
        return profile.encode().ok();
    }
    if let Some(icc) = &info.icc_profile {
        return Some(icc.to_vec());
    }
    if info.srgb.is_some() {
        return None;
    }
    let gamma = info.gama_chunk.map(png::ScaledFloat::into_scaled).filter(|gamma| GAMMAS.contains(gamma))?;
    of_gamma(gamma, info.chrm_chunk, grey)?.encode().ok()
}

/// HDR by PQ or HLG is left to what else the file says: without tone mapping it would be darkness.
fn of_code_points(code_points: CodingIndependentCodePoints, grey: bool) -> Option<ColorProfile> {
    let primaries = CicpColorPrimaries::try_from(code_points.color_primaries).ok()?;
    let transfer = TransferCharacteristics::try_from(code_points.transfer_function).ok()?;
    let hdr = matches!(transfer, TransferCharacteristics::Smpte2084 | TransferCharacteristics::Hlg);
    if hdr || grey || !code_points.is_video_full_range_image || code_points.matrix_coefficients != 0 {
        return None;
    }
    let profile = ColorProfile::new_from_cicp(CicpProfile {
        color_primaries: primaries,
        transfer_characteristics: transfer,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    });
    // Reserved code points leave the profile without curves.
    profile.red_trc.is_some().then_some(profile)
}

#[expect(clippy::cast_possible_truncation, reason = "moxcms takes f32")]
fn of_gamma(gamma: u32, chromaticities: Option<SourceChromaticities>, grey: bool) -> Option<ColorProfile> {
    let exponent = (100_000.0 / f64::from(gamma)) as f32;
    let srgb_curve = SRGB_GAMMA.contains(&gamma);
    if grey {
        return (!srgb_curve).then(|| ColorProfile::new_gray_with_gamma(exponent));
    }
    if srgb_curve && chromaticities.is_none() {
        return None;
    }
    let mut profile = ColorProfile::new_srgb();
    profile.cicp = None;
    if let Some(SourceChromaticities { white, red, green, blue }) = chromaticities {
        let at = |(x, y): (png::ScaledFloat, png::ScaledFloat)| Chromaticity::new(x.into_value(), y.into_value());
        let all = [white, red, green, blue].map(at);
        if all.iter().any(|c| !(0.0..=1.0).contains(&c.x) || !(0.001..=1.0).contains(&c.y)) {
            return None;
        }
        let [white, red, green, blue] = all;
        profile.update_rgb_colorimetry(white.to_xyyb(), ColorPrimaries { red, green, blue });
    }
    if !srgb_curve {
        let curve = ToneReprCurve::Parametric(vec![exponent]);
        profile.red_trc = Some(curve.clone());
        profile.green_trc = Some(curve.clone());
        profile.blue_trc = Some(curve);
    }
    Some(profile)
}

//! What a job wants made, held against the limits before anything is made.

use super::{Layout, PixelLimits, SourceInfo};
use crate::job::{ClaimErrors, Format, JobSpec, VariantSpec};

/// Refuses a job whose variants of this source would be too many pixels, or too large for their format. Errors point
/// into the claims, as in `/job/formats/webp`.
pub fn check_outputs(spec: &JobSpec, source: &SourceInfo, limits: &PixelLimits) -> Result<(), ClaimErrors> {
    let mut errors = ClaimErrors::default();
    let mut total = 0_u64;
    for variant in &spec.variants {
        let (width, height) = Layout::of(source.width, source.height, variant).output_size();
        let side_max = variant.format.info().side_max;
        if width > side_max || height > side_max {
            let format = variant.format;
            errors.push(
                pointer(format),
                format!("the variant of {width} x {height} pixels is larger than {format} allows: {side_max} a side"),
            );
        }
        let frames = if is_animated(variant, source) { u64::from(source.frames) } else { 1 };
        total = total.saturating_add(u64::from(width) * u64::from(height) * frames);
    }
    let source_total = source.pixels().saturating_mul(u64::from(source.frames));
    let animated = spec.variants.iter().find(|variant| is_animated(variant, source));
    if let Some(variant) = animated.filter(|_| source_total > limits.source_max) {
        errors.push(
            format!("{}/animated", pointer(variant.format)),
            format!(
                "{} frames of {} x {} pixels are {source_total} in all; {} are allowed",
                source.frames, source.width, source.height, limits.source_max
            ),
        );
    }
    if total > limits.output_max {
        errors.push(
            "/job/formats",
            format!("the variants have {total} pixels in all; {} are allowed", limits.output_max),
        );
    }
    errors.or(())
}

/// Whether this variant of this source moves.
pub(super) fn is_animated(variant: &VariantSpec, source: &SourceInfo) -> bool {
    variant.animated && variant.format.info().animation && source.frames > 1
}

fn pointer(format: Format) -> String {
    format!("/job/formats/{}", format.extension())
}

//! What a job wants made, held against the limits before anything is made.

use serde::{Deserialize, Serialize};

use super::{Layout, PixelLimits, SourceInfo};
use crate::job::{ClaimErrors, Fit, Format, JobSpec, Position, VariantSpec};

/// What a variant comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pictures at most: as many as the source has if it moves, else one.
    pub frames: u32,
}

impl Output {
    /// What this variant of this source comes to.
    #[must_use]
    pub fn of(variant: &VariantSpec, source: &SourceInfo) -> Self {
        let (width, height) = Layout::of(source.width, source.height, variant).output_size();
        Self { width, height, frames: if is_animated(variant, source) { source.frames } else { 1 } }
    }

    /// Pixels of all its pictures.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        (u64::from(self.width) * u64::from(self.height)).saturating_mul(u64::from(self.frames))
    }

    /// Bytes that no file of it exceeds, whatever its format.
    #[must_use]
    pub fn file_bytes_max(&self) -> u64 {
        let pixels = self.pixels().saturating_mul(BYTES_PER_PIXEL_MAX);
        pixels.saturating_add(u64::from(self.frames) * BYTES_PER_FRAME_MAX).saturating_add(FILE_BYTES_SLACK)
    }
}

/// Bytes of a pixel before it is compressed.
const BYTES_PER_PIXEL_MAX: u64 = 4;

/// Bytes of a frame's headers, and of a picture that grows by being compressed.
const BYTES_PER_FRAME_MAX: u64 = 1024;

/// Bytes of the rest: headers, tables, what is said of the picture's origin.
const FILE_BYTES_SLACK: u64 = 1024 * 1024;

/// Refuses a job whose variants of this source would be too many pixels, or too large for their format. Errors point
/// into the claims, as in `/job/formats/webp`.
pub fn check_outputs(spec: &JobSpec, source: &SourceInfo, limits: &PixelLimits) -> Result<(), ClaimErrors> {
    let mut errors = ClaimErrors::default();
    let mut total = 0_u64;
    for variant in &spec.variants {
        let output = Output::of(variant, source);
        let Output { width, height, .. } = output;
        let side_max = variant.format.info().side_max;
        if width > side_max || height > side_max {
            let format = variant.format;
            errors.push(
                pointer(format),
                format!("the variant of {width} x {height} pixels is larger than {format} allows: {side_max} a side"),
            );
        }
        total = total.saturating_add(output.pixels());
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

/// The first of a job's variants that comes out as the one at `index` does: with the same pixels, in the same format, encoded
/// in the same way. So do the sizes that are larger than the source; only their names tell their boxes apart.
#[must_use]
pub fn same_as(index: usize, variants: &[VariantSpec], source: &SourceInfo) -> Option<usize> {
    let variant = &variants[index];
    variants[..index].iter().position(|earlier| comes_out_as(earlier, variant, source))
}

fn comes_out_as(one: &VariantSpec, other: &VariantSpec, source: &SourceInfo) -> bool {
    let layout = |variant| Layout::of(source.width, source.height, variant);
    // Box and fit, where they make no difference to the layout, make none at all.
    let encoding = |variant: &VariantSpec| VariantSpec {
        width: 0,
        height: 0,
        fit: Fit::default(),
        position: Position::default(),
        enlarge: false,
        ..variant.clone()
    };
    layout(one) == layout(other) && encoding(one) == encoding(other)
}

/// Those of `indices` that come out alike together, in the order of the first of each.
pub(super) fn alike(indices: Vec<usize>, variants: &[VariantSpec], source: &SourceInfo) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in indices {
        match groups.iter_mut().find(|group| comes_out_as(&variants[group[0]], &variants[index], source)) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// Whether this variant of this source moves.
pub(super) fn is_animated(variant: &VariantSpec, source: &SourceInfo) -> bool {
    variant.animated && variant.format.info().animation && source.frames > 1
}

fn pointer(format: Format) -> String {
    format!("/job/formats/{}", format.extension())
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;
    use serde_json::json;

    use super::*;
    use crate::job::{ParsedJob, SourceFormat, SpecLimits};

    #[test]
    fn a_file_may_be_as_large_as_the_pixels_that_were_asked_for_in_as_many_frames_as_the_header_tells() {
        let job = json!({ "directHost": true, "formats": {
            "webp": { "sizes": [[100, 50]], "animated": true }, "png": { "sizes": [[100, 50]] }
        } });
        let spec = ParsedJob::from_claim(Some(&job), SpecLimits { variants_max: 9, ..SpecLimits::default() })
            .expect("a job")
            .spec;
        let source = |frames| SourceInfo {
            format: SourceFormat::Gif,
            width: 400,
            height: 400,
            orientation: Orientation::NoTransforms,
            channels: 4,
            bits: 8,
            frames,
            progressive: false,
            indexed: true,
            alpha: None,
        };
        for frames in [1, 20] {
            for variant in &spec.variants {
                let expected = if variant.format == Format::Webp { frames } else { 1 };
                let output = Output::of(variant, &source(frames));
                assert_eq!(output, Output { width: 50, height: 50, frames: expected });
                let bytes = u64::from(expected) * (50 * 50 * 4 + 1024) + 1024 * 1024;
                assert_eq!(output.file_bytes_max(), bytes);
            }
        }
    }
}

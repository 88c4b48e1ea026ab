//! In which order sizes are made, and from what.

use super::{Layout, PixelLimits, Region, SourceInfo};
use crate::job::has_shape_of;

/// A picture is made from a larger one only if that is at least this much larger on both sides: closer than that,
/// resampling twice would show.
const STEP_MIN: f64 = 1.5;

/// One resized picture and the variants that it serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ResizeStep {
    /// Region and size; canvases differ by variant and are not looked at here.
    pub(super) layout: Layout,
    /// The earlier step that it is made from; none means the source.
    pub(super) from: Option<usize>,
    /// Indices into the layouts that the plan was made of.
    pub(super) variants: Vec<usize>,
}

/// The steps for `layouts`, largest first, each from the smallest that serves.
///
/// Regions are the original's in every step, so that rounding never adds up along a cascade.
pub(super) fn plan(layouts: &[(usize, Layout)]) -> Vec<ResizeStep> {
    let mut steps: Vec<ResizeStep> = Vec::new();
    for (variant, layout) in layouts {
        let layout = Layout { canvas: None, ..*layout };
        match steps.iter_mut().find(|step| step.layout == layout) {
            Some(step) => step.variants.push(*variant),
            None => steps.push(ResizeStep { layout, from: None, variants: vec![*variant] }),
        }
    }
    let area = |step: &ResizeStep| u64::from(step.layout.width) * u64::from(step.layout.height);
    steps.sort_by_key(|step| std::cmp::Reverse(area(step)));
    for i in 1..steps.len() {
        let wanted = steps[i].layout;
        steps[i].from = (0..i).rev().find(|earlier| serves(&steps[*earlier].layout, &wanted));
    }
    steps
}

/// Pixels of a placeholder's longer side, at most.
pub(super) const PLACEHOLDER_SIDE: u32 = 100;

/// Whether a step shows all of the picture, in its own shape.
pub(super) fn shows_all(layout: &Layout, info: &SourceInfo) -> bool {
    let Region { width, height, .. } = layout.region;
    width >= f64::from(info.width)
        && height >= f64::from(info.height)
        && has_shape_of((layout.width, layout.height), (info.width, info.height))
}

/// As large as a placeholder's picture is: no side above 100 pixels.
pub(super) fn placeholder_size((width, height): (u32, u32)) -> (u32, u32) {
    let longer = u64::from(width.max(height));
    let side = |pixels: u32| {
        let scaled = (u64::from(pixels) * u64::from(PLACEHOLDER_SIDE) + longer / 2) / longer.max(1);
        u32::try_from(scaled).unwrap_or(PLACEHOLDER_SIDE).clamp(1, PLACEHOLDER_SIDE)
    };
    if longer <= u64::from(PLACEHOLDER_SIDE) { (width, height) } else { (side(width), side(height)) }
}

/// `steps`, of which one shows all of the picture: the last, which no variant is made of, if no other does.
pub(super) fn with_placeholder(mut steps: Vec<ResizeStep>, info: &SourceInfo) -> Vec<ResizeStep> {
    if !steps.iter().any(|step| shows_all(&step.layout, info)) {
        let region = Region { x: 0.0, y: 0.0, width: f64::from(info.width), height: f64::from(info.height) };
        let (width, height) = placeholder_size((info.width, info.height));
        let layout = Layout { region, width, height, canvas: None };
        let from = (0..steps.len()).rev().find(|earlier| serves(&steps[*earlier].layout, &layout));
        steps.push(ResizeStep { layout, from, variants: Vec::new() });
    }
    steps
}

/// By how much a source may be reduced while it is decoded: 1, 2, 4 or 8, so that everything made from it is still made
/// from something [`STEP_MIN`] times as large.
pub(super) fn reduction(steps: &[ResizeStep], source: &SourceInfo, limits: &PixelLimits) -> u32 {
    if source.pixels() <= limits.source_whole_max {
        return 1;
    }
    let from_source = steps.iter().filter(|step| step.from.is_none()).map(|step| density(&step.layout));
    let needed = from_source.fold(0.0_f64, |needed, (across, down)| needed.max(across).max(down));
    [8, 4, 2].into_iter().find(|by| needed * STEP_MIN * f64::from(*by) <= 1.0).unwrap_or(1)
}

/// Whether some step takes pixels of the source as they are.
pub(super) fn takes_pixels_unscaled(steps: &[ResizeStep]) -> bool {
    let unscaled = |length: u32, region: f64| (f64::from(length) - region).abs() < 1e-6;
    steps.iter().filter(|step| step.from.is_none()).any(|ResizeStep { layout, .. }| {
        unscaled(layout.width, layout.region.width) && unscaled(layout.height, layout.region.height)
    })
}

/// Where `region` of the source lies in the picture that `made` describes.
pub(super) fn within(region: Region, made: &Layout) -> Region {
    let (across, down) = density(made);
    Region {
        x: (region.x - made.region.x) * across,
        y: (region.y - made.region.y) * down,
        width: region.width * across,
        height: region.height * down,
    }
}

fn serves(made: &Layout, wanted: &Layout) -> bool {
    let (has, needs) = (density(made), density(wanted));
    let (outer, inner) = (made.region, wanted.region);
    let contains = outer.x <= inner.x
        && outer.y <= inner.y
        && outer.x + outer.width >= inner.x + inner.width
        && outer.y + outer.height >= inner.y + inner.height;
    let enlarged = has.0 > 1.0 || has.1 > 1.0;
    contains && !enlarged && has.0 >= needs.0 * STEP_MIN && has.1 >= needs.1 * STEP_MIN
}

/// Pixels of the result per pixel of the source, across and down.
fn density(layout: &Layout) -> (f64, f64) {
    (f64::from(layout.width) / layout.region.width, f64::from(layout.height) / layout.region.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(width: u32, height: u32) -> Layout {
        let region = Region { x: 0.0, y: 0.0, width: 4000.0, height: 3000.0 };
        Layout { region, width, height, canvas: None }
    }

    #[test]
    fn sizes_cascade_from_the_smallest_that_is_large_enough() {
        let layouts = [(0, whole(400, 300)), (1, whole(1600, 1200)), (2, whole(800, 600)), (3, whole(780, 585))];
        let steps = plan(&layouts);
        let made: Vec<_> = steps.iter().map(|s| (s.layout.width, s.from)).collect();
        // 780 is too close to 800 to be made from it, and 400 is made from 780, the smallest that serves.
        assert_eq!(made, [(1600, None), (800, Some(0)), (780, Some(0)), (400, Some(2))]);
    }

    #[test]
    fn one_size_is_made_once_for_all_its_formats() {
        let steps = plan(&[(0, whole(400, 300)), (1, whole(400, 300))]);
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0].variants, [0, 1]);
    }

    #[test]
    fn a_cut_out_comes_only_from_a_picture_that_holds_it() {
        let region = Region { x: 500.0, y: 0.0, width: 3000.0, height: 3000.0 };
        let square = |side| Layout { region, width: side, height: side, canvas: None };
        let steps = plan(&[(0, square(1500)), (1, whole(400, 300)), (2, square(250)), (3, whole(2000, 1500))]);
        let made: Vec<_> = steps.iter().map(|s| (s.layout.width, s.from)).collect();
        assert_eq!(made, [(2000, None), (1500, None), (400, Some(0)), (250, Some(1))]);
    }
}

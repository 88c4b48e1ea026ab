//! Whether a picture shows all of another.

/// How far two ratios may be apart: one in so many.
const TOLERANCE: u64 = 100;

/// Whether a variant of so many pixels, width first, shows all of a picture of `own`: its sides are in the same ratio, but for 1 %
/// or for a pixel, by which a small one can't help being off.
#[must_use]
pub fn has_shape_of((width, height): (u32, u32), own: (u32, u32)) -> bool {
    let [width, height, own_width, own_height] = [width, height, own.0, own.1].map(|pixels| u64::from(pixels.max(1)));
    let (across, down) = (width * own_height, height * own_width);
    let apart = across.abs_diff(down);
    apart * TOLERANCE <= across.max(down) || apart <= own_width.max(own_height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_the_same_but_for_rounding() {
        for (pixels, own, same) in [
            ((800, 600), (4000, 3000), true),
            ((800, 605), (4000, 3000), true),
            ((800, 610), (4000, 3000), false),
            ((17, 13), (4000, 3000), true),
            ((50, 50), (4000, 3000), false),
            ((600, 800), (4000, 3000), false),
            ((1, 1), (1, 1), true),
            ((1, 16), (4, 65_000), true),
            ((65_535, 65_535), (65_535, 65_535), true),
            ((65_535, 32_000), (65_535, 65_535), false),
        ] {
            assert_eq!(has_shape_of(pixels, own), same, "{pixels:?} of {own:?}");
        }
    }
}

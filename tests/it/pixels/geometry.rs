//! Sizes, boxes and what of the picture is in them.

use image::imageops::{self, FilterType};
use image::{Rgba, RgbaImage};
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::Layout;
use proptest::prelude::*;

use super::picture::{assert_like, photo, png, psnr_min, show, variant};

const FITS: [Fit; 5] = [Fit::Inside, Fit::Outside, Fit::Cover, Fit::Contain, Fit::Fill];

fn scaled(picture: &RgbaImage, width: u32, height: u32) -> RgbaImage {
    imageops::resize(picture, width, height, FilterType::Lanczos3)
}

/// What `fit` makes of a 160 x 120 picture in a box of `side` x `side`, by the `image` crate's resizing.
fn reference(source: &RgbaImage, fit: Fit, side: u32) -> RgbaImage {
    let (short, long) = (side * 120 / 160, (side * 160 + 60) / 120);
    match fit {
        Fit::Inside => scaled(source, side, short),
        Fit::Outside => scaled(source, long, side),
        Fit::Fill => scaled(source, side, side),
        Fit::Cover => imageops::crop_imm(source, 20, 0, 120, 120).to_image(),
        Fit::Contain => {
            let mut canvas = RgbaImage::from_pixel(side, side, Rgba([255; 4]));
            imageops::replace(&mut canvas, &scaled(source, side, short), 0, i64::from((side - short) / 2));
            canvas
        }
    }
}

#[test]
fn every_format_in_every_size_and_fit_is_the_right_picture() {
    let source = photo(160, 120);
    let file = png(&source);
    for format in Format::ALL {
        for fit in FITS {
            for side in [80, 64] {
                let boxed = VariantSpec { fit, ..variant(format, side, side) };
                let mut expected = reference(&source, fit, side);
                if fit == Fit::Cover {
                    expected = scaled(&expected, side, side);
                }
                assert_like(&format!("{format} {fit:?} [{side}]"), &show(&file, &boxed), &expected, psnr_min(format));
            }
            for (width, height) in [(80, 0), (0, 60)] {
                let free = VariantSpec { fit, ..variant(format, width, height) };
                let what = format!("{format} {fit:?} [{width}, {height}]");
                assert_like(&what, &show(&file, &free), &scaled(&source, 80, 60), psnr_min(format));
            }
            let whole = VariantSpec { fit, ..variant(format, 0, 0) };
            assert_like(&format!("{format} {fit:?} [0, 0]"), &show(&file, &whole), &source, psnr_min(format));
        }
    }
}

fn size(source: (u32, u32), fit: Fit, boxed: (u32, u32), enlarge: bool) -> (u32, u32) {
    let spec = VariantSpec { fit, enlarge, ..variant(Format::Png, boxed.0, boxed.1) };
    Layout::of(source.0, source.1, &spec).output_size()
}

#[test]
fn a_source_smaller_than_its_box_keeps_its_size_unless_told_to_grow() {
    let sizes = |enlarge| FITS.map(|fit| size((40, 30), fit, (80, 80), enlarge));
    assert_eq!(sizes(false), [(40, 30), (40, 30), (40, 30), (80, 80), (40, 30)]);
    assert_eq!(sizes(true), [(80, 60), (107, 80), (80, 80), (80, 80), (80, 80)]);
    // Larger on one side only.
    let sizes = |enlarge| FITS.map(|fit| size((100, 50), fit, (80, 80), enlarge));
    assert_eq!(sizes(false), [(80, 40), (100, 50), (80, 50), (80, 80), (80, 50)]);
    assert_eq!(sizes(true), [(80, 40), (160, 80), (80, 80), (80, 80), (80, 80)]);
    assert_eq!(size((40, 30), Fit::Inside, (80, 0), false), (40, 30));
    assert_eq!(size((40, 30), Fit::Inside, (80, 0), true), (80, 60));
    assert_eq!(size((40, 30), Fit::Inside, (0, 15), false), (20, 15));
}

#[test]
fn sides_are_rounded_half_up_and_never_vanish() {
    assert_eq!(size((1000, 667), Fit::Inside, (300, 300), false), (300, 200));
    assert_eq!(size((1000, 665), Fit::Inside, (100, 0), false), (100, 67));
    assert_eq!(size((1, 10_000), Fit::Inside, (800, 800), false), (1, 800));
    assert_eq!(size((10_000, 1), Fit::Inside, (10, 0), false), (10, 1));
    assert_eq!(size((65_535, 1), Fit::Outside, (1, 65_535), true), (4_294_836_225, 65_535));
}

#[test]
fn cover_keeps_the_side_that_position_names() {
    let halves =
        RgbaImage::from_fn(80, 40, |x, _| if x < 40 { Rgba([220, 0, 0, 255]) } else { Rgba([0, 0, 220, 255]) });
    let shown = |x| {
        let position = Position { x, y: 0 };
        show(&png(&halves), &VariantSpec { fit: Fit::Cover, position, ..variant(Format::Png, 20, 20) })
    };
    assert!(shown(-1).pixels().all(|p| p[0] > 200 && p[2] < 20));
    assert!(shown(1).pixels().all(|p| p[0] < 20 && p[2] > 200));
    let centre = shown(0);
    assert!(centre.get_pixel(2, 10)[0] > 200 && centre.get_pixel(17, 10)[2] > 200);
}

#[test]
fn contain_places_the_picture_and_fills_the_rest() {
    let green = RgbaImage::from_pixel(40, 20, Rgba([0, 200, 0, 255]));
    let spec = VariantSpec {
        fit: Fit::Contain,
        position: Position { x: 0, y: 1 },
        background: Background([10, 20, 30, 128]),
        ..variant(Format::Png, 20, 20)
    };
    let shown = show(&png(&green), &spec);
    assert_eq!(shown.dimensions(), (20, 20));
    assert_eq!(shown.get_pixel(10, 9), &Rgba([10, 20, 30, 128]));
    assert_eq!(shown.get_pixel(10, 10), &Rgba([0, 200, 0, 255]));
}

#[test]
fn a_cascade_shows_what_each_size_alone_shows() {
    let source = photo(403, 301);
    let file = png(&source);
    let sizes = [200, 100, 50, 33];
    let specs: Vec<_> = sizes.iter().map(|side| variant(Format::Png, *side, *side)).collect();
    let together = super::picture::render(&file, &specs).expect("a good source");
    for (spec, rendered) in specs.iter().zip(together) {
        let cascaded = super::picture::decode(Format::Png, &rendered.bytes);
        let alone = scaled(&source, rendered.width, rendered.height);
        assert_like(&format!("{} px", spec.width), &cascaded, &alone, 38.0);
    }
}

fn any_fit() -> impl Strategy<Value = Fit> {
    prop::sample::select(FITS.to_vec())
}

proptest! {
    #[test]
    fn layouts_stay_inside_source_and_box(
        source in (1..=65_535_u32, 1..=65_535_u32),
        boxed in (0..=65_535_u32, 0..=65_535_u32),
        fit in any_fit(),
        enlarge: bool,
        position in (-1..=1_i8, -1..=1_i8),
    ) {
        let position = Position { x: position.0, y: position.1 };
        let spec = VariantSpec { fit, enlarge, position, ..variant(Format::Png, boxed.0, boxed.1) };
        let layout = Layout::of(source.0, source.1, &spec);
        let (width, height) = layout.output_size();
        prop_assert!(width >= 1 && height >= 1);
        let region = layout.region;
        prop_assert!(region.x >= 0.0 && region.y >= 0.0 && region.width > 0.0 && region.height > 0.0);
        prop_assert!(region.x + region.width <= f64::from(source.0) + 1e-6);
        prop_assert!(region.y + region.height <= f64::from(source.1) + 1e-6);
        if fit != Fit::Outside {
            prop_assert!(boxed.0 == 0 || boxed.1 == 0 || (width <= boxed.0 && height <= boxed.1));
        }
        if !enlarge && fit != Fit::Contain {
            prop_assert!(width <= source.0 && height <= source.1);
        }
        if fit == Fit::Inside && layout.width > 1 && layout.height > 1 {
            // The aspect ratio is off by the rounding of one side at most.
            let ideal = f64::from(layout.width) * f64::from(source.1) / f64::from(source.0);
            let other = f64::from(layout.height) * f64::from(source.0) / f64::from(source.1);
            let off = (ideal - f64::from(layout.height)).abs().min((other - f64::from(layout.width)).abs());
            prop_assert!(off <= 0.5 + 1e-6, "off by {off}");
        }
    }
}

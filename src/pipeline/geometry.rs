//! Where a source's pixels go: pure arithmetic on sizes, the same at upload and when the job runs.
//!
//! The source is `w` x `h`, upright; the box `W` x `H`. `s` is what the source is scaled by; without `enlarge` it is at
//! most 1. Each side is rounded once, half up, and never below 1.
//!
//! | `fit` | `s` | result |
//! |---|---|---|
//! | `inside` | min(W/w, H/h) | s·w x s·h: the limiting side is exactly the box's |
//! | `outside` | max(W/w, H/h) | s·w x s·h |
//! | `cover` | max(W/w, H/h) | min(W, s·w) x min(H, s·h), cut out at `position` |
//! | `contain` | min(W/w, H/h) | W x H always: the picture, s·w x s·h, at `position` on `background` |
//! | `fill` | W/w across, H/h down, each on its own | s·w x s·h, out of shape |
//! | any, one side of the box free | the other side's ratio | s·w x s·h |
//! | any, both sides free | 1 | w x h |
//!
//! So without `enlarge` a source smaller than its box keeps its size, whatever the fit; only `contain` still answers
//! with the whole box.

use crate::job::{Fit, VariantSpec};

/// A rectangle of the upright source, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// From the left edge.
    pub x: f64,
    /// From the top edge.
    pub y: f64,
    /// To the right edge, from `x`.
    pub width: f64,
    /// To the bottom edge, from `y`.
    pub height: f64,
}

/// A box larger than the picture in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixels left of the picture.
    pub left: u32,
    /// Rows above the picture.
    pub top: u32,
}

/// How a source becomes a variant: `region` is scaled to `width` x `height` and put on `canvas`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    /// What of the source is used.
    pub region: Region,
    /// Pixels a row of the scaled picture.
    pub width: u32,
    /// Rows of the scaled picture.
    pub height: u32,
    /// What it is put on; none if it fills the result.
    pub canvas: Option<Canvas>,
}

/// `over / under`: what a side is multiplied by.
#[derive(Clone, Copy)]
struct Ratio {
    over: u32,
    under: u32,
}

impl Ratio {
    fn new(over: u32, under: u32) -> Self {
        Self { over, under }
    }

    fn is_less_than(self, other: Self) -> bool {
        u64::from(self.over) * u64::from(other.under) < u64::from(other.over) * u64::from(self.under)
    }

    fn capped(self, enlarge: bool) -> Self {
        if !enlarge && self.over > self.under { Self::new(1, 1) } else { self }
    }

    /// `side` times this, rounded half up, at least 1.
    fn of(self, side: u32) -> u32 {
        let (over, under) = (u64::from(self.over), u64::from(self.under));
        let rounded = (u64::from(side) * over * 2 + under) / (under * 2);
        u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
    }

    fn as_f64(self) -> f64 {
        f64::from(self.over) / f64::from(self.under)
    }
}

impl Layout {
    /// The layout of `variant` for an upright source of `width` x `height` pixels, neither of them 0.
    #[must_use]
    pub fn of(width: u32, height: u32, variant: &VariantSpec) -> Self {
        let (across, down) = (Ratio::new(variant.width, width), Ratio::new(variant.height, height));
        let smaller = if down.is_less_than(across) { down } else { across };
        let larger = if down.is_less_than(across) { across } else { down };
        let whole = |ratio: Ratio| {
            let ratio = ratio.capped(variant.enlarge);
            Self::whole(width, height, ratio.of(width), ratio.of(height))
        };
        match (variant.width, variant.height, variant.fit) {
            (0, 0, _) => whole(Ratio::new(1, 1)),
            (_, 0, _) => whole(across),
            (0, _, _) => whole(down),
            (_, _, Fit::Inside) => whole(smaller),
            (_, _, Fit::Outside) => whole(larger),
            (_, _, Fit::Fill) => {
                let (across, down) = (across.capped(variant.enlarge), down.capped(variant.enlarge));
                Self::whole(width, height, across.of(width), down.of(height))
            }
            (_, _, Fit::Contain) => whole(smaller).on_canvas(variant),
            (_, _, Fit::Cover) => Self::cut_out(width, height, larger.capped(variant.enlarge), variant),
        }
    }

    /// Whether what is used of the source is made larger or smaller: only then are its colours mixed.
    #[must_use]
    pub fn is_scaled(&self) -> bool {
        (self.region.width, self.region.height) != (f64::from(self.width), f64::from(self.height))
    }

    /// Pixels a row and rows of the result.
    #[must_use]
    pub fn output_size(&self) -> (u32, u32) {
        self.canvas.map_or((self.width, self.height), |canvas| (canvas.width, canvas.height))
    }

    fn whole(source_width: u32, source_height: u32, width: u32, height: u32) -> Self {
        let region = Region { x: 0.0, y: 0.0, width: f64::from(source_width), height: f64::from(source_height) };
        Self { region, width, height, canvas: None }
    }

    fn on_canvas(self, variant: &VariantSpec) -> Self {
        let (width, height) = (variant.width, variant.height);
        if (width, height) == (self.width, self.height) {
            return self;
        }
        let left = placed(width - self.width, variant.position.x);
        let top = placed(height - self.height, variant.position.y);
        Self { canvas: Some(Canvas { width, height, left, top }), ..self }
    }

    fn cut_out(source_width: u32, source_height: u32, ratio: Ratio, variant: &VariantSpec) -> Self {
        let width = variant.width.min(ratio.of(source_width));
        let height = variant.height.min(ratio.of(source_height));
        let scale = ratio.as_f64();
        let cut = |output: u32, source: u32, position: i8| {
            let length = (f64::from(output) / scale).min(f64::from(source));
            let spare = f64::from(source) - length;
            let start = spare * (f64::from(position) + 1.0) / 2.0;
            // Pixels that keep their size must also keep their grid.
            (if ratio.over == ratio.under { start.floor() } else { start }, length)
        };
        let (x, region_width) = cut(width, source_width, variant.position.x);
        let (y, region_height) = cut(height, source_height, variant.position.y);
        let region = Region { x, y, width: region_width, height: region_height };
        Self { region, width, height, canvas: None }
    }
}

/// How much of `spare` comes before a picture at `position`.
fn placed(spare: u32, position: i8) -> u32 {
    match position {
        ..0 => 0,
        0 => spare / 2,
        1.. => spare,
    }
}

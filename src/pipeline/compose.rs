//! The last step before encoding: the canvas around a picture, and what shows through it.

use std::borrow::Cow;

use super::Layout;
use crate::encoder::{Picture, Pixels};
use crate::job::{Background, VariantSpec};

/// Whether [`compose`] would change `picture`.
pub(super) fn is_needed(picture: &Picture, layout: &Layout, variant: &VariantSpec) -> bool {
    layout.canvas.is_some() || (!variant.format.info().alpha && matches!(picture.pixels, Pixels::Rgba(_)))
}

/// `picture` on its canvas; flattened onto the background if the format has no alpha.
pub(super) fn compose(picture: &Picture, layout: &Layout, variant: &VariantSpec) -> Picture {
    let flat = !variant.format.info().alpha;
    let background = if flat { over_white(variant.background) } else { variant.background };
    let picture = if flat { flattened(picture, background) } else { Cow::Borrowed(picture) };
    let Some(canvas) = layout.canvas else { return picture.into_owned() };

    let [r, g, b, a] = background.0;
    let pixels = match &picture.pixels {
        Pixels::Rgba(samples) => Pixels::Rgba(placed::<4>(samples, &picture, canvas, [r, g, b, a])),
        Pixels::Rgb(samples) if a == 255 => Pixels::Rgb(placed::<3>(samples, &picture, canvas, [r, g, b])),
        Pixels::Rgb(samples) => {
            let samples: Vec<u8> = samples.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
            Pixels::Rgba(placed::<4>(&samples, &picture, canvas, [r, g, b, a]))
        }
    };
    Picture { width: canvas.width, height: canvas.height, pixels }
}

fn placed<const N: usize>(samples: &[u8], picture: &Picture, canvas: super::Canvas, background: [u8; N]) -> Vec<u8> {
    let mut placed = background.repeat(canvas.width as usize * canvas.height as usize);
    let stride = canvas.width as usize * N;
    let from = canvas.top as usize * stride + canvas.left as usize * N;
    let row_bytes = picture.width as usize * N;
    for (row, source) in placed[from..].chunks_mut(stride).zip(samples.chunks_exact(row_bytes)) {
        row[..row_bytes].copy_from_slice(source);
    }
    placed
}

/// A background that is itself translucent lies on white paper.
fn over_white(background: Background) -> Background {
    let [r, g, b, a] = background.0;
    let [r, g, b] = [r, g, b].map(|value| blended(value, 255, a));
    Background([r, g, b, 255])
}

fn flattened(picture: &Picture, background: Background) -> Cow<'_, Picture> {
    let Pixels::Rgba(samples) = &picture.pixels else { return Cow::Borrowed(picture) };
    let [r, g, b, _] = background.0;
    let flat = samples
        .chunks_exact(4)
        .flat_map(|p| [blended(p[0], r, p[3]), blended(p[1], g, p[3]), blended(p[2], b, p[3])])
        .collect();
    Cow::Owned(Picture { pixels: Pixels::Rgb(flat), ..*picture })
}

/// `over` on `under`, as `alpha` says, rounded.
fn blended(over: u8, under: u8, alpha: u8) -> u8 {
    let (over, under, alpha) = (u32::from(over), u32::from(under), u32::from(alpha));
    u8::try_from((over * alpha + under * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

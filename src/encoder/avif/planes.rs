//! R, G, B to planes of Y, Cb, Cr: BT.601 matrix, full range.
//!
//! Where colour is halved, a sample is the mean of the four pixels around it: it sits in their middle, which is where
//! decoders that are told nothing look for it, as in JPEG.

use super::super::{Picture, Pixels};

/// What of a picture's colour is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    /// None: the picture is grey.
    None,
    /// Half the samples in both directions.
    Halved,
    /// Every sample.
    Full,
}

/// A sample of a plane.
pub(super) trait Sample: Copy + Default {
    /// The largest.
    const MAX: i32;

    /// The sample of this value, which is at most [`Self::MAX`].
    fn of(value: i32) -> Self;
}

impl Sample for u8 {
    const MAX: i32 = 255;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most MAX, and never negative")]
    fn of(value: i32) -> Self {
        value as Self
    }
}

/// Ten bits.
impl Sample for u16 {
    const MAX: i32 = 1023;

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most MAX, and never negative")]
    fn of(value: i32) -> Self {
        value as Self
    }
}

/// The planes of a picture, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Planes<S> {
    /// Width x height samples.
    pub(super) luma: Vec<S>,
    /// Cb and Cr; empty where there is no colour.
    pub(super) chroma: [Vec<S>; 2],
    /// Width x height samples; empty where every pixel is opaque.
    pub(super) alpha: Vec<S>,
}

impl<S: Sample> Planes<S> {
    /// The planes of `picture`.
    pub(super) fn of(picture: &Picture, colour: Colour) -> Self {
        let width = picture.width as usize;
        match &picture.pixels {
            Pixels::Rgb(samples) => convert::<S, 3>(samples, width, colour),
            Pixels::Rgba(samples) => {
                let alpha = samples.chunks_exact(4).map(|pixel| S::of(scaled::<S>(pixel[3]))).collect();
                Self { alpha, ..convert::<S, 4>(samples, width, colour) }
            }
        }
    }
}

/// `samples` are rows of `width` pixels of N channels, the first three R, G, B.
fn convert<S: Sample, const N: usize>(samples: &[u8], width: usize, colour: Colour) -> Planes<S> {
    let pixels = samples.len() / N;
    let mut planes = Planes { luma: vec![S::default(); pixels], chroma: [Vec::new(), Vec::new()], alpha: Vec::new() };
    let rows = samples.chunks_exact((width * N).max(1)).zip(planes.luma.chunks_exact_mut(width.max(1)));
    match colour {
        Colour::None => {
            for (row, luma) in rows {
                row.chunks_exact(N).zip(luma).for_each(|(pixel, luma)| *luma = S::of(scaled::<S>(pixel[1])));
            }
        }
        Colour::Full => {
            planes.chroma = [vec![S::default(); pixels], vec![S::default(); pixels]];
            let [cb, cr] = &mut planes.chroma;
            let chroma = cb.chunks_exact_mut(width.max(1)).zip(cr.chunks_exact_mut(width.max(1)));
            for ((row, luma), (cb, cr)) in rows.zip(chroma) {
                luma_row::<S, N>(row, luma);
                full_row::<S, N>(row, cb, cr);
            }
        }
        Colour::Halved => {
            let halved = width.div_ceil(2).max(1);
            let size = halved * (pixels / width.max(1)).div_ceil(2);
            planes.chroma = [vec![S::default(); size], vec![S::default(); size]];
            let [cb, cr] = &mut planes.chroma;
            let chroma = cb.chunks_exact_mut(halved).zip(cr.chunks_exact_mut(halved));
            for (row, luma) in rows {
                luma_row::<S, N>(row, luma);
            }
            for (pair, (cb, cr)) in samples.chunks(width.max(1) * N * 2).zip(chroma) {
                let (top, bottom) = pair.split_at(width * N);
                // The last row of an odd number stands for the one that is missing, and so does the last column.
                halved_row::<S, N>(top, if bottom.is_empty() { top } else { bottom }, cb, cr);
            }
        }
    }
    planes
}

/// `sample` on the scale of `S`.
fn scaled<S: Sample>(sample: u8) -> i32 {
    (i32::from(sample) * S::MAX + 127) / 255
}

/// `weight` of 65,536, times what a sample of `S` is more than one of 8 bits.
#[expect(clippy::cast_possible_truncation, reason = "at most five times 65,536")]
const fn weight<S: Sample>(weight: i64) -> i32 {
    (weight * S::MAX as i64 / 255) as i32
}

fn luma_row<S: Sample, const N: usize>(row: &[u8], luma: &mut [S]) {
    // 0.299, 0.587 and 0.114.
    let [red, green, blue] = const { [weight::<S>(19_595), weight::<S>(38_470), weight::<S>(7_471)] };
    for (pixel, luma) in row.chunks_exact(N).zip(luma) {
        let [r, g, b] = [i32::from(pixel[0]), i32::from(pixel[1]), i32::from(pixel[2])];
        *luma = S::of((red * r + green * g + blue * b + 32_768) >> 16);
    }
}

fn full_row<S: Sample, const N: usize>(row: &[u8], cb: &mut [S], cr: &mut [S]) {
    for ((pixel, cb), cr) in row.chunks_exact(N).zip(cb).zip(cr) {
        let rgb = [pixel[0], pixel[1], pixel[2]].map(|c| 4 * i32::from(c));
        (*cb, *cr) = chroma(rgb);
    }
}

/// Cb and Cr of every two by two pixels of two rows.
fn halved_row<S: Sample, const N: usize>(top: &[u8], bottom: &[u8], cb: &mut [S], cr: &mut [S]) {
    let sum = |a: &[u8], b: &[u8], next: usize| {
        [0, 1, 2].map(|c| i32::from(a[c]) + i32::from(a[c + next]) + i32::from(b[c]) + i32::from(b[c + next]))
    };
    let quads = top.chunks_exact(2 * N).zip(bottom.chunks_exact(2 * N));
    for (((a, b), cb), cr) in quads.zip(cb.iter_mut()).zip(cr.iter_mut()) {
        (*cb, *cr) = chroma(sum(a, b, N));
    }
    if let (false, Some(cb), Some(cr)) = (top.len().is_multiple_of(2 * N), cb.last_mut(), cr.last_mut()) {
        let at = top.len() - N;
        (*cb, *cr) = chroma(sum(&top[at..], &bottom[at..], 0));
    }
}

/// Cb and Cr of a pixel whose samples are given four times over.
fn chroma<S: Sample>([r, g, b]: [i32; 3]) -> (S, S) {
    // 0.5, and the weights of luma over twice what is left of one without blue, and without red.
    let [half, blue_r, blue_g] = const { [weight::<S>(32_768), weight::<S>(11_058), weight::<S>(21_710)] };
    let [red_g, red_b] = const { [weight::<S>(27_439), weight::<S>(5_329)] };
    let middle = const { ((S::MAX + 1) << 17) + (1 << 17) };
    let cb = (half * b - blue_r * r - blue_g * g + middle) >> 18;
    let cr = (half * r - red_g * g - red_b * b + middle) >> 18;
    // The brightest blue and red round up to one more than there is.
    (S::of(cb.clamp(0, S::MAX)), S::of(cr.clamp(0, S::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Y, Cb, Cr of a flat picture of an odd size, and of the same in floating point.
    fn flat<S: Sample + PartialEq>(rgb: [u8; 3], colour: Colour) -> ([S; 3], [f64; 3]) {
        let picture = Picture { width: 3, height: 5, pixels: Pixels::Rgb(rgb.repeat(15)) };
        let planes = Planes::<S>::of(&picture, colour);
        let size = if colour == Colour::Full { 15 } else { 6 };
        assert!(planes.chroma.iter().all(|plane| plane.len() == size) && planes.luma.len() == 15);
        for plane in [&planes.luma, &planes.chroma[0], &planes.chroma[1]] {
            assert!(plane.iter().all(|sample| *sample == plane[0]));
        }
        let [r, g, b] = rgb.map(|c| f64::from(c) / 255.0);
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        let max = f64::from(S::MAX);
        let middle = f64::from(i32::midpoint(S::MAX, 1));
        let exact = [y * max, (b - y) / 1.772 * max + middle, (r - y) / 1.402 * max + middle].map(|c| c.min(max));
        ([planes.luma[0], planes.chroma[0][0], planes.chroma[1][0]], exact)
    }

    #[test]
    fn planes_are_those_of_the_formula() {
        for rgb in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [17, 130, 201], [250, 3, 99]] {
            for colour in [Colour::Full, Colour::Halved] {
                let (eight, exact) = flat::<u8>(rgb, colour);
                let near = |ours: f64, exact: f64| (ours - exact).abs() <= 0.51;
                assert!(eight.iter().zip(exact).all(|(o, e)| near(f64::from(*o), e)), "{rgb:?}: {eight:?} {exact:?}");
                let (ten, exact) = flat::<u16>(rgb, colour);
                assert!(ten.iter().zip(exact).all(|(o, e)| near(f64::from(*o), e)), "{rgb:?}: {ten:?} {exact:?}");
            }
        }
    }

    #[test]
    fn halved_colour_is_the_mean_of_four_and_of_fewer_at_the_edge() {
        let samples = [[0, 0, 0], [0, 0, 80], [0, 0, 200], [0, 0, 40], [0, 0, 120], [0, 0, 100]].concat();
        let picture = Picture { width: 3, height: 2, pixels: Pixels::Rgb(samples) };
        let planes = Planes::<u8>::of(&picture, Colour::Halved);
        // 128 + half of the mean blue.
        assert_eq!(planes.chroma[0], [158, 203]);
    }
}

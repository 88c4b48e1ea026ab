//! R, G, B to planes of Y, Cb, Cr: BT.601 matrix, full range, 8 bits.
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

/// The planes of a picture, without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Planes {
    /// Width x height samples.
    pub(super) luma: Vec<u8>,
    /// Cb and Cr; empty where there is no colour.
    pub(super) chroma: [Vec<u8>; 2],
    /// Width x height samples; empty where every pixel is opaque.
    pub(super) alpha: Vec<u8>,
}

impl Planes {
    /// The planes of `picture`.
    pub(super) fn of(picture: &Picture, colour: Colour) -> Self {
        let width = picture.width as usize;
        match &picture.pixels {
            Pixels::Rgb(samples) => convert::<3>(samples, width, colour),
            Pixels::Rgba(samples) => {
                let alpha = samples.chunks_exact(4).map(|pixel| pixel[3]).collect();
                Self { alpha, ..convert::<4>(samples, width, colour) }
            }
        }
    }
}

/// `samples` are rows of `width` pixels of N channels, the first three R, G, B.
fn convert<const N: usize>(samples: &[u8], width: usize, colour: Colour) -> Planes {
    let pixels = samples.len() / N;
    let mut planes = Planes { luma: vec![0; pixels], ..Planes::default() };
    let rows = samples.chunks_exact((width * N).max(1)).zip(planes.luma.chunks_exact_mut(width.max(1)));
    match colour {
        Colour::None => {
            for (row, luma) in rows {
                row.chunks_exact(N).zip(luma).for_each(|(pixel, luma)| *luma = pixel[1]);
            }
        }
        Colour::Full => {
            planes.chroma = [vec![0; pixels], vec![0; pixels]];
            let [cb, cr] = &mut planes.chroma;
            let chroma = cb.chunks_exact_mut(width.max(1)).zip(cr.chunks_exact_mut(width.max(1)));
            for ((row, luma), (cb, cr)) in rows.zip(chroma) {
                luma_row::<N>(row, luma);
                full_row::<N>(row, cb, cr);
            }
        }
        Colour::Halved => {
            let halved = width.div_ceil(2).max(1);
            let size = halved * (pixels / width.max(1)).div_ceil(2);
            planes.chroma = [vec![0; size], vec![0; size]];
            let [cb, cr] = &mut planes.chroma;
            let chroma = cb.chunks_exact_mut(halved).zip(cr.chunks_exact_mut(halved));
            for (row, luma) in rows {
                luma_row::<N>(row, luma);
            }
            for (pair, (cb, cr)) in samples.chunks(width.max(1) * N * 2).zip(chroma) {
                let (top, bottom) = pair.split_at(width * N);
                // The last row of an odd number stands for the one that is missing, and so does the last column.
                halved_row::<N>(top, if bottom.is_empty() { top } else { bottom }, cb, cr);
            }
        }
    }
    planes
}

fn luma_row<const N: usize>(row: &[u8], luma: &mut [u8]) {
    for (pixel, luma) in row.chunks_exact(N).zip(luma) {
        let [r, g, b] = [u32::from(pixel[0]), u32::from(pixel[1]), u32::from(pixel[2])];
        // 0.299, 0.587 and 0.114 of 65,536.
        *luma = ((19_595 * r + 38_470 * g + 7_471 * b + 32_768) >> 16) as u8;
    }
}

fn full_row<const N: usize>(row: &[u8], cb: &mut [u8], cr: &mut [u8]) {
    for ((pixel, cb), cr) in row.chunks_exact(N).zip(cb).zip(cr) {
        let rgb = [pixel[0], pixel[1], pixel[2]].map(|c| 4 * i32::from(c));
        (*cb, *cr) = chroma(rgb);
    }
}

/// Cb and Cr of every two by two pixels of two rows.
fn halved_row<const N: usize>(top: &[u8], bottom: &[u8], cb: &mut [u8], cr: &mut [u8]) {
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
fn chroma([r, g, b]: [i32; 3]) -> (u8, u8) {
    const HALF: i32 = (128 << 18) + (1 << 17);
    // Of 65,536: 0.5, and the parts of Y over twice what is left of one without blue, and without red.
    let cb = (32_768 * b - 11_058 * r - 21_710 * g + HALF) >> 18;
    let cr = (32_768 * r - 27_439 * g - 5_329 * b + HALF) >> 18;
    // At the brightest blue and red it rounds up to 256.
    (cb.min(255) as u8, cr.min(255) as u8)
}

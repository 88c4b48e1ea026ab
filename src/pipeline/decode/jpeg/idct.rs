//! Coefficients to samples, at full size or as the means of squares of samples.

use std::num::Wrapping;

use super::scan::Block;

/// Fixed point, as wide as libjpeg's. Coefficients that no picture gives wrap around.
type Fixed = Wrapping<i32>;

/// Bits behind the point of the factors.
const FACTOR_BITS: usize = 13;

/// Bits that the first pass keeps behind the point.
const PASS_BITS: usize = 2;

/// `value` x 2^13, to the nearest.
const fn fixed(value: f64) -> Fixed {
    #[expect(clippy::cast_possible_truncation, reason = "factors are below 4")]
    let scaled = (value * 8192.0 + 0.5) as i32;
    Wrapping(scaled)
}

/// Writes the samples of `block`, dequantised by `table`, to `into`, whose rows are `stride` apart: `size` (8, 4, 2 or 1)
/// across and down, each the mean of as many as it stands for. `last` is the last coefficient that is not 0, in the
/// order of the file.
pub(super) fn transform(block: &Block, table: &[u16; 64], last: usize, size: usize, into: &mut [u8], stride: usize) {
    if last == 0 || size == 1 {
        let level = sample((dequantised(block, table, 0) + Wrapping(4)) >> 3);
        for row in into.chunks_mut(stride).take(size) {
            row[..size].fill(level);
        }
        return;
    }
    match size {
        8 => whole(block, table, into, stride),
        4 => reduced(four, block, table, into, stride),
        _ => reduced(two, block, table, into, stride),
    }
}

#[inline]
fn dequantised(block: &Block, table: &[u16; 64], place: usize) -> Fixed {
    Wrapping(i32::from(block[place])) * Wrapping(i32::from(table[place]))
}

/// Around the middle, to 0 to 255.
#[inline]
fn sample(value: Fixed) -> u8 {
    let Wrapping(level) = value + Wrapping(128);
    u8::try_from(level.clamp(0, 255)).unwrap_or(u8::MAX)
}

#[inline]
fn rounded(value: Fixed, bits: usize) -> Fixed {
    (value + (Wrapping(1) << (bits - 1))) >> bits
}

fn whole(block: &Block, table: &[u16; 64], into: &mut [u8], stride: usize) {
    let mut columns = [[Wrapping(0); 8]; 8];
    for x in 0..8 {
        let column: [Fixed; 8] = std::array::from_fn(|y| dequantised(block, table, 8 * y + x));
        if column[1..].iter().all(|value| value.0 == 0) {
            let level = column[0] << PASS_BITS;
            for row in &mut columns {
                row[x] = level;
            }
            continue;
        }
        let values = eight(column);
        for (row, value) in columns.iter_mut().zip(values) {
            row[x] = rounded(value, FACTOR_BITS - PASS_BITS);
        }
    }
    for (row, to) in columns.into_iter().zip(into.chunks_mut(stride)) {
        let values = eight(row);
        for (to, value) in to.iter_mut().zip(values) {
            *to = sample(rounded(value, FACTOR_BITS + PASS_BITS + 3));
        }
    }
}

/// The one-dimensional transform of eight, by Loeffler, Ligtenberg and Moschytz (1989), times the square root of eight
/// and 2^13.
#[inline]
fn eight(f: [Fixed; 8]) -> [Fixed; 8] {
    const A: Fixed = fixed(0.541_196_100);
    const B: Fixed = fixed(0.765_366_865);
    const C: Fixed = fixed(1.847_759_065);
    const D: Fixed = fixed(1.175_875_602);
    const E: [Fixed; 4] = [fixed(0.298_631_336), fixed(2.053_119_869), fixed(3.072_711_026), fixed(1.501_321_110)];
    const F: [Fixed; 4] = [fixed(0.899_976_223), fixed(2.562_915_447), fixed(1.961_570_560), fixed(0.390_180_644)];

    let rotated = (f[2] + f[6]) * A;
    let (low, high) = (rotated + f[2] * B, rotated - f[6] * C);
    let (sum, difference) = ((f[0] + f[4]) << FACTOR_BITS, (f[0] - f[4]) << FACTOR_BITS);
    let even = [sum + low, difference + high, difference - high, sum - low];

    let both = (f[7] + f[3] + f[5] + f[1]) * D;
    let (outer, inner) = ((f[7] + f[1]) * F[0], (f[5] + f[3]) * F[1]);
    let (first, second) = (both - (f[7] + f[3]) * F[2], both - (f[5] + f[1]) * F[3]);
    let odd = [
        f[1] * E[3] - outer + second,
        f[3] * E[2] - inner + first,
        f[5] * E[1] - inner + second,
        f[7] * E[0] - outer + first,
    ];

    std::array::from_fn(|i| if i < 4 { even[i] + odd[i] } else { even[7 - i] - odd[7 - i] })
}

/// The means of each two of the eight samples, scaled as by [`eight`]: of coefficient u, cos(u pi / 16) cos((2m + 1) u pi / 8).
#[inline]
fn four(f: [Fixed; 8]) -> [Fixed; 4] {
    const A: [Fixed; 2] = [fixed(0.923_879_533), fixed(0.382_683_432)];
    const B: [Fixed; 4] = [fixed(1.281_457_724), fixed(0.449_988_112), fixed(0.300_672_443), fixed(0.254_897_790)];
    const C: [Fixed; 4] = [fixed(0.530_797_169), fixed(1.086_367_402), fixed(0.725_887_491), fixed(0.105_582_121)];
    let (middle, slope) = (f[0] << FACTOR_BITS, f[2] * A[0] - f[6] * A[1]);
    let outer = f[1] * B[0] + f[3] * B[1] - f[5] * B[2] - f[7] * B[3];
    let inner = f[1] * C[0] - f[3] * C[1] + f[5] * C[2] - f[7] * C[3];
    [middle + slope + outer, middle - slope + inner, middle - slope - inner, middle + slope - outer]
}

/// The means of each four, the same way: cos(u pi / 16) cos(u pi / 8) cos((2m + 1) u pi / 4).
#[inline]
fn two(f: [Fixed; 8]) -> [Fixed; 2] {
    const A: [Fixed; 4] = [fixed(0.906_127_446), fixed(0.318_189_645), fixed(0.212_607_524), fixed(0.180_239_956)];
    let middle = f[0] << FACTOR_BITS;
    let slope = f[1] * A[0] - f[3] * A[1] + f[5] * A[2] - f[7] * A[3];
    [middle + slope, middle - slope]
}

/// As [`whole`], by `means` of `N` a row.
fn reduced<const N: usize>(
    means: fn([Fixed; 8]) -> [Fixed; N],
    block: &Block,
    table: &[u16; 64],
    into: &mut [u8],
    stride: usize,
) {
    let mut columns = [[Wrapping(0); 8]; N];
    for x in 0..8 {
        let column: [Fixed; 8] = std::array::from_fn(|y| dequantised(block, table, 8 * y + x));
        for (row, value) in columns.iter_mut().zip(means(column)) {
            row[x] = rounded(value, FACTOR_BITS - PASS_BITS);
        }
    }
    for (row, to) in columns.into_iter().zip(into.chunks_mut(stride)) {
        for (to, value) in to.iter_mut().zip(means(row)) {
            *to = sample(rounded(value, FACTOR_BITS + PASS_BITS + 3));
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
mod tests {
    use super::*;

    /// A block of everything, and the samples that it stands for, by the definition (T.81, A.3.3).
    fn example(seed: u32) -> (Block, [f64; 64]) {
        let mut state = seed;
        let block: Block = std::array::from_fn(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let spread = 400 / (1 + i32::try_from(i).expect("small"));
            let value = i32::try_from(state >> 16).expect("16 bits") % (2 * spread + 1) - spread;
            i16::try_from(value).expect("small")
        });
        let factor = |u: usize| if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
        let wave =
            |x: usize, u: usize| factor(u) / 2.0 * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos();
        let samples = std::array::from_fn(|i| {
            (0..64).map(|c| f64::from(block[c]) * wave(i / 8, c / 8) * wave(i % 8, c % 8)).sum()
        });
        (block, samples)
    }

    #[test]
    fn samples_are_what_the_definition_says_at_every_size() {
        for seed in 0..200 {
            let (block, exact) = example(seed);
            for size in [8, 4, 2, 1] {
                let mut samples = [0; 64];
                transform(&block, &[1; 64], 63, size, &mut samples, size);
                let by = 8 / size;
                for (i, sample) in samples[..size * size].iter().enumerate() {
                    let square = (0..by * by).map(|j| exact[8 * (i / size * by + j / by) + i % size * by + j % by]);
                    let mean = square.sum::<f64>() / (by * by) as f64;
                    let expected = (mean + 128.0).clamp(0.0, 255.0);
                    assert!(
                        (f64::from(*sample) - expected).abs() < 0.6,
                        "seed {seed}, size {size}: {sample}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_block_of_one_coefficient_is_even() {
        let mut block = [0; 64];
        block[0] = -77;
        for size in [8, 4, 2, 1] {
            let (mut quick, mut slow) = ([0; 64], [0; 64]);
            transform(&block, &[3; 64], 0, size, &mut quick, size);
            transform(&block, &[3; 64], 63, size, &mut slow, size);
            assert_eq!(quick, slow);
        }
    }

    #[test]
    fn coefficients_of_no_picture_are_no_panic() {
        for size in [8, 4, 2, 1] {
            transform(&[i16::MIN; 64], &[u16::MAX; 64], 63, size, &mut [0; 64], size);
            transform(&[i16::MAX; 64], &[u16::MAX; 64], 63, size, &mut [0; 64], size);
        }
    }
}

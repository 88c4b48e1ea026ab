//! PNG's filters: each row as differences from what surrounds it, by whichever rule leaves the smallest numbers.

/// Bytes that are worked on together; loops of this length become vector instructions.
const LANES: usize = 32;

/// Every row of `samples`, `row_bytes` each with `pixel_bytes` a pixel, filtered, behind the number of its filter.
pub(super) fn filtered(samples: &[u8], row_bytes: usize, pixel_bytes: usize) -> Vec<u8> {
    let mut rows = Vec::with_capacity(samples.len() + samples.len() / row_bytes);
    // Both rows stand behind a pixel of zeros, which is what lies left of the picture; above it lie zeros too.
    let mut above = vec![0; pixel_bytes + row_bytes];
    let mut row = above.clone();
    let mut best = vec![0; row_bytes];
    let mut tried = best.clone();
    for samples in samples.chunks_exact(row_bytes) {
        row[pixel_bytes..].copy_from_slice(samples);
        let around = Around { left: &row[..row_bytes], above: &above[pixel_bytes..], corner: &above[..row_bytes] };
        let mut least = u64::MAX;
        let mut chosen = 0;
        // No filter at all hardly ever wins where neighbours are alike, and nothing else is filtered.
        for number in 1..=4 {
            let size = match number {
                1 => around.apply(samples, &mut tried, |x, left, _, _| x.wrapping_sub(left)),
                2 => around.apply(samples, &mut tried, |x, _, above, _| x.wrapping_sub(above)),
                3 => around.apply(samples, &mut tried, |x, left, above, _| x.wrapping_sub(mean(left, above))),
                _ => around
                    .apply(samples, &mut tried, |x, left, above, corner| x.wrapping_sub(paeth(left, above, corner))),
            };
            if size < least {
                (least, chosen) = (size, number);
                std::mem::swap(&mut best, &mut tried);
            }
        }
        rows.push(chosen);
        rows.extend_from_slice(&best);
        std::mem::swap(&mut row, &mut above);
    }
    rows
}

/// What surrounds each sample of a row: the same channel of the pixel to the left, above, and above to the left.
struct Around<'a> {
    left: &'a [u8],
    above: &'a [u8],
    corner: &'a [u8],
}

impl Around<'_> {
    /// Filters a row into `out`. Returns how large the results are, as signed numbers without their sign, added up.
    #[inline]
    fn apply(&self, row: &[u8], out: &mut [u8], filter: impl Fn(u8, u8, u8, u8) -> u8) -> u64 {
        let (rows, row_rest) = row.as_chunks::<LANES>();
        let (outs, out_rest) = out.as_chunks_mut::<LANES>();
        let (lefts, left_rest) = self.left.as_chunks::<LANES>();
        let (aboves, above_rest) = self.above.as_chunks::<LANES>();
        let (corners, corner_rest) = self.corner.as_chunks::<LANES>();
        let mut size = 0;
        for ((((out, row), left), above), corner) in outs.iter_mut().zip(rows).zip(lefts).zip(aboves).zip(corners) {
            for i in 0..LANES {
                out[i] = filter(row[i], left[i], above[i], corner[i]);
            }
            size += out.iter().map(|v| u64::from(v.cast_signed().unsigned_abs())).sum::<u64>();
        }
        let rest = out_rest.iter_mut().zip(row_rest).zip(left_rest).zip(above_rest).zip(corner_rest);
        for ((((out, row), left), above), corner) in rest {
            *out = filter(*row, *left, *above, *corner);
            size += u64::from(out.cast_signed().unsigned_abs());
        }
        size
    }
}

/// The mean, rounded down, without a ninth bit.
fn mean(a: u8, b: u8) -> u8 {
    (a & b) + ((a ^ b) >> 1)
}

/// Whichever of the three comes nearest to left + above - corner; the first of them where several do.
///
/// The distances are |above - corner|, |left - corner| and, to the corner, their sum or their difference. The sum is
/// never the smallest, so that eight bits are enough.
fn paeth(left: u8, above: u8, corner: u8) -> u8 {
    let to_left = above.abs_diff(corner);
    let to_above = left.abs_diff(corner);
    let to_corner = if (left < corner) == (above < corner) { 255 } else { to_left.abs_diff(to_above) };
    let (nearer, distance) = if to_above <= to_corner { (above, to_above) } else { (corner, to_corner) };
    if to_left <= distance { left } else { nearer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paeth_is_the_standards_for_all_neighbours() {
        for (a, b) in (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| (a, b))) {
            for c in (0..=255u8).step_by(3) {
                let [x, y, z] = [a, b, c].map(i16::from);
                let p = x + y - z;
                let (pa, pb, pc) = ((p - x).abs(), (p - y).abs(), (p - z).abs());
                let expected = match () {
                    () if pa <= pb && pa <= pc => a,
                    () if pb <= pc => b,
                    () => c,
                };
                assert_eq!(paeth(a, b, c), expected, "{a} {b} {c}");
            }
        }
    }

    #[test]
    fn the_mean_is_rounded_down() {
        assert_eq!((mean(255, 255), mean(0, 1), mean(254, 1)), (255, 0, 127));
    }
}

//! The colours of transparent pixels, which don't show.
//!
//! A resized picture has black there. Left in, it costs bytes, and its edges shine through: what is next to them is
//! quantised together with them.

/// Pixels a side of the squares that are looked at.
const SIDE: usize = 8;

/// Gives the transparent pixels of `samples`, rows of `width` pixels of R, G, B, A, colours that cost few bytes: the mean
/// of the visible pixels in the same square of 8 x 8, or of the square before where there are none.
pub(super) fn fill_transparent_pixels(samples: &mut [u8], width: usize) {
    let stride = width * 4;
    for band in samples.chunks_mut((stride * SIDE).max(1)) {
        let mut mean = [128; 3];
        for left in (0..stride).step_by(SIDE * 4) {
            let right = (left + SIDE * 4).min(stride);
            let (mut sums, mut weight) = ([0_u32; 3], 0);
            for pixel in band.chunks_exact(stride).flat_map(|row| row[left..right].chunks_exact(4)) {
                let alpha = u32::from(pixel[3]);
                weight += alpha;
                sums.iter_mut().zip(pixel).for_each(|(sum, sample)| *sum += alpha * u32::from(*sample));
            }
            if weight > 0 {
                mean = sums.map(|sum| u8::try_from((sum + weight / 2) / weight).unwrap_or(u8::MAX));
            }
            for pixel in band.chunks_exact_mut(stride).flat_map(|row| row[left..right].chunks_exact_mut(4)) {
                if pixel[3] == 0 {
                    pixel[..3].copy_from_slice(&mean);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transparent_pixels_change_and_take_the_colour_beside_them() {
        let (width, height) = (21, 10);
        let mut samples: Vec<u8> =
            (0..width * height).flat_map(|i| if i % width < 4 { [200, 90, 30, 255] } else { [0, 0, 0, 0] }).collect();
        fill_transparent_pixels(&mut samples, width);
        assert!(samples.chunks_exact(4).all(|pixel| pixel[..3] == [200, 90, 30]));
        assert!(samples.chunks_exact(4).enumerate().all(|(i, pixel)| (pixel[3] == 255) == (i % width < 4)));
    }

    #[test]
    fn colours_count_by_how_much_is_seen_of_them() {
        let mut samples = vec![0, 0, 0, 0, 100, 0, 0, 255, 200, 0, 0, 85];
        fill_transparent_pixels(&mut samples, 3);
        assert_eq!(samples[..4], [125, 0, 0, 0]);
    }
}

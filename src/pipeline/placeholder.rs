//! What stands in a picture's place until it is there, of a picture that was made anyway.

use fast_image_resize::Resizer;
use thumbhash::rgba_to_thumb_hash;

use super::plan::placeholder_size;
use super::raster::{Raster, Samples};
use super::resize::resize;
use super::{PipelineError, Region};
use crate::encoder::Picture;
use crate::job::Placeholder;

/// Of an upright picture in sRGB.
pub(super) fn placeholder(picture: &Picture) -> Result<Placeholder, PipelineError> {
    let (width, height) = placeholder_size((picture.width, picture.height));
    let whole = Region { x: 0.0, y: 0.0, width: f64::from(picture.width), height: f64::from(picture.height) };
    let Raster { alpha, samples, .. } = resize(&mut Resizer::new(), picture, whole, width, height)?;
    let Samples::U8(samples) = samples else { return Err(PipelineError::bad_image("a placeholder of 16 bits")) };
    let rgba: Vec<u8> = if alpha {
        samples
    } else {
        samples.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], u8::MAX]).collect()
    };
    Ok(Placeholder::new(&rgba_to_thumb_hash(width as usize, height as usize, &rgba), mean(&rgba)))
}

/// Of red, green and blue, each pixel counted as much as it covers; of nothing that is seen, black.
fn mean(rgba: &[u8]) -> [u8; 3] {
    let (mut sums, mut weight) = ([0_u64; 3], 0_u64);
    for pixel in rgba.chunks_exact(4) {
        let alpha = u64::from(pixel[3]);
        weight += alpha;
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += u64::from(*value) * alpha;
        }
    }
    sums.map(|sum| u8::try_from((sum + weight / 2).checked_div(weight).unwrap_or(0)).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoder::Pixels;

    #[test]
    fn what_is_not_seen_does_not_count_in_the_colour() {
        let pixels = [[200, 100, 0, 255], [0, 0, 0, 0], [0, 0, 0, 0], [100, 100, 0, 255]].concat();
        let picture = Picture { width: 2, height: 2, pixels: Pixels::Rgba(pixels) };
        let made = serde_json::to_value(placeholder(&picture).expect("a placeholder")).expect("JSON");
        assert_eq!(made["color"], "#966400");
        let unseen = Picture { width: 1, height: 1, pixels: Pixels::Rgba(vec![9, 9, 9, 0]) };
        let made = serde_json::to_value(placeholder(&unseen).expect("a placeholder")).expect("JSON");
        assert_eq!(made["color"], "#000000");
    }

    #[test]
    fn every_shape_has_one_that_is_well_formed() {
        for (width, height) in [(1, 1), (1, 3000), (3000, 1), (100, 100), (101, 57), (640, 480), (480, 640)] {
            let pixels = Pixels::Rgb((0..width * height * 3).map(|n| (n % 251) as u8).collect());
            let picture = Picture { width, height, pixels };
            assert!(placeholder(&picture).expect("a placeholder").is_well_formed(), "{width} x {height}");
        }
    }
}

//! Stored pixels to upright ones, by the EXIF orientation. It is done after resizing, when there are fewer of them.

use image::metadata::Orientation;

use super::Region;
use super::raster::{Raster, Samples};

/// Whether width and height change places.
pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

/// The rectangle of the stored picture, `width` x `height` pixels, that shows as `region` once upright.
pub(super) fn stored_region(region: Region, width: u32, height: u32, orientation: Orientation) -> Region {
    let Region { x, y, width: across, height: down } = region;
    let (w, h) = (f64::from(width), f64::from(height));
    let at = |x, y| {
        let (width, height) = if swaps_sides(orientation) { (down, across) } else { (across, down) };
        Region { x, y, width, height }
    };
    match orientation {
        Orientation::NoTransforms => at(x, y),
        Orientation::FlipHorizontal => at(w - x - across, y),
        Orientation::Rotate180 => at(w - x - across, h - y - down),
        Orientation::FlipVertical => at(x, h - y - down),
        Orientation::Rotate90FlipH => at(y, x),
        Orientation::Rotate90 => at(y, h - x - across),
        Orientation::Rotate270FlipH => at(w - y - down, h - x - across),
        Orientation::Rotate270 => at(w - y - down, x),
    }
}

/// Turns a stored picture upright.
pub(super) fn upright(raster: Raster, orientation: Orientation) -> Raster {
    if orientation == Orientation::NoTransforms {
        return raster;
    }
    let (width, height) = (raster.width as usize, raster.height as usize);
    let channels = raster.channels();
    let samples = match &raster.samples {
        Samples::U8(samples) => Samples::U8(turn(samples, width, height, channels, orientation)),
        Samples::U16(samples) => Samples::U16(turn(samples, width, height, channels, orientation)),
    };
    let (width, height) =
        if swaps_sides(orientation) { (raster.height, raster.width) } else { (raster.width, raster.height) };
    Raster { width, height, samples, ..raster }
}

fn turn<T: Copy>(samples: &[T], width: usize, height: usize, channels: usize, orientation: Orientation) -> Vec<T> {
    match channels {
        1 => turn_pixels::<T, 1>(samples, width, height, orientation),
        2 => turn_pixels::<T, 2>(samples, width, height, orientation),
        3 => turn_pixels::<T, 3>(samples, width, height, orientation),
        _ => turn_pixels::<T, 4>(samples, width, height, orientation),
    }
}

fn turn_pixels<T: Copy, const N: usize>(
    samples: &[T],
    width: usize,
    height: usize,
    orientation: Orientation,
) -> Vec<T> {
    let (pixels, _) = samples.as_chunks::<N>();
    let (right, bottom) = (width - 1, height - 1);
    let (columns, rows) = if swaps_sides(orientation) { (height, width) } else { (width, height) };
    let mut upright = Vec::with_capacity(samples.len());
    for y in 0..rows {
        for x in 0..columns {
            let (from_x, from_y) = match orientation {
                Orientation::NoTransforms => (x, y),
                Orientation::FlipHorizontal => (right - x, y),
                Orientation::Rotate180 => (right - x, bottom - y),
                Orientation::FlipVertical => (x, bottom - y),
                Orientation::Rotate90FlipH => (y, x),
                Orientation::Rotate90 => (y, bottom - x),
                Orientation::Rotate270FlipH => (right - y, bottom - x),
                Orientation::Rotate270 => (right - y, x),
            };
            upright.extend_from_slice(&pixels[from_y * width + from_x]);
        }
    }
    upright
}

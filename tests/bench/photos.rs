//! What is worked on: photos of 12 MP as cameras write them, larger ones, and pictures with alpha.

use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use mozjpeg::{ColorSpace, Compress};

/// Pictures beside the checkout, used where they are.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus");

/// Where the sources come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Real photos.
    Corpus,
    /// Generated, photo-like pictures.
    Generated,
}

/// `count` JPEGs of 4032 x 3024 pixels, quality 92, 4:2:0.
pub(crate) fn twelve_megapixels(directory: &Path, count: usize) -> (Origin, Vec<PathBuf>) {
    let corpus = corpus();
    let origin = if corpus.is_empty() { Origin::Generated } else { Origin::Corpus };
    let make = |i: usize| {
        let path = directory.join(format!("12mp-{i}.jpg"));
        save(&path, &jpeg(&source(&corpus, i, 4032, 3024), 92));
        path
    };
    (origin, (0..count).map(make).collect())
}

/// One JPEG of `width` x `height` pixels.
pub(crate) fn of_size(directory: &Path, width: u32, height: u32) -> PathBuf {
    let path = directory.join(format!("{width}x{height}.jpg"));
    save(&path, &jpeg(&source(&corpus(), 0, width, height), 90));
    path
}

/// `count` RGBA pictures of 1600 pixels: every other one with a soft edge all over, the rest cut out.
pub(crate) fn with_alpha(directory: &Path, count: usize) -> Vec<PathBuf> {
    let corpus = corpus();
    let make = |i: usize| {
        let path = directory.join(format!("alpha-{i}.png"));
        let photo = source(&corpus, i, 1600, 1200);
        let picture = RgbaImage::from_fn(1600, 1200, |x, y| {
            let away = (f64::from(x) / 800.0 - 1.0).hypot(f64::from(y) / 600.0 - 1.0);
            let Rgb([r, g, b]) = *photo.get_pixel(x, y);
            match i % 2 {
                0 => Rgba([r, g, b, (255.0 - 150.0 * away) as u8]),
                _ if away > 0.96 => Rgba([0; 4]),
                _ => Rgba([r, g, b, ((0.96 - away) * 6000.0).min(255.0) as u8]),
            }
        });
        picture.save_with_format(&path, ImageFormat::Png).expect("room on the disk");
        path
    };
    (0..count).map(make).collect()
}

/// `count` photos of `side` pixels, kept from enlarging where there are real ones: those of the directory `PIXERVE_PHOTOS`,
/// if it is set.
pub(crate) fn scaled(count: usize, side: u32) -> Vec<RgbImage> {
    let given = std::env::var_os("PIXERVE_PHOTOS").map(|directory| paths(Path::new(&directory)));
    let corpus = given.unwrap_or_else(corpus);
    (0..count).map(|i| source(&corpus, i, side, side * 3 / 4)).collect()
}

fn save(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("room on the disk");
}

/// Real photos of at least 3 MP.
fn corpus() -> Vec<PathBuf> {
    let [photos, mut camera] = ["photos", "camera"].map(|folder| paths(&Path::new(CORPUS).join(folder)));
    // The largest first: it needs no enlarging.
    camera.sort_by_key(|path| std::cmp::Reverse(pixels(path)));
    let large = |path: &PathBuf| pixels(path) >= 2_000_000;
    camera.into_iter().filter(large).take(3).chain(photos.into_iter().filter(large)).collect()
}

/// What is in `directory`, sorted; nothing if it isn't there.
fn paths(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

fn pixels(path: &Path) -> u64 {
    image::image_dimensions(path).map_or(0, |(width, height)| u64::from(width) * u64::from(height))
}

/// The `i`-th photo, cropped and scaled to these dimensions, with a sensor's noise where it had to grow.
fn source(corpus: &[PathBuf], i: usize, width: u32, height: u32) -> RgbImage {
    let Some(path) = (!corpus.is_empty()).then(|| &corpus[i % corpus.len()]) else {
        return generated(i as u32, width, height);
    };
    let photo = image::open(path).expect("a photo");
    let (has, wants) = ((photo.width(), photo.height()), (width, height));
    if has == wants {
        return photo.into_rgb8();
    }
    let mut scaled = scale_to_fill(&photo, width, height);
    if u64::from(width) * u64::from(height) > pixels(path) {
        for (n, sample) in scaled.iter_mut().enumerate() {
            let noise = (hash(n as u32) % 7) as i16 - 3;
            *sample = (i16::from(*sample) + noise).clamp(0, 255) as u8;
        }
    }
    scaled
}

fn scale_to_fill(photo: &DynamicImage, width: u32, height: u32) -> RgbImage {
    let photo = photo.to_rgb8();
    let scale = (f64::from(photo.width()) / f64::from(width)).min(f64::from(photo.height()) / f64::from(height));
    let crop = ((f64::from(width) * scale) as u32, (f64::from(height) * scale) as u32);
    let (left, top) = ((photo.width() - crop.0) / 2, (photo.height() - crop.1) / 2);
    let view = imageops::crop_imm(&photo, left, top, crop.0, crop.1).to_image();
    imageops::resize(&view, width, height, FilterType::CatmullRom)
}

/// Like a photo to an encoder: noise whose amplitude falls with its frequency, some edges, never two alike.
fn generated(seed: u32, width: u32, height: u32) -> RgbImage {
    let unit = f64::from(width.max(height));
    let octaves: Vec<(f64, f64)> = (2..9).map(|o| (f64::from(1 << o), 150.0 / f64::from(1 << o).powf(0.8))).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (f64::from(x) / unit, f64::from(y) / unit);
        let mut grey = 120.0 + 60.0 * (v * 5.0 + f64::from(seed)).sin();
        for (i, (frequency, amplitude)) in octaves.iter().enumerate() {
            grey += amplitude * smooth(u * frequency, v * frequency, seed * 31 + i as u32);
        }
        let edge = smooth(u * 7.0, v * 7.0, seed + 977) > 0.15;
        let warm = 30.0 * smooth(u * 9.0, v * 9.0, seed + 555) + if edge { 25.0 } else { -25.0 };
        let grain = f64::from(hash(x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ seed) % 7) - 3.0;
        Rgb([grey + warm, grey + if edge { 20.0 } else { 0.0 }, grey - warm].map(|c| (c + grain) as u8))
    })
}

/// Value noise from -1 to 1.
fn smooth(x: f64, y: f64, seed: u32) -> f64 {
    let at = |x: f64, y: f64| {
        let cell = (x as u32).wrapping_mul(374_761_393) ^ (y as u32).wrapping_mul(668_265_263) ^ seed.wrapping_mul(97);
        f64::from(hash(cell) & 0xFFFF) / 32_767.5 - 1.0
    };
    let ease = |t: f64| t * t * (3.0 - 2.0 * t);
    let (left, top) = (x.floor(), y.floor());
    let (right, down) = (ease(x - left), ease(y - top));
    let upper = at(left, top) * (1.0 - right) + at(left + 1.0, top) * right;
    let lower = at(left, top + 1.0) * (1.0 - right) + at(left + 1.0, top + 1.0) * right;
    upper * (1.0 - down) + lower * down
}

fn hash(mut n: u32) -> u32 {
    n = (n ^ (n >> 16)).wrapping_mul(0x45d9_f3b3);
    n = (n ^ (n >> 15)).wrapping_mul(0x45d9_f3b3);
    n ^ (n >> 16)
}

/// As cameras do it: baseline, colour at half the resolution.
fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(picture.width() as usize, picture.height() as usize);
    compress.set_fastest_defaults();
    compress.set_quality(f32::from(quality));
    compress.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
    let mut started = compress.start_compress(Vec::new()).expect("a JPEG");
    started.write_scanlines(picture).expect("a JPEG");
    started.finish().expect("a JPEG")
}

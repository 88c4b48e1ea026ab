//! `make bench-quality`: what each speed of JPEG, WebP and PNG costs and gives.
//!
//! Every photo is encoded at several qualities; CPU time and bytes are read off at the same SSIMULACRA2, between the
//! qualities around, and shown relative to the default speed. A step that is slower and larger than another is marked.
//! Before that, whether one quality is one look at every speed, AVIF included, and whether a slower speed is ever larger.
//! `cargo bench --bench quality -- [PHOTOS [SIDE]]`, such as `-- 4 800`; with `looks` behind these, that part alone. The
//! photos are those of the directory `PIXERVE_PHOTOS`, or of `../shared/corpus`, or made here.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads what the machine says and writes scratch files")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    reason = "small numbers"
)]

#[path = "../it/pixels/avif.rs"]
#[expect(dead_code, reason = "tests ask it for more")]
mod avif;
#[expect(dead_code, reason = "the other benchmark needs more of it")]
mod photos;
#[expect(dead_code, reason = "the other benchmark needs more of it")]
mod usage;

use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Reference};
use image::{DynamicImage, RgbImage, RgbaImage};
use pixerve::encoder::{Avif, EncodeSettings, Encoder, Jpeg, Picture, Pixels, Png, Webp, tuning};

/// The scores at which formats and speeds are compared: what low, default and high qualities give.
const SCORES: [f64; 3] = [70.0, 77.0, 82.0];
const QUALITIES: [u8; 4] = [48, 68, 82, 89];
/// At which speeds are held to one look.
const LOOKS: [u8; 10] = [30, 38, 45, 53, 60, 68, 76, 85, 90, 95];
const SPEEDS: std::ops::RangeInclusive<u8> = 1..=10;
/// Every encode is timed so often, and the least counts.
const TRIES: usize = 2;

struct Photo {
    picture: Picture,
    reference: Ssimulacra2Reference,
}

/// The means over all photos: score, geometric mean of bytes, milliseconds.
#[derive(Clone, Copy)]
struct Point {
    score: f64,
    bytes: f64,
    ms: f64,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u32>().ok());
    let (count, side) = (numbers.next().unwrap_or(4) as usize, numbers.next().unwrap_or(1200));
    let photos: Vec<Photo> = photos::scaled(count, side).into_iter().map(Photo::new).collect();
    println!("{count} photos of {side} pixels; CPU milliseconds a file");
    looks("JPEG", &Jpeg, &photos);
    looks("WebP", &Webp, &photos);
    looks("AVIF", &Avif::default(), &photos);
    if std::env::args().any(|argument| argument == "looks") {
        return;
    }
    lossy("JPEG", &Jpeg, &photos, |a, b| tuning::jpeg(a) == tuning::jpeg(b));
    lossy("WebP", &Webp, &photos, |a, b| tuning::webp(a) == tuning::webp(b));
    lossless(&photos);
}

/// Each speed beside the format's default one, at the same qualities: how much higher it scores, and its bytes.
fn looks(name: &str, encoder: &dyn Encoder, photos: &[Photo]) {
    let Point { score, bytes, ms } = point(encoder, photos, EncodeSettings::default());
    println!("\n{name} by default: SSIMULACRA2 {score:.1}, {:.1} kB, {ms:.1} ms\n", bytes / 1e3);
    let heads = LOOKS.map(|quality| format!("at quality {quality}"));
    println!("| {name} speed: score, bytes | {} |\n|---|{}", heads.join(" | "), "---|".repeat(LOOKS.len()));
    let at = |quality, speed| {
        point(encoder, photos, EncodeSettings { quality: Some(quality), speed, ..EncodeSettings::default() })
    };
    let base = LOOKS.map(|quality| at(quality, None));
    let points: Vec<[Point; LOOKS.len()]> = SPEEDS.map(|speed| LOOKS.map(|quality| at(quality, Some(speed)))).collect();
    for (i, (speed, row)) in SPEEDS.zip(&points).enumerate() {
        let cells = row.iter().zip(&base).enumerate().map(|(j, (point, base))| {
            let larger = points[i + 1..].iter().any(|faster| point.bytes > faster[j].bytes * 1.002);
            let mark = if larger { " (larger)" } else { "" };
            format!("{:+.2}, {:.3}{mark}", point.score - base.score, point.bytes / base.bytes)
        });
        println!("| {speed} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let spread = |j: usize| {
        let scores = points.iter().map(|row| row[j].score);
        scores.clone().fold(f64::MIN, f64::max) - scores.fold(f64::MAX, f64::min)
    };
    let spreads: Vec<String> = (0..LOOKS.len()).map(|j| format!("{:.2}", spread(j))).collect();
    println!("| spread of scores | {} |", spreads.join(" | "));
}

fn lossy(name: &str, encoder: &dyn Encoder, photos: &[Photo], same: impl Fn(EncodeSettings, EncodeSettings) -> bool) {
    let curve = |speed: Option<u8>| -> Vec<Point> {
        let at = |quality: &u8| {
            point(encoder, photos, EncodeSettings { quality: Some(*quality), speed, ..EncodeSettings::default() })
        };
        QUALITIES.iter().map(at).collect()
    };
    let base = curve(None);
    println!("\n| {name} speed | {} |", SCORES.map(|s| format!("bytes, time at {s:.0}")).join(" | "));
    println!("|---|{}", "---|".repeat(SCORES.len()));
    let mut rows: Vec<(u8, [Point; 3])> = Vec::new();
    for speed in SPEEDS {
        let settings = |speed| EncodeSettings { quality: None, speed: Some(speed), ..EncodeSettings::default() };
        // The same knobs give the same.
        let points = match rows.last() {
            Some((before, points)) if same(settings(*before), settings(speed)) => *points,
            _ => at_scores(&curve(Some(speed))),
        };
        rows.push((speed, points));
    }
    let base = at_scores(&base);
    for (speed, points) in &rows {
        let cells: Vec<String> = (0..SCORES.len())
            .map(|i| {
                let (p, b) = (points[i], base[i]);
                let dominated = rows.iter().any(|(_, other)| is_worse(p, other[i]));
                let mark = if dominated { " (dominated)" } else { "" };
                format!("{:.3}, x {:.2}{mark}", p.bytes / b.bytes, p.ms / b.ms)
            })
            .collect();
        println!("| {speed} | {} |", cells.join(" | "));
    }
}

/// Slower and larger, by more than what noise does.
fn is_worse(point: Point, other: Point) -> bool {
    point.ms > other.ms * 1.1 && point.bytes > other.bytes * 1.005
}

fn at_scores(curve: &[Point]) -> [Point; 3] {
    SCORES.map(|score| {
        let i = curve.iter().position(|p| p.score >= score).unwrap_or(curve.len() - 1).max(1);
        let (low, high) = (curve[i - 1], curve[i]);
        let share = (score - low.score) / (high.score - low.score);
        let bytes = (low.bytes.ln() + share * (high.bytes.ln() - low.bytes.ln())).exp();
        Point { score, bytes, ms: low.ms + share * (high.ms - low.ms) }
    })
}

fn lossless(photos: &[Photo]) {
    println!("\n| PNG speed | RGBA: bytes, time | RGB: bytes, time |\n|---|---|---|");
    let soft: Vec<Picture> = photos.iter().map(|photo| with_alpha(&photo.picture)).collect();
    let opaque: Vec<Picture> = photos.iter().map(|photo| photo.picture.clone()).collect();
    let measure = |pictures: &[Picture], speed| {
        let runs = pictures
            .iter()
            .map(|p| timed(&Png, p, EncodeSettings { quality: None, speed, ..EncodeSettings::default() }));
        runs.map(|(file, ms)| (file.len() as f64, ms)).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let base = [&soft, &opaque].map(|pictures| measure(pictures, None));
    for speed in SPEEDS {
        let [a, b] = [&soft, &opaque].map(|pictures| measure(pictures, Some(speed)));
        let show = |x: (f64, f64), base: (f64, f64)| format!("{:.3}, x {:.2}", x.0 / base.0, x.1 / base.1);
        println!("| {speed} | {} | {} |", show(a, base[0]), show(b, base[1]));
    }
}

fn point(encoder: &dyn Encoder, photos: &[Photo], settings: EncodeSettings) -> Point {
    let mut sum = Point { score: 0.0, bytes: 0.0, ms: 0.0 };
    for photo in photos {
        let (file, ms) = timed(encoder, &photo.picture, settings);
        sum.score += photo.score(&file);
        sum.bytes += (file.len() as f64).ln();
        sum.ms += ms;
    }
    let n = photos.len() as f64;
    Point { score: sum.score / n, bytes: (sum.bytes / n).exp(), ms: sum.ms / n }
}

fn timed(encoder: &dyn Encoder, picture: &Picture, settings: EncodeSettings) -> (Vec<u8>, f64) {
    let mut best = (Vec::new(), f64::INFINITY);
    for _ in 0..TRIES {
        let start = usage::thread_cpu_ms();
        let file = encoder.encode(picture, &settings).expect("a file");
        best = (file, best.1.min(usage::thread_cpu_ms() - start));
        if best.1 > 50.0 {
            break;
        }
    }
    best
}

impl Photo {
    fn new(pixels: RgbImage) -> Self {
        let (width, height) = pixels.dimensions();
        let reference = Ssimulacra2Reference::new(&view(pixels.as_raw(), width, height)).expect("a reference");
        Self { picture: Picture { width, height, pixels: Pixels::Rgb(pixels.into_raw()) }, reference }
    }

    fn score(&self, file: &[u8]) -> f64 {
        let is_avif = image::guess_format(file).is_ok_and(|format| format == image::ImageFormat::Avif);
        let decoded = if is_avif {
            DynamicImage::from(avif::decode(file)).into_rgb8()
        } else {
            image::load_from_memory(file).expect("our own file").into_rgb8()
        };
        self.reference.compare(&view(decoded.as_raw(), self.picture.width, self.picture.height)).expect("a score")
    }
}

fn view(samples: &[u8], width: u32, height: u32) -> PixelSlice<'_> {
    PixelSlice::new(samples, width, height, width as usize * 3, PixelDescriptor::RGB8_SRGB).expect("pixels")
}

/// The same, fading towards its edges.
fn with_alpha(picture: &Picture) -> Picture {
    let Pixels::Rgb(samples) = &picture.pixels else { unreachable!("photos are opaque") };
    let (width, height) = (picture.width, picture.height);
    let opaque = RgbImage::from_raw(width, height, samples.clone()).expect("all samples");
    let (across, down) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let faded = RgbaImage::from_fn(width, height, |x, y| {
        let away = (f64::from(x) / across - 1.0).hypot(f64::from(y) / down - 1.0);
        let [r, g, b] = opaque.get_pixel(x, y).0;
        image::Rgba([r, g, b, (255.0 - 150.0 * away) as u8])
    });
    Picture { width, height, pixels: Pixels::Rgba(faded.into_raw()) }
}

//! `make bench-avif`: AVIF, our speeds beside sharp's efforts: time and bytes at equal quality.
//!
//! `cargo bench --bench avif_front -- [SIDES [PHOTOS [SPEEDS [EFFORTS]]]]`, such as `-- 400,800 16 4-10 0-4`. Every picture
//! is encoded at several qualities; time (CPU of the whole encode) and bytes are read off at SSIMULACRA2 60, 70 and 80,
//! between the two qualities around. One decoder and one metric for both sides.
//!
//! sharp's front is the least it takes in a given time: its efforts at their times, straight between them in
//! logarithms, and for a time below its fastest effort the bytes of that. Its colour is halved, which between these scores
//! saves it 2 to 4 %. A speed's figure is its bytes over the front's at the speed's own time, as the geometric mean of the
//! photos' ratios.
//!
//! The photos are those of the directory `PIXERVE_PHOTOS`, or of `../shared/corpus/photos` that no knob was chosen by, or
//! made here where there is neither. sharp runs where npm installed it, below `PIXERVE_SHARP_DIR` or `target/bench/node`.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::many_single_char_names,
    reason = "measuring: ratios of times and sizes, files that are thrown away"
)]

#[path = "../it/pixels/avif.rs"]
#[expect(dead_code, reason = "tests ask it for more")]
mod avif;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Reference};
use image::imageops::FilterType;
use image::{DynamicImage, Rgb, RgbImage};
use pixerve::encoder::{Avif, EncodeSettings, Encoder, Picture, Pixels};

/// What the photos are called that knobs were chosen by: they would flatter.
const CHOSE: [&str; 6] = ["kodak-1", "kodak-13", "kodak-15", "kodak-19", "clic-100a02c2", "clic-11f2b039"];

const SCORES: [f64; 3] = [60.0, 70.0, 80.0];

/// On each side's own scale, so that the scores lie between them.
const OUR_QUALITIES: [u8; 6] = [40, 54, 66, 77, 87, 94];
const SHARP_QUALITIES: [u8; 6] = [33, 48, 60, 72, 84, 92];

/// Encodes what is in a file of raw R, G, B and says what it took: CPU milliseconds, and the path of the AVIF.
const SHARP_SCRIPT: &str = r"
const [, , dir, raw, width, height, out, efforts, qualities] = process.argv;
const sharp = require(dir);
const { readFileSync, writeFileSync } = require('fs');
sharp.concurrency(1); sharp.cache(false);
(async () => {
  const input = readFileSync(raw), form = { raw: { width: +width, height: +height, channels: 3 } };
  for (const effort of efforts.split(',')) for (const quality of qualities.split(',')) {
    const before = process.cpuUsage();
    const file = await sharp(input, form).avif({ quality: +quality, effort: +effort, chromaSubsampling: '4:2:0' }).toBuffer();
    const used = process.cpuUsage(before), path = `${out}-${effort}-${quality}`;
    writeFileSync(path, file);
    console.log(`${effort} ${(used.user + used.system) / 1000} ${path}`);
  }
})();
";

/// (score, bytes, milliseconds) of one encode.
type Point = (f64, f64, f64);

/// Of each setting, in the order of the table, the curve of every photo.
type Curves = BTreeMap<u8, Vec<Vec<Point>>>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let sides = arguments.first().map_or("400,800", String::as_str);
    let count = arguments.get(1).and_then(|count| count.parse().ok()).unwrap_or(4);
    let speeds = range(arguments.get(2), 1..=10);
    let efforts = range(arguments.get(3), 0..=7);
    let scratch = std::env::temp_dir().join(format!("avif-front-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch directory");
    for side in sides.split(',').map(|side| side.parse().expect("pixels")) {
        let (mut ours, mut sharps) = (Curves::new(), Curves::new());
        for (name, photo) in photos(count, side) {
            eprintln!("{name}, {} x {}", photo.width(), photo.height());
            let reference = Ssimulacra2Reference::new(&slice(&photo)).expect("large enough");
            let score = |file: &[u8]| {
                let shown = DynamicImage::from(avif::decode(file)).into_rgb8();
                reference.compare(&slice(&shown)).expect("the same size")
            };
            for (speed, points) in encoded(&photo, speeds.clone(), &score) {
                ours.entry(speed).or_default().push(points);
            }
            for (effort, points) in encoded_by_sharp(&photo, &efforts, &scratch, &score) {
                sharps.entry(effort).or_default().push(points);
            }
        }
        println!("\n{side} pixels");
        print_table(&ours, &sharps);
    }
    std::fs::remove_dir_all(&scratch).expect("our own");
}

fn range(argument: Option<&String>, default: RangeInclusive<u8>) -> RangeInclusive<u8> {
    let parsed = argument.and_then(|text| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some(from.parse().ok()?..=to.parse().ok()?)
    });
    parsed.unwrap_or(default)
}

fn encoded(photo: &RgbImage, speeds: RangeInclusive<u8>, score: &dyn Fn(&[u8]) -> f64) -> Vec<(u8, Vec<Point>)> {
    let (width, height) = photo.dimensions();
    let picture = Picture { width, height, pixels: Pixels::Rgb(photo.as_raw().clone()) };
    let encode = |speed, quality| {
        let settings = EncodeSettings { quality: Some(quality), speed: Some(speed), ..EncodeSettings::default() };
        // The quicker of two, where that costs nothing.
        let (mut best, mut file) = (f64::INFINITY, Vec::new());
        for _ in 0..if speed > 6 { 3 } else { 1 } {
            let before = cpu_ms();
            file = Avif::default().encode(&picture, &settings).expect("encodes");
            best = best.min(cpu_ms() - before);
        }
        (score(&file), file.len() as f64, best)
    };
    speeds.map(|speed| (speed, OUR_QUALITIES.map(|quality| encode(speed, quality)).to_vec())).collect()
}

fn encoded_by_sharp(
    photo: &RgbImage,
    efforts: &RangeInclusive<u8>,
    scratch: &Path,
    score: &dyn Fn(&[u8]) -> f64,
) -> BTreeMap<u8, Vec<Point>> {
    let installed = std::env::var_os("PIXERVE_SHARP_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/node"), PathBuf::from);
    let dir = installed.join("node_modules/sharp");
    if !dir.is_dir() {
        eprintln!("no sharp at {}", dir.display());
        return BTreeMap::new();
    }
    let (raw, script) = (scratch.join("photo.raw"), scratch.join("encode.cjs"));
    std::fs::write(&raw, photo.as_raw()).expect("space");
    std::fs::write(&script, SHARP_SCRIPT).expect("space");
    let list = |numbers: &[u8]| numbers.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let output = Command::new("node")
        .args([&script, &dir, &raw])
        .args([photo.width().to_string(), photo.height().to_string()])
        .arg(scratch.join("out"))
        .args([list(&efforts.clone().collect::<Vec<_>>()), list(&SHARP_QUALITIES)])
        .output()
        .expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut curves: BTreeMap<u8, Vec<Point>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [effort, ms, path] = words[..] else { panic!("sharp says {line}") };
        let file = std::fs::read(path).expect("sharp wrote it");
        let point = (score(&file), file.len() as f64, ms.parse().expect("milliseconds"));
        curves.entry(effort.parse().expect("an effort")).or_default().push(point);
    }
    curves
}

/// (milliseconds, bytes) where the curve has this score; none if it doesn't reach that far.
fn at(score: f64, points: &[Point]) -> Option<(f64, f64)> {
    points.windows(2).find_map(|pair| {
        let ((s0, b0, t0), (s1, b1, t1)) = (pair[0], pair[1]);
        let part = (score - s0) / (s1 - s0);
        (s0..=s1).contains(&score).then(|| (t0 + part * (t1 - t0), (b0.ln() + part * (b1.ln() - b0.ln())).exp()))
    })
}

/// The geometric mean of time and bytes at `score`, over the photos on which every setting reaches it.
fn means(score: f64, of: &Curves, usable: &[usize]) -> Vec<(u8, (f64, f64))> {
    let mean = |per_photo: &Vec<Vec<Point>>| {
        let logarithms =
            usable.iter().filter_map(|i| at(score, &per_photo[*i])).map(|(ms, bytes)| (ms.ln(), bytes.ln()));
        let sum = logarithms.fold((0.0, 0.0), |sum, logarithm| (sum.0 + logarithm.0, sum.1 + logarithm.1));
        ((sum.0 / usable.len() as f64).exp(), (sum.1 / usable.len() as f64).exp())
    };
    of.iter().map(|(setting, per_photo)| (*setting, mean(per_photo))).collect()
}

/// The bytes of the front of `efforts` in so much time.
fn front(ms: f64, efforts: &[(u8, (f64, f64))]) -> Option<f64> {
    let mut points: Vec<(f64, f64)> = efforts.iter().map(|(_, point)| *point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    // An effort that takes longer than another for more bytes is none of it.
    let mut smallest = f64::INFINITY;
    points.retain(|(_, bytes)| {
        let is_smaller = *bytes < smallest;
        smallest = smallest.min(*bytes);
        is_smaller
    });
    let (first, last) = (*points.first()?, *points.last()?);
    if ms <= first.0 {
        return Some(first.1);
    }
    let between = points.windows(2).find(|pair| ms <= pair[1].0).map(|pair| {
        let part = (ms / pair[0].0).ln() / (pair[1].0 / pair[0].0).ln();
        (pair[0].1.ln() + part * (pair[1].1 / pair[0].1).ln()).exp()
    });
    Some(between.unwrap_or(last.1))
}

fn print_table(ours: &Curves, sharps: &Curves) {
    let photos = ours.values().chain(sharps.values()).map(Vec::len).min().unwrap_or(0);
    let columns: Vec<_> = SCORES
        .iter()
        .map(|score| {
            let reached = |i: &usize| ours.values().chain(sharps.values()).all(|c| at(*score, &c[*i]).is_some());
            let usable: Vec<usize> = (0..photos).filter(reached).collect();
            (means(*score, ours, &usable), means(*score, sharps, &usable), usable.len())
        })
        .collect();
    let heads: Vec<String> =
        SCORES.iter().zip(&columns).map(|(s, c)| format!("SSIMULACRA2 {s} ({} photos)", c.2)).collect();
    println!("| CPU ms, kB, bytes over sharp's front | {} |\n|---|{}", heads.join(" | "), "---|".repeat(SCORES.len()));
    for (i, speed) in ours.keys().enumerate() {
        let cells = columns.iter().map(|(ours, sharps, _)| {
            let (ms, bytes) = ours[i].1;
            let over = front(ms, sharps).map_or_else(String::new, |front| format!(", {:.3}", bytes / front));
            let dominated = ours.iter().any(|(_, other)| other.0 < ms && other.1 < bytes);
            format!("{ms:.0}, {:.1}{over}{}", bytes / 1e3, if dominated { " (dominated)" } else { "" })
        });
        println!("| speed {speed} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    for (i, effort) in sharps.keys().enumerate() {
        let cells = columns.iter().map(|(_, sharps, _)| format!("{:.0}, {:.1}", sharps[i].1.0, sharps[i].1.1 / 1e3));
        println!("| sharp's effort {effort} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// CPU time of this thread so far.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds") / 1e6
}

fn slice(image: &RgbImage) -> PixelSlice<'_> {
    let (width, height) = image.dimensions();
    PixelSlice::new(image.as_raw(), width, height, width as usize * 3, PixelDescriptor::RGB8_SRGB).expect("whole rows")
}

/// Up to `count` photos of `side` pixels at most, with their names.
fn photos(count: usize, side: u32) -> Vec<(String, RgbImage)> {
    let given = std::env::var_os("PIXERVE_PHOTOS").map(PathBuf::from);
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let directory =
        given.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/photos"));
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    paths.retain(|path| given.is_some() || !CHOSE.contains(&name(path).as_str()));
    let read = |path: &PathBuf| {
        let image = image::open(path).expect("a photo");
        let image = if image.width().max(image.height()) > side {
            image.resize(side, side, FilterType::Lanczos3)
        } else {
            image
        };
        (name(path), image.into_rgb8())
    };
    // From all over the list: its parts have different sources.
    let step = (paths.len() / count.max(1)).max(1);
    let found: Vec<_> = paths.iter().step_by(step).take(count).map(read).collect();
    if found.is_empty() { (0..count).map(|i| (format!("made {i}"), made(i as u32, side))).collect() } else { found }
}

/// Like a photo: gradients, texture of all sizes, edges.
fn made(seed: u32, side: u32) -> RgbImage {
    let noise = |x: f64, y: f64| {
        let cell = |x: f64, y: f64| {
            let n = (x as u32).wrapping_mul(374_761_393) ^ (y as u32).wrapping_mul(668_265_263) ^ seed;
            f64::from((n ^ n >> 13).wrapping_mul(1_274_126_177) >> 16 & 0xFF) / 255.0 - 0.5
        };
        let (fx, fy) = (x.fract(), y.fract());
        let (top, bottom) = ((cell(x, y), cell(x + 1.0, y)), (cell(x, y + 1.0), cell(x + 1.0, y + 1.0)));
        (top.0 * (1.0 - fx) + top.1 * fx) * (1.0 - fy) + (bottom.0 * (1.0 - fx) + bottom.1 * fx) * fy
    };
    RgbImage::from_fn(side, side * 3 / 4, |px, py| {
        let (x, y) = (f64::from(px), f64::from(py));
        let texture: f64 =
            (0..6).map(|i| noise(x / f64::from(2 << i), y / f64::from(2 << i)) * f64::from(8 + 6 * i)).sum();
        let hill = y / f64::from(side) > 0.45 + 0.1 * (x / 90.0 + f64::from(seed)).sin();
        let [r, g, b] = if hill { [90.0, 110.0, 60.0] } else { [130.0, 170.0, 220.0] };
        Rgb([r, g, b].map(|c| (c + texture * if hill { 1.0 } else { 0.25 }).clamp(0.0, 255.0) as u8))
    })
}

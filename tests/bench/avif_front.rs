//! AVIF: time and bytes at equal quality, our speeds beside sharp's efforts.
//!
//! `cargo bench --bench avif_front -- [PHOTOS [SIDE [SPEEDS [EFFORTS]]]]`, such as `-- 3 800 1-10 0-4`. Every picture is
//! encoded at several qualities; time (CPU of one core) and bytes are read off at SSIMULACRA2 65, 70, 75 and 80, between
//! the two qualities around. One decoder and one metric for both sides. The photos are those of `../shared/corpus` that
//! no knob was chosen by, or made here where there is no corpus. sharp runs where npm installed it, below `PIXERVE_SHARP_DIR` or
//! `target/bench/node`, once with its own 4:4:4 and once with 4:2:0.

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

const SCORES: [f64; 4] = [65.0, 70.0, 75.0, 80.0];

/// On each side's own scale, so that the scores lie between them.
const OUR_QUALITIES: [u8; 6] = [42, 54, 66, 77, 87, 94];
const SHARP_QUALITIES: [u8; 6] = [35, 48, 60, 72, 84, 92];

/// Encodes what is in a file of raw R, G, B and says what it took: CPU milliseconds, and the path of the AVIF.
const SHARP_SCRIPT: &str = r"
const [, , dir, raw, width, height, out, efforts, qualities] = process.argv;
const sharp = require(dir);
const { readFileSync, writeFileSync } = require('fs');
sharp.concurrency(1); sharp.cache(false);
(async () => {
  const input = readFileSync(raw), form = { raw: { width: +width, height: +height, channels: 3 } };
  for (const chromaSubsampling of ['4:4:4', '4:2:0']) for (const effort of efforts.split(',')) for (const quality of qualities.split(',')) {
    const before = process.cpuUsage();
    const file = await sharp(input, form).avif({ quality: +quality, effort: +effort, chromaSubsampling }).toBuffer();
    const used = process.cpuUsage(before), path = `${out}-${chromaSubsampling.replaceAll(':', '')}-${effort}-${quality}`;
    writeFileSync(path, file);
    console.log(`${chromaSubsampling} ${effort} ${(used.user + used.system) / 1000} ${path}`);
  }
})();
";

/// (score, bytes, milliseconds) of one encode.
type Point = (f64, f64, f64);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |i: usize, default: u32| arguments.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    let (count, side) = (number(0, 3) as usize, number(1, 800));
    let speeds = range(arguments.get(2), 1..=10);
    let efforts = range(arguments.get(3), 0..=9);
    let scratch = std::env::temp_dir().join(format!("avif-front-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch directory");
    // A setting's curve on every photo, in the order of the table.
    let mut curves: BTreeMap<String, Vec<Vec<Point>>> = BTreeMap::new();
    for (name, photo) in photos(count, side) {
        eprintln!("{name}, {} x {}", photo.width(), photo.height());
        let reference = Ssimulacra2Reference::new(&slice(&photo)).expect("large enough");
        let score = |file: &[u8]| {
            let shown = DynamicImage::from(avif::decode(file)).into_rgb8();
            reference.compare(&slice(&shown)).expect("the same size")
        };
        for (setting, points) in ours(&photo, speeds.clone(), &score) {
            curves.entry(setting).or_default().push(points);
        }
        for (setting, points) in sharps(&photo, &efforts, &scratch, &score) {
            curves.entry(setting).or_default().push(points);
        }
    }
    print_table(&curves);
    std::fs::remove_dir_all(&scratch).expect("our own");
}

fn range(argument: Option<&String>, default: RangeInclusive<u8>) -> RangeInclusive<u8> {
    let parsed = argument.and_then(|text| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some(from.parse().ok()?..=to.parse().ok()?)
    });
    parsed.unwrap_or(default)
}

fn ours(photo: &RgbImage, speeds: RangeInclusive<u8>, score: &dyn Fn(&[u8]) -> f64) -> Vec<(String, Vec<Point>)> {
    let (width, height) = photo.dimensions();
    let picture = Picture { width, height, pixels: Pixels::Rgb(photo.as_raw().clone()) };
    let encode = |speed, quality| {
        let settings = EncodeSettings { quality: Some(quality), speed: Some(speed) };
        // The quicker of two, where that costs nothing.
        let (mut best, mut file) = (f64::INFINITY, Vec::new());
        for _ in 0..if speed > 6 { 3 } else { 1 } {
            let before = cpu_ms();
            file = Avif::default().encode(&picture, &settings).expect("encodes");
            best = best.min(cpu_ms() - before);
        }
        (score(&file), file.len() as f64, best)
    };
    speeds.map(|speed| (format!("ours {speed:2}"), OUR_QUALITIES.map(|q| encode(speed, q)).to_vec())).collect()
}

fn sharps(
    photo: &RgbImage,
    efforts: &RangeInclusive<u8>,
    scratch: &Path,
    score: &dyn Fn(&[u8]) -> f64,
) -> Vec<(String, Vec<Point>)> {
    let installed = std::env::var_os("PIXERVE_SHARP_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/node"), PathBuf::from);
    let dir = installed.join("node_modules/sharp");
    if !dir.is_dir() {
        eprintln!("no sharp at {}", dir.display());
        return Vec::new();
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
    let mut curves: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [layout, effort, ms, path] = words[..] else { panic!("sharp says {line}") };
        let file = std::fs::read(path).expect("sharp wrote it");
        let point = (score(&file), file.len() as f64, ms.parse().expect("milliseconds"));
        curves.entry(format!("sharp {layout} {effort}")).or_default().push(point);
    }
    curves.into_iter().collect()
}

/// (milliseconds, bytes) where the curve has this score; none if it doesn't reach that far.
fn at(score: f64, points: &[Point]) -> Option<(f64, f64)> {
    points.windows(2).find_map(|pair| {
        let ((s0, b0, t0), (s1, b1, t1)) = (pair[0], pair[1]);
        let part = (score - s0) / (s1 - s0);
        (s0..=s1).contains(&score).then(|| (t0 + part * (t1 - t0), (b0.ln() + part * (b1.ln() - b0.ln())).exp()))
    })
}

/// Geometric means over the photos on which every setting reaches the score.
fn print_table(curves: &BTreeMap<String, Vec<Vec<Point>>>) {
    println!("| CPU ms / kB at SSIMULACRA2 | {} |", SCORES.map(|s| format!("{s}")).join(" | "));
    println!("|---|{}", "---|".repeat(SCORES.len()));
    let photos = curves.values().map(Vec::len).min().unwrap_or(0);
    for (setting, per_photo) in curves {
        let cells = SCORES.map(|score| {
            let usable = (0..photos).filter(|i| curves.values().all(|c| at(score, &c[*i]).is_some()));
            let values: Vec<(f64, f64)> = usable.filter_map(|i| at(score, &per_photo[i])).collect();
            let mean = |of: fn(&(f64, f64)) -> f64| {
                (values.iter().map(|v| of(v).ln()).sum::<f64>() / values.len() as f64).exp()
            };
            format!("{:.0} / {:.1} ({})", mean(|v| v.0), mean(|v| v.1) / 1000.0, values.len())
        });
        println!("| {setting} | {} |", cells.join(" | "));
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
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/photos");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    paths.retain(|path| !CHOSE.contains(&name(path).as_str()));
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

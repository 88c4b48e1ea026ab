//! What a job really takes, held against what was said before.
//!
//! A process's peak can only be asked for as a whole, so every case runs in a child: this very test binary, told by an
//! environment variable what to render.

use std::ffi::OsString;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{DynamicImage, ImageEncoder, ImageFormat, Rgba, RgbaImage};
use pixerve::encoder::Registry;
use pixerve::job::{Format, VariantSpec};
use pixerve::pipeline::{Engine, PixelLimits, inspect, memory_estimate};

use super::picture::{file, jpeg, photo, variant};

/// What the child is to render: a path, a colon, and formats with widths, and maybe speed and quality, as in
/// `photo.jpg:webp=800,jpg=0@2@95`.
const CASE: &str = "PIXERVE_TEST_MEMORY_CASE";
const MIB: f64 = 1024.0 * 1024.0;
const THREADS: usize = 2;

fn limits() -> PixelLimits {
    // So that small pictures go the way of large ones.
    PixelLimits { source_whole_max: 4_000_000, ..PixelLimits::default() }
}

fn specs(outputs: &str) -> Vec<VariantSpec> {
    let spec = |output: &str| {
        let (format, numbers) = output.split_once('=').expect("format=width");
        let mut numbers = numbers.split('@');
        let width = numbers.next().unwrap_or_default().parse().expect("a width");
        let [speed, quality] = std::array::from_fn(|_| numbers.next().map(|n| n.parse().expect("a number")));
        let format = Format::ALL.into_iter().find(|f| f.extension() == format).expect("a format");
        VariantSpec { quality, speed, ..variant(format, width, 0) }
    };
    outputs.split(',').map(spec).collect()
}

/// A field of `/proc/self/status`, in bytes.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Does nothing but in the child.
#[test]
#[cfg(target_os = "linux")]
fn one_case_in_a_process_of_its_own() {
    let Some(case) = std::env::var_os(CASE).and_then(|case| case.into_string().ok()) else { return };
    let (path, outputs) = case.split_once(':').expect("path:outputs");
    let source = fs::read(path).expect("the parent wrote it");
    let specs = specs(outputs);
    let engine = Engine::new(THREADS, limits(), Registry::built_in()).expect("threads");
    let info = inspect(Cursor::new(&source), &limits()).expect("an image");
    let estimate = memory_estimate(&info, &specs, THREADS, &limits());
    // Resets the peak.
    let reset = fs::OpenOptions::new().write(true).open("/proc/self/clear_refs");
    std::io::Write::write_all(&mut reset.expect("Linux"), b"5").expect("Linux");
    let before = status("VmRSS");
    engine.render(source, &specs, &|_| true, &|| false, &|| (), &|_, _| ()).expect("a good source");
    println!("peak={} estimate={estimate} ", status("VmHWM").saturating_sub(before));
}

/// (peak, estimate) of rendering `outputs` from `source`, in bytes.
fn measured(source: &Path, outputs: &str) -> (f64, f64) {
    let mut case = OsString::from(source);
    case.push(":");
    case.push(outputs);
    let output = Command::new(std::env::current_exe().expect("this binary"))
        .args(["pixels::memory::one_case_in_a_process_of_its_own", "--exact", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let number = |name: &str| {
        let after = printed.split(name).nth(1).unwrap_or_else(|| panic!("{outputs}: {printed}"));
        after.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).expect("a number")
    };
    (number("peak="), number("estimate="))
}

fn deep(picture: &RgbaImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let deep = DynamicImage::from(picture.clone()).into_rgba16();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Sub)
        .write_image(bytemuck::cast_slice(deep.as_raw()), deep.width(), deep.height(), image::ColorType::Rgba16.into())
        .expect("encodes");
    bytes
}

#[test]
#[cfg(target_os = "linux")]
fn no_job_takes_more_memory_than_was_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = photo(2400, 1600);
    let large = image::imageops::resize(&picture, 4000, 2600, image::imageops::FilterType::Nearest);
    let sources = [
        ("photo.jpg", jpeg(&picture)),
        ("large.jpg", jpeg(&large)),
        ("large.png", file(large.clone(), ImageFormat::Png)),
        ("deep.png", deep(&picture)),
        ("photo.webp", file(picture.clone(), ImageFormat::WebP)),
        ("photo.gif", file(image::imageops::thumbnail(&picture, 1200, 800), ImageFormat::Gif)),
        ("photo.tiff", file(picture.clone(), ImageFormat::Tiff)),
    ];
    let outputs = ["jpg=1600,webp=1600,jpg=800,webp=800", "png=800,webp=400", "avif=240,jpg=0"];
    // What works hardest, or keeps most: colour in full, no loss, blocks of all kinds.
    let demanding =
        ["jpg=1600@7@95", "jpg=1600@2@95", "png=1600@1", "webp=1600@6@100", "avif=400@3@87", "avif=1000@8@87"];
    for (i, (name, bytes)) in sources.iter().enumerate() {
        let path = folder.path().join(name);
        fs::File::create(&path).and_then(|mut f| std::io::Write::write_all(&mut f, bytes)).expect("disk");
        assert_said(&path, outputs[i % outputs.len()]);
    }
    for outputs in demanding {
        assert_said(&folder.path().join("photo.jpg"), outputs);
    }
    // What had a palette gets one again.
    let indexed = folder.path().join("indexed.gif");
    let drawing = RgbaImage::from_fn(1800, 1200, |x, y| {
        let ring = (f64::from(x) - 800.0).hypot(f64::from(y) - 500.0) as usize / 9;
        Rgba([[255; 4], [0, 0, 0, 255], [255; 4], [20, 60, 160, 255], [200, 40, 30, 255]][ring % 5])
    });
    let bytes = file(drawing, ImageFormat::Gif);
    fs::File::create(&indexed).and_then(|mut f| std::io::Write::write_all(&mut f, &bytes)).expect("disk");
    assert_said(&indexed, "png=1500@6,png=1200@6");
}

fn assert_said(path: &Path, outputs: &str) {
    let what = format!("{} -> {outputs}", path.display());
    let (peak, estimate) = measured(path, outputs);
    println!("{what}: {:.1} of {:.1} MiB", peak / MIB, estimate / MIB);
    assert!(peak <= estimate, "{what}: {:.1} MiB instead of {:.1}", peak / MIB, estimate / MIB);
    // What every job takes, whatever its size, weighs much in jobs as small as these.
    let most = 2.5 * peak + 16.0 * MIB;
    assert!(estimate <= most, "{what}: {:.1} MiB said for {:.1}", estimate / MIB, peak / MIB);
}

/// Qualities at which the encoder works with more memory than by default.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "long: make battery"]
fn no_jpeg_of_high_quality_takes_more_memory_than_was_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("large.png");
    let large = image::imageops::resize(&photo(2400, 1600), 4000, 3000, image::imageops::FilterType::Nearest);
    let bytes = file(large, ImageFormat::Png);
    fs::File::create(&path).and_then(|mut f| std::io::Write::write_all(&mut f, &bytes)).expect("disk");
    for outputs in ["jpg=0@7@95", "jpg=0@7@100,jpg=3900@7@95", "jpg=0@7@90"] {
        let (peak, estimate) = measured(&path, outputs);
        println!("{outputs}: {:.1} of {:.1} MiB", peak / MIB, estimate / MIB);
        assert!(peak <= estimate, "{outputs}: {:.1} MiB instead of {:.1}", peak / MIB, estimate / MIB);
    }
}

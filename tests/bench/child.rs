//! Pixerve's side of a measurement, in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pixerve::encoder::{EncodeSettings, Encoder, Picture, Pixels, Png, Registry};
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{Engine, PixelLimits};

use crate::job::{Job, Outcome, Variant, Work};
use crate::usage::{own_cpu_ms, own_peak_kib};

/// Does what the file says and prints the outcome.
pub(crate) fn run(path: &Path) {
    let job: Job = serde_json::from_slice(&fs::read(path).expect("the job")).expect("a job");
    let outcome = match job.work {
        Work::Png => encode_pngs(&job),
        _ => render(&job),
    };
    println!("{}", serde_json::to_string(&outcome).expect("JSON"));
}

fn render(job: &Job) -> Outcome {
    let engine = Engine::new(0, PixelLimits::default(), Registry::built_in()).expect("threads");
    let files: Vec<Vec<u8>> = job.photos.iter().map(|path| fs::read(path).expect("a photo")).collect();
    let variants: Vec<VariantSpec> = job.variants.iter().map(spec).collect();
    let bytes = Mutex::new(BTreeMap::<String, u64>::new());
    let make = |photo: usize, counted: bool| {
        let deliver = |i: usize, rendered: pixerve::pipeline::Rendered| {
            let Variant { format, size, .. } = &job.variants[i];
            if counted {
                *bytes.lock().expect("no panic").entry(format.clone()).or_default() += rendered.bytes.len() as u64;
            }
            if let Some(out) = &job.out {
                write(&out.join(format!("{photo}-{size}.{format}")), &rendered.bytes);
            }
        };
        engine.render(&files[photo], &variants, &|_| true, &|| false, &|| (), &deliver).expect("a good photo");
    };
    if job.warm {
        make(0, false);
    }
    let measured = measure(job, &|photo| make(photo, true));
    Outcome { bytes: bytes.into_inner().expect("no panic"), ..measured }
}

fn encode_pngs(job: &Job) -> Outcome {
    let pictures: Vec<Picture> = job.photos.iter().map(|path| picture(path)).collect();
    let encode = |i: usize| Png.encode(&pictures[i], &EncodeSettings::default()).expect("a file").len() as u64;
    encode(0);
    let total = Mutex::new(0);
    let measured = measure(job, &|i| *total.lock().expect("no panic") += encode(i));
    Outcome { bytes: [("png".to_owned(), total.into_inner().expect("no panic"))].into(), ..measured }
}

/// Runs `work` on every photo, so many at once.
fn measure(job: &Job, work: &(dyn Fn(usize) + Sync)) -> Outcome {
    let next = AtomicUsize::new(0);
    let count = job.photos.len() * job.repeats;
    let (cpu, start) = (own_cpu_ms(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..job.in_flight {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= count {
                        return;
                    }
                    work(turn % job.photos.len());
                }
            });
        }
    });
    let wall_ms = start.elapsed().as_secs_f64() * 1e3;
    Outcome { wall_ms, cpu_ms: own_cpu_ms() - cpu, peak_kib: own_peak_kib(), bytes: BTreeMap::new() }
}

fn spec(variant: &Variant) -> VariantSpec {
    VariantSpec {
        format: Format::from_claim(&variant.format).expect("a format"),
        width: variant.size,
        height: variant.size,
        quality: variant.quality,
        speed: variant.speed,
        fit: Fit::Inside,
        position: Position::default(),
        background: Background::WHITE,
        enlarge: false,
        animated: false,
        tolerant: false,
    }
}

fn picture(path: &Path) -> Picture {
    let pixels = image::open(path).expect("a picture").into_rgba8();
    Picture { width: pixels.width(), height: pixels.height(), pixels: Pixels::Rgba(pixels.into_raw()) }
}

/// Writes what only this run needs.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("room on the disk");
}

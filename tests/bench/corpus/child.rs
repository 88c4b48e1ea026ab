//! One file in a process of its own, so that what kills a process is seen.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pixerve::encoder::Registry;
use pixerve::job::{Background, Fit, Format, Position, VariantSpec};
use pixerve::pipeline::{Engine, PixelLimits, Rendered, inspect, memory_estimate};

pub(crate) const FLAG: &str = "--child";

/// The longest that a file may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Threads that encode.
const THREADS: usize = 2;

/// The side of the square that pictures are made to fit in.
pub(crate) const SIDE: u32 = 512;

/// What came of a file.
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    /// Wall time of inspecting and rendering.
    pub(crate) ms: u128,
    /// Bytes that the process grew by at its peak.
    pub(crate) peak: u64,
    /// Bytes that were estimated; 0 if the header was refused.
    pub(crate) estimate: u64,
}

impl Report {
    pub(crate) fn memory_share(&self) -> f64 {
        if self.estimate == 0 { 0.0 } else { self.peak as f64 / self.estimate as f64 }
    }
}

pub(crate) enum Outcome {
    Shown { width: u32, height: u32 },
    Refused { code: String, detail: String },
    Died { how: String },
}

/// Runs this program again for `source`.
pub(crate) fn ask(source: &Path, target: &Path) -> Report {
    let start = Instant::now();
    let program = std::env::current_exe().expect("this program has a path");
    let mut process = Command::new(program)
        .args([FLAG.as_ref(), source.as_os_str(), target.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this program starts again");
    let died = |how: String| Report { outcome: Outcome::Died { how }, ms: 0, peak: 0, estimate: 0 };
    while process.try_wait().ok().flatten().is_none() {
        if start.elapsed() > TIME_MAX {
            drop(process.kill());
            drop(process.wait());
            return died(format!("more than {} s", TIME_MAX.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = process.wait_with_output().expect("it has ended");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match parse(text.trim_end()) {
        Some(report) if output.status.success() => report,
        _ => died(format!("process ended by {}", output.status)),
    }
}

fn parse(line: &str) -> Option<Report> {
    let mut parts = line.splitn(6, '\t');
    let (ms, peak, estimate) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let outcome = match (parts.next()?, parts.next()?, parts.next()?) {
        ("shown", width, height) => Outcome::Shown { width: width.parse().ok()?, height: height.parse().ok()? },
        (_, code, detail) => Outcome::Refused { code: code.to_owned(), detail: detail.to_owned() },
    };
    Some(Report { outcome, ms, peak, estimate })
}

/// The child: renders `source` and prints one line about it.
pub(crate) fn run(source: &Path, target: &Path) {
    let limits = PixelLimits::default();
    let engine = Engine::new(THREADS, limits, Registry::built_in()).expect("threads");
    let bytes = std::fs::read(source).expect("the file can be read");
    let variants = [variant()];
    let before = kilobytes("VmRSS:") * 1024;
    let start = Instant::now();
    let header = inspect(std::io::Cursor::new(&bytes), &limits);
    let estimate = header.as_ref().map_or(0, |info| memory_estimate(info, &variants, THREADS, &limits));
    let rendered = Mutex::new(None);
    let made = header.map_err(|e| format!("refused\theader\t{e}")).and_then(|_| {
        let deliver = |_, file| *rendered.lock().expect("no panic") = Some(file);
        engine
            .render(&bytes, &variants, &|_| true, &|| false, &|| (), &deliver)
            .map_err(|e| format!("refused\t{}\t{e}", e.code()))
    });
    let outcome = made.err().unwrap_or_else(|| {
        let file: Rendered = rendered.lock().expect("no panic").take().expect("a variant");
        std::fs::write(target, &file.bytes).expect("the result can be written");
        format!("shown\t{}\t{}", file.width, file.height)
    });
    let ms = start.elapsed().as_millis();
    let peak = (kilobytes("VmHWM:") * 1024).saturating_sub(before);
    println!("{ms}\t{peak}\t{estimate}\t{}", outcome.replace('\n', " "));
}

fn variant() -> VariantSpec {
    VariantSpec {
        format: Format::Png,
        width: SIDE,
        height: SIDE,
        // Lossless.
        quality: Some(100),
        speed: Some(10),
        fit: Fit::Inside,
        position: Position::default(),
        background: Background::WHITE,
        enlarge: false,
        animated: false,
        tolerant: false,
    }
}

/// A figure of this process.
fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

//! `make bench`: Pixerve and sharp side by side in one run, on the same photos, at the same look.
//!
//! Every measurement is a process of its own, rounds are interleaved, and what is reported are ratios. `BENCH_QUICK=1`
//! does a fraction of it; with `BENCH_BEFORE=PROGRAM` the service is also held against that build of Pixerve.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time, reads its switch and writes scratch files")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

mod child;
mod contest;
mod equal;
mod job;
mod lab;
#[expect(dead_code, reason = "the other benchmark needs more of it")]
mod photos;
mod report;
#[allow(dead_code, reason = "what only the tests use of it")]
#[path = "../it/harness/s3.rs"]
mod s3;
mod service;
#[allow(dead_code, reason = "what only the tests use of it")]
#[path = "../it/harness/token.rs"]
mod token;
#[expect(dead_code, reason = "the other benchmark needs more of it")]
mod usage;

use std::path::Path;
use std::time::Instant;

use contest::{Contest, Extent};
use lab::Lab;
use photos::Origin;
use report::Report;

const REPORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/report.md");

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(i) = arguments.iter().position(|argument| argument == "--child") {
        return child::run(Path::new(&arguments[i + 1]));
    }
    let start = Instant::now();
    let quick = std::env::var("BENCH_QUICK").is_ok_and(|value| value != "0");
    let extent = if quick {
        Extent { photos: 3, photos_slow: 1, rounds: 1, rounds_slow: 1 }
    } else {
        Extent { photos: 8, photos_slow: 3, rounds: 5, rounds_slow: 2 }
    };
    let lab = Lab::new();
    let (origin, photos) = photos::twelve_megapixels(lab.root(), extent.photos);
    let mut contest = Contest { lab: &lab, photos, extent, report: Report::default() };
    let what = if origin == Origin::Corpus { "real photos" } else { "generated pictures" };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    contest.report.note(format!(
        "{} {what} of 12 MP, medians of {} interleaved rounds, {cores} cores, {}; relative to sharp, at equal SSIMULACRA2",
        contest.photos.len(),
        contest.extent.rounds,
        lab.versions()
    ));
    if arguments.iter().any(|argument| argument == "service") {
        contest.service();
    } else {
        contest.png();
        contest.run();
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').nth(1).unwrap_or("?").to_owned();
    contest.report.note(format!(
        "the run took {:.0} s; load over its last five minutes {load} (its own is about {cores})",
        start.elapsed().as_secs_f64()
    ));
    let markdown = contest.report.markdown();
    println!("\n{markdown}");
    child::write(Path::new(REPORT), markdown.as_bytes());
}

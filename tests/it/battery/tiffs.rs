//! TIFFs at random: whole ones of every kind that has a writer beside the pictures that they were made of, and damaged ones
//! beside what libtiff makes of them.
//!
//! `PIXERVE_FUZZ_SECONDS` (60 unless given) is how long; `PIXERVE_TEST_SEED=<number>` repeats a run, and every run prints its
//! seed. Whatever differs is kept in `target/battery/tiffs`.

#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "means of bytes")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::RgbaImage;
use pixerve::job::Format;
use pixerve::pipeline::PipelineError;
use serde::Deserialize;

use crate::harness::tool::{Tool, require};
use crate::pixels::picture::{render, variant};

/// Files that one run of the writer makes.
const BATCH: u64 = 400;

/// Beyond these a picture that both show of a damaged file is another one: how much its samples differ on average, of 255.
const DAMAGED_APART_MAX: f64 = 4.0;

/// What the writer says of a file.
#[derive(Deserialize)]
struct Written {
    path: PathBuf,
    what: String,
    damaged: bool,
    shown: Option<PathBuf>,
    size: Option<(u32, u32)>,
    apart: (u8, f64),
}

/// What came of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Same,
    /// Refused here and there.
    BothRefuse,
    /// Refused here alone.
    RefusedHere,
    /// Shown here alone.
    ShownHere,
    /// Shown by both, and not the same. Of a damaged file that is only kept, to be looked at: where a tag is missing or of
    /// another type, libtiff guesses otherwise, and of samples without a checksum nobody can know.
    Differs,
    Panicked,
}

#[expect(clippy::disallowed_methods, reason = "how long, and what to repeat, is the environment's to say")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
#[ignore = "long: make battery"]
#[expect(clippy::disallowed_methods, reason = "it lasts for a while, and keeps files to be looked at")]
fn every_tiff_is_shown_as_libtiff_shows_it_or_refused() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers/tiff/bin/python");
    let Some(python) = require(Tool::TiffWriter, python.is_file().then_some(python)) else { return };
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/battery/tiffs");
    std::fs::create_dir_all(&kept).expect("a directory");
    let first = number("PIXERVE_TEST_SEED").unwrap_or_else(|| u64::from(getrandom::u32().expect("randomness")));
    let (began, whole) = (Instant::now(), Duration::from_secs(number("PIXERVE_FUZZ_SECONDS").unwrap_or(60)));
    let mut verdicts: BTreeMap<(bool, Verdict), u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut seed = first;
    while began.elapsed() < whole {
        let directory = tempfile::tempdir().expect("a directory");
        let output = Command::new(&python)
            .args(["-c", include_str!("tiffs/writer.py")])
            .arg(directory.path())
            .args([seed.to_string(), BATCH.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .expect("the writer runs");
        // libtiff may crash on what the writer damaged: what came before that counts.
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let written: Written = serde_json::from_str(line).expect("a line of the writer");
            let (verdict, detail, ours) = judge(&written);
            *verdicts.entry((written.damaged, verdict)).or_default() += 1;
            let is_wrong = match verdict {
                Verdict::Same | Verdict::BothRefuse => false,
                Verdict::RefusedHere | Verdict::ShownHere | Verdict::Differs => !written.damaged,
                Verdict::Panicked => true,
            };
            if is_wrong || verdict == Verdict::Differs {
                let name = written.path.file_name().expect("a name").to_string_lossy();
                let copy = kept.join(format!("{seed}-{name}"));
                std::fs::copy(&written.path, &copy).expect("room");
                if let Some(ours) = ours {
                    std::fs::write(copy.with_extension("png"), ours).expect("room");
                }
                let told = format!("{verdict:?}: {}: {}: {detail}", copy.display(), written.what);
                if is_wrong { wrong.push(told) } else { println!("{told}") }
            }
        }
        seed += 1;
    }
    for ((damaged, verdict), count) in &verdicts {
        super::figure("tiffs", format!("{} {verdict:?}: {count}", if *damaged { "damaged" } else { "whole" }));
    }
    assert!(wrong.is_empty(), "PIXERVE_TEST_SEED={first}\n{}", wrong.join("\n"));
}

/// What came of a file, more about it, and the PNG that it became.
fn judge(written: &Written) -> (Verdict, String, Option<Vec<u8>>) {
    let file = std::fs::read(&written.path).expect("it was written");
    let rendered = render(&file, &[variant(Format::Png, 0, 0)]).map(|mut rendered| rendered.remove(0).bytes);
    let expected = written.shown.as_ref().zip(written.size).map(|(path, (width, height))| {
        RgbaImage::from_raw(width, height, std::fs::read(path).expect("it was written")).expect("all samples")
    });
    match (rendered, expected) {
        (Err(PipelineError::Panicked { detail, .. }), _) => (Verdict::Panicked, detail, None),
        (Err(error), Some(_)) => (Verdict::RefusedHere, error.to_string(), None),
        (Err(_), None) => (Verdict::BothRefuse, String::new(), None),
        (Ok(png), None) => (Verdict::ShownHere, String::new(), Some(png)),
        (Ok(png), Some(expected)) => {
            let ours = image::load_from_memory(&png).expect("a PNG").into_rgba8();
            let (verdict, detail) = compare(&ours, &expected, written);
            (verdict, detail, Some(png))
        }
    }
}

fn compare(ours: &RgbaImage, expected: &RgbaImage, written: &Written) -> (Verdict, String) {
    if ours.dimensions() != expected.dimensions() {
        return (Verdict::Differs, format!("{:?}, not {:?}", ours.dimensions(), expected.dimensions()));
    }
    let (mut most, mut sum) = (0, 0_u64);
    for (ours, expected) in ours.pixels().zip(expected.pixels()) {
        // libtiff's colour is multiplied by alpha.
        let multiplied =
            |c: usize| if c == 3 { ours[3] } else { (u16::from(ours[c]) * u16::from(ours[3]) / 255) as u8 };
        for c in 0..4 {
            let apart = multiplied(c).abs_diff(expected[c]);
            most = most.max(apart);
            sum += u64::from(apart);
        }
    }
    let mean = sum as f64 / ours.as_raw().len().max(1) as f64;
    let is_same =
        if written.damaged { mean <= DAMAGED_APART_MAX } else { most <= written.apart.0 && mean <= written.apart.1 };
    (if is_same { Verdict::Same } else { Verdict::Differs }, format!("{mean:.2} apart, {most} at most"))
}

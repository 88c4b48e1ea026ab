//! Every file of the corpus through the pipeline, each in a process of its own, beside what libvips makes of it.
//!
//! `cargo bench --bench corpus`, or `make corpus`. The corpus is `$PIXERVE_CORPUS` or `../shared/corpus`; without one there
//! is nothing to do. libvips is asked through sharp, from `$PIXERVE_SHARP_DIR` or `target/bench/node`; without it nothing
//! is compared. Prints a Markdown table and exits with 1 if an expectation is missed: another outcome than expected, a
//! panic or a dead process, more than ten seconds, more memory than `memory_estimate` reports.

#![expect(
    clippy::cast_precision_loss,
    clippy::many_single_char_names,
    clippy::disallowed_methods,
    reason = "figures for people; the names of colour's formulas; a tool has a clock and files that need not be durable"
)]

#[path = "corpus/child.rs"]
mod child;
#[path = "../it/pixels/ciede.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod ciede;
#[path = "corpus/difference.rs"]
mod difference;
#[path = "corpus/expected.rs"]
mod expected;
#[path = "corpus/reference.rs"]
mod reference;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use child::{Outcome, Report};
use difference::{Difference, difference};
use expected::{Expected, expectation};

/// Mean dE00 up to which a picture passes for the reference's: two resamplers alone differ by 0.3 on busy pictures.
const DE_MAX: f64 = 2.0;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, source, target] = arguments.as_slice()
        && flag == child::FLAG
    {
        child::run(Path::new(source), Path::new(target));
        return ExitCode::SUCCESS;
    }
    let root = std::env::var_os("PIXERVE_CORPUS").map_or_else(|| PathBuf::from("../shared/corpus"), PathBuf::from);
    if !root.is_dir() {
        println!("There is no corpus at {}.", root.display());
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
    let files: Vec<PathBuf> =
        files(&root).into_iter().filter(|f| filter.is_none_or(|part| f.to_string_lossy().contains(part))).collect();
    let work = std::env::temp_dir().join(format!("pixerve-corpus-{}", std::process::id()));
    std::fs::create_dir_all(&work).expect("a temporary directory");
    let compared: Vec<&PathBuf> = files.iter().filter(|file| !is_fuzz(file)).collect();
    let references = reference::make(&root, &compared, &work);
    let mut missed = Vec::new();
    let mut fuzz: BTreeMap<PathBuf, Tally> = BTreeMap::new();
    println!("| file | expected | got | dE00 | PSNR, dB | ms | MiB / estimate |\n|---|---|---|---|---|---|---|");
    for file in &files {
        let target = work.join("ours.png");
        let report = child::ask(&root.join(file), &target);
        let wrong = if is_fuzz(file) {
            fuzz.entry(file.parent().unwrap_or(file).to_owned()).or_default().add(&report);
            fault(&report)
        } else {
            let theirs = references.get(file);
            let gamma = reference::gamma(&root.join(file));
            let difference = theirs.and_then(|theirs| difference(&target, theirs, gamma));
            row(file, &report, difference.as_ref())
        };
        if let Some(why) = wrong {
            missed.push(format!("{}: {why}", file.display()));
        }
        drop(std::fs::remove_file(&target));
    }
    for (directory, tally) in &fuzz {
        println!(
            "| {}/* ({} files) | no harm | {} shown, {} refused | | | at most {} | at most {:.0} % |",
            directory.display(),
            tally.files,
            tally.shown,
            tally.files - tally.shown,
            tally.ms_max,
            tally.share_max * 100.0
        );
    }
    drop(std::fs::remove_dir_all(&work));
    println!("\n{} files, {} expectations missed", files.len(), missed.len());
    for line in &missed {
        println!("- {line}");
    }
    if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of a directory of fuzzers' finds.
#[derive(Default)]
struct Tally {
    files: usize,
    shown: usize,
    ms_max: u128,
    share_max: f64,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.files += 1;
        self.shown += usize::from(matches!(report.outcome, Outcome::Shown { .. }));
        self.ms_max = self.ms_max.max(report.ms);
        self.share_max = self.share_max.max(report.memory_share());
    }
}

/// Prints one file's row; says what was missed.
fn row(file: &Path, report: &Report, difference: Option<&Difference>) -> Option<String> {
    let expected = expectation(file);
    let got = match &report.outcome {
        Outcome::Shown { width, height } => format!("{width} x {height}"),
        Outcome::Refused { code, detail } => format!("{code}: {detail}"),
        Outcome::Died { how } => how.clone(),
    };
    let (de, psnr) = difference.map_or((String::new(), String::new()), |d| match d {
        Difference::Size { width, height } => (format!("{width} x {height}"), String::new()),
        Difference::Pixels { de, psnr } => (format!("{de:.2}"), format!("{psnr:.1}")),
    });
    println!(
        "| {} | {expected} | {got} | {de} | {psnr} | {} | {:.0} / {:.0} |",
        file.display(),
        report.ms,
        report.peak as f64 / 1_048_576.0,
        report.estimate as f64 / 1_048_576.0,
    );
    fault(report).or_else(|| missed(&expected, &report.outcome, difference))
}

/// What no file may do.
fn fault(report: &Report) -> Option<String> {
    if let Outcome::Died { how } = &report.outcome {
        return Some(how.clone());
    }
    let panicked = matches!(&report.outcome, Outcome::Refused { code, .. } if code == "codec_panicked");
    let estimated = report.estimate > 0;
    let over = estimated && report.peak > report.estimate;
    panicked
        .then(|| "a codec panicked".to_owned())
        .or_else(|| over.then(|| format!("{} bytes of memory, {} estimated", report.peak, report.estimate)))
}

fn missed(expected: &Expected, outcome: &Outcome, difference: Option<&Difference>) -> Option<String> {
    match (expected, outcome) {
        (Expected::Right, Outcome::Shown { .. }) => match difference {
            Some(Difference::Pixels { de, .. }) if *de > DE_MAX => Some(format!("differs by dE00 {de:.2}")),
            Some(Difference::Size { width, height }) => Some(format!("the reference has {width} x {height}")),
            _ => None,
        },
        (Expected::Right | Expected::Differs(_), Outcome::Refused { detail, .. }) => Some(format!("refused: {detail}")),
        (Expected::Refused(_), Outcome::Shown { .. }) => Some("shown".to_owned()),
        _ => None,
    }
}

fn is_fuzz(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str().to_string_lossy().starts_with("fuzz"))
}

/// The images below `root`, relative to it, in order.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if !matches!(path.extension().and_then(|e| e.to_str()), Some("md" | "bin"))
                && path.file_name().is_none_or(|name| name != "LICENSE" && name != "README")
            {
                found.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
            }
        }
    }
    found.sort();
    found
}

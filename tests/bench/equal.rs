//! The quality at which sharp's files look as much like their pixels as ours do.
//!
//! Each side is scored (SSIMULACRA2) against its own resized pixels, which it also gives as PNG: what is compared is
//! the encoders, and neither side's resizing counts as the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fast_ssim2::{PixelDescriptor, PixelSlice, compute_ssimulacra2};
use rayon::prelude::*;

use crate::job::{Job, Variant, Work};
use crate::lab::Lab;

/// One quality's outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) quality: u8,
    /// The mean over photos and sizes.
    pub(crate) score: f64,
    /// All files together.
    pub(crate) bytes: f64,
}

/// sharp's quality for one of our scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    /// The whole number that comes nearest, which is what gets timed.
    pub(crate) nearest: Point,
    /// Bytes at exactly our score, between the two nearest qualities.
    pub(crate) bytes: f64,
}

/// Scores files of both sides.
pub(crate) struct Equal<'a> {
    lab: &'a Lab,
    photos: &'a [PathBuf],
    sizes: &'a [u32],
}

impl<'a> Equal<'a> {
    pub(crate) fn new(lab: &'a Lab, photos: &'a [PathBuf], sizes: &'a [u32]) -> Self {
        let this = Self { lab, photos, sizes };
        for work in [Work::Pixerve, Work::Best] {
            this.make(work, &reference(work), &Variant::new("png", 0));
        }
        this
    }

    /// Our files at these settings; no quality means our default.
    pub(crate) fn ours(&self, variant: &Variant) -> Point {
        self.point(Work::Pixerve, variant)
    }

    /// sharp's quality with the same score as `ours`, from `guess` on.
    pub(crate) fn find(&self, ours: Point, variant: &Variant, guess: u8) -> Match {
        let mut points: Vec<Point> = Vec::new();
        let mut next = guess;
        // Four files a photo and size bring the estimate within a fraction of a step.
        while points.len() < 4 && points.iter().all(|p| p.quality != next) {
            points.push(self.point(Work::Best, &Variant { quality: Some(next), ..variant.clone() }));
            points.sort_by_key(|p| p.quality);
            next = if points.len() == 1 {
                if points[0].score < ours.score { next + 6 } else { next - 6 }
            } else {
                let (low, high) = around(&points, ours.score);
                let slope = (high.score - low.score) / f64::from(high.quality - low.quality);
                (f64::from(low.quality) + (ours.score - low.score) / slope).round().clamp(2.0, 99.0) as u8
            };
        }
        let (low, high) = around(&points, ours.score);
        let share = (ours.score - low.score) / (high.score - low.score);
        let bytes = (low.bytes.ln() + share * (high.bytes.ln() - low.bytes.ln())).exp();
        let distance = |p: &&Point| (p.score - ours.score).abs();
        let nearest = points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("some were tried");
        Match { nearest: *nearest, bytes }
    }

    fn point(&self, work: Work, variant: &Variant) -> Point {
        let bytes = self.make(work, "scored", variant);
        let (files, truth) = (rgb(&self.lab.root().join("scored")), rgb(&self.lab.root().join(reference(work))));
        let scores: Vec<f64> = files.par_iter().map(|(name, file)| score(&truth[name], file)).collect();
        assert_eq!(scores.len(), self.photos.len() * self.sizes.len(), "a file is missing");
        let score = scores.iter().sum::<f64>() / scores.len() as f64;
        Point { quality: variant.quality.unwrap_or(0), score, bytes: bytes as f64 }
    }

    fn make(&self, work: Work, directory: &str, variant: &Variant) -> u64 {
        let directory = self.lab.empty(directory);
        let variants: Vec<_> = self.sizes.iter().map(|size| Variant { size: *size, ..variant.clone() }).collect();
        let job = Job { warm: false, out: Some(directory.clone()), ..Job::new(work, self.photos, &variants) };
        let outcome = self.lab.run(&job);
        self.lab.decode(&directory);
        outcome.bytes.values().sum()
    }
}

fn reference(work: Work) -> String {
    format!("reference-{work:?}")
}

/// The two points between which `score` lies, or the two next to it.
fn around(points: &[Point], score: f64) -> (Point, Point) {
    let i = points.iter().position(|p| p.score >= score).unwrap_or(points.len() - 1).max(1);
    (points[i - 1], points[i])
}

/// Raw pixels by photo and size: file, width, height.
fn rgb(directory: &Path) -> BTreeMap<String, (PathBuf, u32, u32)> {
    let entries = fs::read_dir(directory).expect("our own directory").filter_map(|entry| Some(entry.ok()?.path()));
    let parse = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".rgb")?.to_owned();
        let mut parts = name.split('.');
        let (photo, _format, dimensions) = (parts.next()?, parts.next()?, parts.next()?);
        let (width, height) = dimensions.split_once('x')?;
        Some((photo.to_owned(), (path, width.parse().ok()?, height.parse().ok()?)))
    };
    entries.filter_map(parse).collect()
}

fn score(truth: &(PathBuf, u32, u32), file: &(PathBuf, u32, u32)) -> f64 {
    let (width, height) = (file.1, file.2);
    assert_eq!((truth.1, truth.2), (width, height), "dimensions of {}", file.0.display());
    let [truth, file] = [&truth.0, &file.0].map(|path| fs::read(path).expect("our own file"));
    let view = |samples| {
        PixelSlice::new(samples, width, height, width as usize * 3, PixelDescriptor::RGB8_SRGB).expect("pixels")
    };
    compute_ssimulacra2(&view(&truth), &view(&file)).expect("a score")
}

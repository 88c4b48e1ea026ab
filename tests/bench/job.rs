//! What a measured process is told, and what it answers. Both sides speak it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work {
    /// Pixerve's pipeline.
    Pixerve,
    /// Pixerve's PNG encoder, or sharp's, alone.
    Png,
    /// sharp: decode and resize once, cascade from raw.
    Best,
    /// sharp: one pipeline an output.
    Natural,
    /// sharp: every file in `out` becomes raw pixels.
    Decode,
    /// sharp: which versions it has.
    Versions,
}

/// One file to make of every photo, `size` pixels a side at most.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Variant {
    pub(crate) format: String,
    pub(crate) size: u32,
    /// None means the side's default.
    pub(crate) quality: Option<u8>,
    /// Pixerve's knob.
    pub(crate) speed: Option<u8>,
    /// sharp's knob.
    pub(crate) effort: Option<u8>,
    /// sharp's `chromaSubsampling`.
    pub(crate) chroma: Option<String>,
}

impl Variant {
    pub(crate) fn new(format: &str, size: u32) -> Self {
        Self { format: format.to_owned(), size, quality: None, speed: None, effort: None, chroma: None }
    }
}

/// What a process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) photos: Vec<PathBuf>,
    pub(crate) variants: Vec<Variant>,
    /// Photos worked on at once.
    pub(crate) in_flight: usize,
    /// libvips' threads an operation; none leaves it to sharp.
    pub(crate) concurrency: Option<usize>,
    /// How often every photo's turn comes.
    pub(crate) repeats: usize,
    /// Whether the first photo is made once before the clock starts.
    pub(crate) warm: bool,
    /// Where the files go; none throws them away.
    pub(crate) out: Option<PathBuf>,
    /// Where sharp is installed.
    pub(crate) modules: PathBuf,
}

impl Job {
    pub(crate) fn new(work: Work, photos: &[PathBuf], variants: &[Variant]) -> Self {
        Self {
            work,
            photos: photos.to_vec(),
            variants: variants.to_vec(),
            in_flight: 2,
            concurrency: None,
            repeats: 1,
            warm: true,
            out: None,
            modules: PathBuf::new(),
        }
    }
}

/// What it answers: of the measured part, but for the peak, which is the process's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) wall_ms: f64,
    /// User and system, of all threads.
    pub(crate) cpu_ms: f64,
    /// The most memory the process ever had resident.
    pub(crate) peak_kib: u64,
    /// By format.
    pub(crate) bytes: BTreeMap<String, u64>,
}

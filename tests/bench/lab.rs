//! Where measurements happen: a directory that goes when the run ends, and processes that do what a [`Job`] says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::child::write;
use crate::job::{Job, Outcome, Work};

/// Where `make bench` installs sharp.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/node");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/sharp.mjs");

/// A directory, and what runs in it.
pub(crate) struct Lab {
    directory: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        assert!(
            Path::new(MODULES).join("node_modules/sharp").is_dir(),
            "sharp is not installed: run `make bench`, which does it"
        );
        Self { directory: tempfile::Builder::new().prefix("pixerve-bench-").tempdir().expect("a directory") }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A directory that is empty.
    pub(crate) fn empty(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).expect("our own directory");
        }
        std::fs::create_dir(&path).expect("a directory");
        path
    }

    /// Runs `job` to its end.
    pub(crate) fn run(&self, job: &Job) -> Outcome {
        let answer = self.answer(job);
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e} in {answer:?} of {job:?}"))
    }

    /// Makes raw pixels of every file in `directory`.
    pub(crate) fn decode(&self, directory: &Path) {
        self.answer(&Job { out: Some(directory.to_owned()), ..Job::new(Work::Decode, &[], &[]) });
    }

    /// What sharp says it is made of.
    pub(crate) fn versions(&self) -> String {
        let answer: serde_json::Value =
            serde_json::from_str(&self.answer(&Job::new(Work::Versions, &[], &[]))).expect("versions");
        let of = |name: &str| answer[name].as_str().unwrap_or("?").to_owned();
        format!("sharp {} (libvips {}, libwebp {})", of("sharp"), of("vips"), of("webp"))
    }

    fn answer(&self, job: &Job) -> String {
        let path = self.root().join("job.json");
        let told = Job { modules: MODULES.into(), ..job.clone() };
        write(&path, &serde_json::to_vec(&told).expect("JSON"));
        let ours = job.work == Work::Pixerve || (job.work == Work::Png && job.concurrency.is_none());
        let mut command = if ours {
            let mut own = Command::new(std::env::current_exe().expect("this program"));
            own.arg("--child");
            own
        } else {
            let mut node = Command::new("node");
            node.arg(SCRIPT);
            node
        };
        let output = command.arg(&path).stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("a process");
        assert!(output.status.success(), "{job:?} ended with {}", output.status);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

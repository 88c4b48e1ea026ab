//! Children that work on pixels: what they can't do, and what it costs when one dies.

mod confined;
mod deaths;
mod idle_children;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

/// A program in the place of ours: like it when it is probed, otherwise this shell script.
pub(crate) struct FakeChild {
    dir: TempDir,
}

impl FakeChild {
    pub(crate) fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let real = env!("CARGO_BIN_EXE_pixerve");
        let text = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n[ \"$2\" = probe ] && exec {real} \"$@\"\n{script}\n");
        let path = dir.path().join("program");
        // Closed before it is run: a file that is open for writing is busy.
        File::create(&path).and_then(|mut file| file.write_all(text.as_bytes())).expect("a script");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it can be run");
        Self { dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("program")
    }
}

/// The children of a process, by their ids.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}

/// A job that takes a debug build seconds.
fn long_job() -> Value {
    json!({ "directHost": true, "formats": { "avif": { "settings": { "speed": 1 }, "sizes": [[1200]] } } })
}

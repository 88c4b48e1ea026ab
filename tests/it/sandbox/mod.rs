//! Children that work on pixels: what they can't do, and what it costs when one dies.

mod confined;
mod deaths;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

/// A program in the place of ours: like it when it is probed, otherwise this shell script.
pub(crate) struct Impostor {
    dir: TempDir,
}

impl Impostor {
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

//! A wall clock of a server's own, by libfaketime. Its monotonic clock stays the machine's.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::tool::{Tool, require};

/// A clock that a server is started with and that is set while it runs.
pub(crate) struct WallClock {
    library: String,
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right, kept in `dir`; none where libfaketime isn't installed.
    pub(crate) fn below(dir: &Path) -> Option<Self> {
        let clock = Self { library: library()?.display().to_string(), file: dir.join("clock") };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it, from the server's next look on: `+1d` or `-1h` beside the right time.
    pub(crate) fn set(&self, offset: &str) {
        let partial = self.file.with_extension("partial");
        let written = File::create(&partial).and_then(|mut file| file.write_all(offset.as_bytes()));
        written.and_then(|()| std::fs::rename(&partial, &self.file)).expect("it is set");
    }

    /// What a server goes by it with.
    pub(crate) fn settings(&self) -> [(&str, &str); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().expect("UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// Where Debian puts what libfaketime preloads, for whatever machine.
fn library() -> Option<PathBuf> {
    let mut entries = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let library = entries.find_map(|entry| {
        let path = entry.path().join("faketime/libfaketimeMT.so.1");
        path.exists().then_some(path)
    });
    require(Tool::Faketime, library)
}

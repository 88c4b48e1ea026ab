//! What a job has written where, line by line, so that a restart doesn't write it again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{SpoolError, blocking};
use crate::durable::{FileError, IoContext};
use crate::failpoint::{Step, reached};
use crate::job::{ContentHash, Stored};

/// One file in one store, as this very job wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLine {
    /// The name in the store, without directories.
    pub name: String,
    /// Its extension: that of a variant's format, or of the original's.
    pub format: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of what was written.
    pub sha256: ContentHash,
    /// Where it is.
    pub stored: Stored,
}

/// A job's lines: those of earlier attempts, and room for more.
#[derive(Clone, Debug)]
pub struct Journal {
    earlier: Vec<StoredLine>,
    file: Arc<Mutex<OpenJournal>>,
}

#[derive(Debug)]
struct OpenJournal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Reads what is there. A line torn by a crash, and anything behind it, is cut off: it was never relied on.
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context("open", &path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).context("read", &path)?;
        let mut earlier = Vec::new();
        let mut whole = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let Ok(stored) = serde_json::from_slice(line) else { break };
            earlier.push(stored);
            whole += line.len();
        }
        file.set_len(whole as u64).context("truncate", &path)?;
        file.seek(SeekFrom::End(0)).context("seek in", &path)?;
        Ok(Self { earlier, file: Arc::new(Mutex::new(OpenJournal { file, path })) })
    }

    /// What earlier attempts wrote.
    #[must_use]
    pub fn earlier(&self) -> &[StoredLine] {
        &self.earlier
    }

    /// Notes, durably, that a file is in a store.
    pub async fn append(&self, line: &StoredLine) -> Result<(), SpoolError> {
        let mut open = self.file.clone().lock_owned().await;
        let line = serde_json::to_string(line).expect("INVARIANT: a StoredLine is strings and numbers") + "\n";
        blocking(move || {
            open.file.write_all(line.as_bytes()).context("write", &open.path)?;
            reached(Step::JournalWritten);
            open.file.sync_data().context("fsync", &open.path)
        })
        .await
    }
}

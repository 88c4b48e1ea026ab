//! What a job has made and what it has written where, line by line, so that a restart does neither again.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{SpoolError, blocking};
use crate::clock::Timestamp;
use crate::durable::{FileError, IoContext};
use crate::failpoint::{Step, reached};
use crate::job::{ContentHash, Stored, Warnings};

/// One file, as this very job made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFile {
    /// Its name in every store, without directories.
    pub name: String,
    /// Its extension: that of a variant's format, or of the original's.
    pub format: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: ContentHash,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Warnings::is_empty")]
    pub warnings: Warnings,
    /// The name of an earlier file of the job that it comes out as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
}

/// One file in one store, as this very job wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLine {
    /// Which file.
    #[serde(flatten)]
    pub file: MadeFile,
    /// Where it is.
    pub stored: Stored,
}

/// What a line may say. 0.2.0 wrote [`StoredLine`]s only.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Stored(StoredLine),
    /// The file lies in the spool, to be stored.
    Made(MadeFile),
    AllMade {
        all_made_at: Timestamp,
    },
    /// Of a later version.
    Other(serde_json::Value),
}

/// What a job's journal says when an attempt opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalEntries {
    /// The files that are in a store, oldest first.
    pub stored: Vec<StoredLine>,
    /// The files that were put into the spool, oldest first; one that was made again is there twice.
    pub made: Vec<MadeFile>,
    /// When every variant was made, for the first time.
    pub all_made_at: Option<Timestamp>,
}

impl JournalEntries {
    /// What the journal at `path` says, which is left as it is. Nothing if there is none.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        match fs::read(path) {
            Ok(text) => Ok(Self::parse(&text).0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("read", path),
        }
    }

    /// The lines up to the first that a crash has torn, and how many bytes they are.
    fn parse(text: &[u8]) -> (Self, usize) {
        let (mut entries, mut whole) = (Self::default(), 0);
        for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
            let Ok(read) = serde_json::from_slice(line) else { break };
            entries.add(read);
            whole += line.len();
        }
        (entries, whole)
    }

    fn add(&mut self, line: Line) {
        match line {
            Line::Stored(line) => self.stored.push(line),
            Line::Made(file) => self.made.push(file),
            Line::AllMade { all_made_at } => {
                self.all_made_at.get_or_insert(all_made_at);
            }
            Line::Other(_) => {}
        }
    }
}

/// A job's lines: those of earlier attempts, and room for more. It holds no descriptor between two lines, since a job may
/// wait for its stores for days.
#[derive(Clone, Debug)]
pub struct Journal {
    earlier: JournalEntries,
    /// Locked while a line is written.
    path: Arc<Mutex<PathBuf>>,
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
        let (earlier, whole) = JournalEntries::parse(&text);
        file.set_len(whole as u64).context("truncate", &path)?;
        Ok(Self { earlier, path: Arc::new(Mutex::new(path)) })
    }

    /// What earlier attempts wrote.
    #[must_use]
    pub fn earlier(&self) -> &JournalEntries {
        &self.earlier
    }

    /// Notes, durably, that a file is in a store.
    pub async fn append_stored(&self, line: StoredLine) -> Result<(), SpoolError> {
        self.append(Line::Stored(line), true).await
    }

    /// Notes that a file is in the spool. Not durably, as it is there: it can be made again.
    pub async fn append_made(&self, file: MadeFile) -> Result<(), SpoolError> {
        self.append(Line::Made(file), false).await
    }

    /// Notes that every variant is made. Not durably: without it, stores are waited for a little longer.
    pub async fn append_all_made(&self, all_made_at: Timestamp) -> Result<(), SpoolError> {
        self.append(Line::AllMade { all_made_at }, false).await
    }

    async fn append(&self, line: Line, is_durable: bool) -> Result<(), SpoolError> {
        let path = self.path.clone().lock_owned().await;
        let line = serde_json::to_string(&line).expect("INVARIANT: a line is strings and numbers") + "\n";
        blocking(move || {
            let mut file = OpenOptions::new().append(true).open(&*path).context("open", &path)?;
            let whole = file.metadata().context("look at", &path)?.len();
            if let Err(error) = file.write_all(line.as_bytes()) {
                // A full disk may take a part of it, which would spoil what comes behind.
                file.set_len(whole).context("truncate", &path)?;
                return Err(error).context("write", &path);
            }
            reached(Step::JournalWritten);
            if is_durable { file.sync_data().context("fsync", &path) } else { Ok(()) }
        })
        .await
    }
}

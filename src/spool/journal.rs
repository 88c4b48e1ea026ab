//! What a job has made and what it has written where, line by line, so that a restart does neither again.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::SpoolError;
use crate::clock::Timestamp;
use crate::job::{ContentHash, Placeholder, Stored, Warnings};

/// One file, as this very job made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFile {
    /// Its name in every store, without directories.
    pub name: String,
    /// Its extension: that of a variant's format, of the original's, or `json`.
    pub format: String,
    /// Width in pixels; 0 of what is no picture.
    pub width: u32,
    /// Height in pixels; 0 of what is no picture.
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
    /// The file is kept on the machine that made it, to be stored.
    Made(MadeFile),
    AllMade {
        all_made_at: Timestamp,
    },
    Placeholder {
        placeholder: Placeholder,
    },
    /// Of a later version.
    Other(serde_json::Value),
}

/// What a job's journal says when an attempt opens it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalEntries {
    /// The files that are in a store, oldest first.
    pub stored: Vec<StoredLine>,
    /// The files that were kept to be stored, oldest first; one that was made again is there twice.
    pub made: Vec<MadeFile>,
    /// When every variant was made, for the first time.
    pub all_made_at: Option<Timestamp>,
    /// What stands in the picture's place, if that was made.
    pub placeholder: Option<Placeholder>,
}

impl JournalEntries {
    /// The lines up to the first that a crash has torn, and how many bytes they are.
    pub(super) fn parse(text: &[u8]) -> (Self, usize) {
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
            Line::Placeholder { placeholder } => self.placeholder = Some(placeholder),
            Line::Other(_) => {}
        }
    }
}

/// How soon a line must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When the call returns, as well as the journal keeps anything.
    Durable,
    /// Some time later: it may be lost until then.
    Soon,
}

/// Where a job's lines are kept.
#[async_trait]
pub(super) trait JournalSink: Debug + Send + Sync {
    /// Keeps one more line, which has no line break.
    async fn append(&self, line: String, durability: Durability) -> Result<(), SpoolError>;
}

/// A job's lines: those of earlier attempts, and room for more.
#[derive(Clone, Debug)]
pub struct Journal {
    earlier: JournalEntries,
    sink: Arc<dyn JournalSink>,
}

impl Journal {
    pub(super) fn new(earlier: JournalEntries, sink: Arc<dyn JournalSink>) -> Self {
        Self { earlier, sink }
    }

    /// What earlier attempts wrote.
    #[must_use]
    pub fn earlier(&self) -> &JournalEntries {
        &self.earlier
    }

    /// Notes, durably, that a file is in a store.
    pub async fn append_stored(&self, line: StoredLine) -> Result<(), SpoolError> {
        self.append(&Line::Stored(line), Durability::Durable).await
    }

    /// Notes that a file is kept on this machine. Not durably, as it is there: it can be made again.
    pub async fn append_made(&self, file: MadeFile) -> Result<(), SpoolError> {
        self.append(&Line::Made(file), Durability::Soon).await
    }

    /// Notes that every variant is made. Not durably: without it, stores are waited for a little longer.
    pub async fn append_all_made(&self, all_made_at: Timestamp) -> Result<(), SpoolError> {
        self.append(&Line::AllMade { all_made_at }, Durability::Soon).await
    }

    /// Notes what stands in the picture's place. What is written later takes it along, and it is no file: only where a file tells of
    /// it, it is to be durable before that.
    pub async fn append_placeholder(&self, placeholder: Placeholder, durability: Durability) -> Result<(), SpoolError> {
        self.append(&Line::Placeholder { placeholder }, durability).await
    }

    async fn append(&self, line: &Line, durability: Durability) -> Result<(), SpoolError> {
        let line = serde_json::to_string(line).expect("INVARIANT: a line is strings and numbers");
        self.sink.append(line, durability).await
    }
}

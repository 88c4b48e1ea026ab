//! A job's journal in a file beside its original.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::durable::{FileError, IoContext};
use crate::failpoint::{Step, reached};
use crate::spool::journal::{Durability, JournalSink};
use crate::spool::{JournalEntries, SpoolError, blocking};

/// It holds no descriptor between two lines, since a job may wait for its stores for days.
#[derive(Debug)]
pub(super) struct JournalFile {
    /// Locked while a line is written.
    path: Arc<Mutex<PathBuf>>,
}

impl JournalFile {
    /// Reads what is there. A line torn by a crash, and anything behind it, is cut off: it was never relied on.
    pub(super) fn open(path: PathBuf) -> Result<(Self, JournalEntries), FileError> {
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
        Ok((Self { path: Arc::new(Mutex::new(path)) }, earlier))
    }
}

/// What the journal at `path` says, which is left as it is. Nothing if there is none.
pub(super) fn read(path: &Path) -> Result<JournalEntries, FileError> {
    match fs::read(path) {
        Ok(text) => Ok(JournalEntries::parse(&text).0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(JournalEntries::default()),
        Err(error) => Err(error).context("read", path),
    }
}

#[async_trait]
impl JournalSink for JournalFile {
    async fn append(&self, line: String, durability: Durability) -> Result<(), SpoolError> {
        let path = self.path.clone().lock_owned().await;
        let line = line + "\n";
        blocking(move || {
            let mut file = OpenOptions::new().append(true).open(&*path).context("open", &path)?;
            let whole = file.metadata().context("look at", &path)?.len();
            if let Err(error) = file.write_all(line.as_bytes()) {
                // A full disk may take a part of it, which would spoil what comes behind.
                file.set_len(whole).context("truncate", &path)?;
                return Err(error).context("write", &path);
            }
            reached(Step::JournalWritten);
            match durability {
                Durability::Durable => file.sync_data().context("fsync", &path),
                Durability::Soon => Ok(()),
            }
        })
        .await
    }
}

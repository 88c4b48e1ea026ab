//! Which sync of a database was the last: a number inside it, and beside it.
//!
//! sled takes a damaged stretch of its log for the log's end, and what comes after it for never written: the database
//! opens as it was some time ago, without an error. The number beside it is written after a sync and never synced
//! itself, which costs next to nothing. So it may be too small after a loss of power, and can't be too large: if the one
//! inside is smaller, something that was acknowledged is gone.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::engine::META;
use super::error::DatabaseError;
use super::files::DatabaseFiles;
use crate::error_chain::ErrorChain;

const LAST_SYNC: &str = "db_last_sync";

/// The number, and where it is kept.
#[derive(Debug)]
pub(super) struct Syncs {
    last: u64,
    inside: sled::Tree,
    /// None if it can't be written: then the next opening has nothing to compare with.
    beside: Option<File>,
}

impl Syncs {
    pub(super) fn open(engine: &sled::Db, files: &DatabaseFiles) -> Result<Self, DatabaseError> {
        let failed = |source| files.engine_error("opening records in", source);
        let inside = engine.open_tree(META).map_err(failed)?;
        let last = last(&inside).map_err(failed)?;
        let beside = files.open_synced().inspect_err(|error| {
            tracing::warn!(error = %ErrorChain(error), "file of sync numbers could not be opened");
        });
        let syncs = Self { last, inside, beside: beside.ok() };
        syncs.note_beside();
        Ok(syncs)
    }

    /// Counts the sync that is about to be made.
    pub(super) fn note_inside(&mut self) -> sled::Result<()> {
        let next = self.last + 1;
        self.inside.insert(LAST_SYNC, &next.to_be_bytes())?;
        self.last = next;
        Ok(())
    }

    /// The sync was made.
    pub(super) fn note_beside(&self) {
        if let Some(Err(error)) = self.beside.as_ref().map(|file| file.write_all_at(&self.last.to_be_bytes(), 0)) {
            tracing::debug!(error = %ErrorChain(&error), "sync number could not be written");
        }
    }
}

/// What is missing in a database that opens, if something is.
pub(super) fn missing(engine: &sled::Db, files: &DatabaseFiles) -> Result<Option<String>, DatabaseError> {
    let failed = |source| files.engine_error("reading", source);
    let inside = engine.open_tree(META).and_then(|meta| last(&meta)).map_err(failed)?;
    let beside = files.read_synced().unwrap_or_default();
    Ok((inside < beside)
        .then(|| format!("it lacks its latest syncs: it has {inside} of {beside}; what could be read is in use")))
}

fn last(meta: &sled::Tree) -> sled::Result<u64> {
    let bytes = meta.get(LAST_SYNC)?;
    Ok(bytes.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
}

impl DatabaseFiles {
    fn read_synced(&self) -> Option<u64> {
        let bytes = std::fs::read(self.beside("synced")).ok()?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    fn open_synced(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.beside("synced"))
    }

    pub(super) fn remove_synced(&self) -> Result<(), DatabaseError> {
        self.remove_beside("synced")
    }
}

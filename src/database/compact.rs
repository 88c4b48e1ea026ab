//! Gives back the space that a burst left: sled's file never shrinks by itself.

use std::fs;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::engine::{self, Attempt, Checked};
use super::error::DatabaseError;
use super::place::{self, Place, RELEASE_TIMEOUT};
use crate::durable;

/// Smaller files are not worth the copying.
const BLOATED_BYTES: u64 = 256 << 20;
/// Nor are those that hold at least an eighth of what they take.
const BLOATED_RATIO: u64 = 8;
/// Records between two flushes while copying: unflushed ones pile up in memory.
const FLUSH_EVERY: usize = 10_000;

/// Rewrites the database if it is mostly air, and answers the one to use.
pub(super) fn if_bloated(checked: Checked, place: &Place) -> Result<sled::Db, DatabaseError> {
    let Checked { engine, live_bytes } = checked;
    let file_bytes = place.file_bytes()?;
    if file_bytes <= BLOATED_BYTES || file_bytes / BLOATED_RATIO <= live_bytes {
        return Ok(engine);
    }
    compact(engine, place)
}

fn compact(engine: sled::Db, place: &Place) -> Result<sled::Db, DatabaseError> {
    let before = place.file_bytes()?;
    if let Err(error) = rewrite(&engine, place) {
        // The large one is as good as before, and there is always a next start.
        tracing::warn!(database = %place.dir().display(), %error, "could not compact the database");
        return Ok(engine);
    }
    // sled writes snapshots by path: both must be closed before their directories change places.
    let file = place.open_file()?;
    drop(engine);
    if !place::wait_for_lock(&file, RELEASE_TIMEOUT) {
        return Err(DatabaseError::AlreadyRunning { path: place.dir().to_owned() });
    }
    drop(file);
    let exchanged = renameat_with(CWD, place.compacted(), CWD, place.dir(), RenameFlags::EXCHANGE);
    match exchanged {
        Ok(()) => {
            place.sync_directories()?;
            let after = place.file_bytes()?;
            tracing::info!(database = %place.dir().display(), before, after, "compacted the database");
        }
        Err(error) => {
            tracing::warn!(database = %place.dir().display(), %error, "could not put the compacted database in place");
        }
    }
    if let Err(error) = fs::remove_dir_all(place.compacted()) {
        tracing::warn!(database = %place.dir().display(), %error, "could not remove the database's old files");
    }
    engine::open(place).map_err(|attempt| match attempt {
        Attempt::Failed(error) => error,
        Attempt::Damaged(why) => place.engine_error("opening after compaction", sled::Error::ReportableBug(why)),
    })
}

/// Copies every record into a new database beside the old, durably.
fn rewrite(engine: &sled::Db, place: &Place) -> Result<(), DatabaseError> {
    let failed = |source| place.engine_error("compacting", source);
    let target = Place::new(&place.compacted());
    let compacted = engine::configured(&target).open().map_err(failed)?;
    for name in engine.tree_names() {
        let from = engine.open_tree(&name).map_err(failed)?;
        let to = compacted.open_tree(&name).map_err(failed)?;
        for (i, entry) in from.iter().enumerate() {
            let (key, value) = entry.map_err(failed)?;
            to.insert(key, value).map_err(failed)?;
            if i % FLUSH_EVERY == FLUSH_EVERY - 1 {
                to.flush().map_err(failed)?;
            }
        }
    }
    compacted.flush().map_err(failed)?;
    drop(compacted);
    let file = target.open_file()?;
    if !place::wait_for_lock(&file, RELEASE_TIMEOUT) {
        return Err(DatabaseError::AlreadyRunning { path: target.dir().to_owned() });
    }
    file.sync_all().map_err(|source| target.io_error("syncing", source))?;
    durable::sync_directory(target.dir()).map_err(|error| target.io_error("syncing", error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;

    #[test]
    fn compaction_keeps_every_record_and_the_identity() -> Result<(), Box<dyn std::error::Error>> {
        let temp = tempfile::tempdir()?;
        let dir = temp.path().join("queue.db");
        let database = Database::open(&dir)?.database;
        let tree = database.tree("jobs")?;
        for i in 0..100_u32 {
            tree.insert(i.to_be_bytes(), vec![7; 100])?;
        }
        drop(tree);
        database.close()?;

        let place = Place::new(&dir);
        let checked = engine::open_and_check(&place).map_err(|e| format!("{e:?}"))?;
        drop(compact(checked.engine, &place)?);

        let opened = Database::open(&dir)?;
        assert_eq!(opened.set_aside, None);
        let tree = opened.database.tree("jobs")?;
        assert_eq!(tree.iter().filter_map(Result::ok).filter(|(_, value)| value.len() == 100).count(), 100);
        assert!(!place.compacted().exists());
        Ok(())
    }
}

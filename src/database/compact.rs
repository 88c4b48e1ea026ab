//! Compaction: sled's file never shrinks by itself after a burst of records.

use std::fs;
use std::io;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::engine::{self, CheckedEngine, DatabaseOpenError};
use super::error::DatabaseError;
use super::files::{self, DatabaseFiles, RELEASE_TIMEOUT};
use super::segments;
use crate::durable;
use crate::error_chain::ErrorChain;

/// Smaller files are not worth the copying: sled keeps some segments free for what comes.
const BLOATED_SEGMENTS: u64 = 4;
/// Nor are those of which at least a quarter is in use: a compacted file takes up to twice what it holds.
const BLOATED_RATIO: u64 = 4;
/// Records between two flushes while copying: unflushed ones pile up in memory.
const FLUSH_EVERY: usize = 10_000;

/// Rewrites the database if little of its file is in use, and answers the one to use.
pub(super) fn if_bloated(checked: CheckedEngine, files: &DatabaseFiles) -> Result<sled::Db, DatabaseError> {
    let CheckedEngine { engine, live_bytes } = checked;
    let file_bytes = files.file_bytes()?;
    if file_bytes <= BLOATED_SEGMENTS * segments::bytes(files) as u64 || file_bytes / BLOATED_RATIO <= live_bytes {
        return Ok(engine);
    }
    compact(engine, files)
}

/// Rewrites the database whatever is in it, so that nothing of what was removed is left in its files. Trees handed out must have
/// been dropped before.
///
/// # Errors
/// It could not be rewritten, or the old files are still there; the database itself is good in either case.
pub(super) fn always(engine: sled::Db, files: &DatabaseFiles) -> Result<sled::Db, DatabaseError> {
    rewrite(&engine, files)?;
    let Replaced { engine, left } = replace(engine, files)?;
    match left {
        None => Ok(engine),
        Some(source) => Err(files.io_error("replacing", source)),
    }
}

fn compact(engine: sled::Db, files: &DatabaseFiles) -> Result<sled::Db, DatabaseError> {
    let bytes_before = files.file_bytes()?;
    if let Err(error) = rewrite(&engine, files) {
        // The database stays as it was, and the next start tries again.
        tracing::warn!(database = %files.dir().display(), error = %ErrorChain(&error), "database compaction failed");
        return Ok(engine);
    }
    let Replaced { engine, left } = replace(engine, files)?;
    match left {
        None => {
            let bytes_after = files.file_bytes()?;
            tracing::info!(database = %files.dir().display(), bytes_before, bytes_after, "database compacted");
        }
        Some(error) => {
            tracing::warn!(
                database = %files.dir().display(), error = %ErrorChain(&error),
                "compacted database could not replace the old one, or that could not be removed"
            );
        }
    }
    Ok(engine)
}

/// The database after its files were to change places with the rewritten ones.
struct Replaced {
    engine: sled::Db,
    /// Why there still are old files, if there are.
    left: Option<io::Error>,
}

fn replace(engine: sled::Db, files: &DatabaseFiles) -> Result<Replaced, DatabaseError> {
    // sled writes snapshots by path: both must be closed before their directories change places.
    let file = files.open_file()?;
    drop(engine);
    if !files::wait_for_lock(&file, RELEASE_TIMEOUT) {
        return Err(DatabaseError::AlreadyRunning { path: files.dir().to_owned() });
    }
    drop(file);
    let exchanged = renameat_with(CWD, files.compacted(), CWD, files.dir(), RenameFlags::EXCHANGE);
    if exchanged.is_ok() {
        files.sync_directories()?;
    }
    let removed = fs::remove_dir_all(files.compacted());
    let engine = engine::open(files).map_err(|error| match error {
        DatabaseOpenError::Failed(error) => error,
        DatabaseOpenError::Damaged(why) => {
            files.engine_error("opening after compaction", sled::Error::ReportableBug(why))
        }
    })?;
    Ok(Replaced { engine, left: exchanged.map_err(io::Error::from).and(removed).err() })
}

/// Copies every record into a new database beside the old, durably.
fn rewrite(engine: &sled::Db, files: &DatabaseFiles) -> Result<(), DatabaseError> {
    let failed = |source| files.engine_error("compacting", source);
    let target = DatabaseFiles::new(&files.compacted());
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
    if !files::wait_for_lock(&file, RELEASE_TIMEOUT) {
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
    fn a_file_that_holds_little_shrinks_at_the_next_start_however_small_it_is() -> Result<(), Box<dyn std::error::Error>>
    {
        const RECORDS: u32 = 64;
        let temp = tempfile::tempdir()?;
        let dir = temp.path().join("queue.db");
        let database = Database::open(&dir)?.database;
        let tree = database.tree("jobs")?;
        for i in 0..RECORDS {
            let mut noise = vec![0; 1 << 20];
            getrandom::fill(&mut noise)?;
            tree.insert(i.to_be_bytes(), noise)?;
        }
        database.sync()?;
        for i in 1..RECORDS {
            tree.remove(i.to_be_bytes())?;
        }
        drop(tree);
        database.close()?;
        let files = DatabaseFiles::new(&dir);
        let before = files.file_bytes()?;
        assert!(before > 40 << 20, "{before}");

        let tree = Database::open(&dir)?.database.tree("jobs")?;
        let after = files.file_bytes()?;
        assert!(after * 2 < before, "{before} bytes became {after}");
        assert_eq!(tree.len(), 1);
        Ok(())
    }

    #[test]
    fn what_was_removed_is_in_no_file_once_the_database_is_rewritten() -> Result<(), Box<dyn std::error::Error>> {
        let temp = tempfile::tempdir()?;
        let dir = temp.path().join("queue.db");
        let opened = |database: &Database| database.tree("jobs");
        let database = Database::open(&dir)?.database;
        opened(&database)?.insert("gone", "a canary that is removed")?;
        opened(&database)?.insert("kept", "a record that stays")?;
        // Not closed, so that the next opening takes a copy.
        database.sync()?;
        drop(database);
        let database = Database::open(&dir)?.database;
        opened(&database)?.remove("gone")?;
        let holds = |needle: &str| {
            let files = walkdir::WalkDir::new(temp.path()).into_iter().filter_map(Result::ok);
            let bytes = files.filter(|entry| entry.file_type().is_file()).filter_map(|file| fs::read(file.path()).ok());
            bytes.into_iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
        };
        assert!(holds("a canary"), "sled keeps what was removed");
        database.close_rewritten()?;
        assert!(!holds("a canary"));

        let reopened = Database::open(&dir)?;
        assert_eq!(reopened.set_aside, None);
        assert_eq!(opened(&reopened.database)?.get("kept")?.as_deref(), Some(&b"a record that stays"[..]));
        Ok(())
    }

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

        let files = DatabaseFiles::new(&dir);
        let checked = engine::open_and_check(&files).map_err(|e| format!("{e:?}"))?;
        drop(compact(checked.engine, &files)?);

        let opened = Database::open(&dir)?;
        assert_eq!(opened.set_aside, None);
        let tree = opened.database.tree("jobs")?;
        assert_eq!(tree.iter().filter_map(Result::ok).filter(|(_, value)| value.len() == 100).count(), 100);
        assert!(!files.compacted().exists());
        Ok(())
    }
}

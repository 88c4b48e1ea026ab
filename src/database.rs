//! An embedded database (sled) behind guard rails: a room's records in one directory, durable when [`Database::sync`]
//! has answered, and never taken for empty when it is damaged.
//!
//! sled's own flush asks the kernel to start writing and doesn't wait for the disk, so every acknowledgement also
//! needs an `fdatasync` on a handle of ours. sled's asynchronous flush can hang under load: it is never used.
//!
//! Beside the directory `<dir>` live `<dir>.lock` (held while open), `<dir>.uuid` (what must be found inside again),
//! `<dir>.synced` (which of its syncs must be found inside), `<dir>.clean` (how large the file was at the last clean
//! stop), `<dir>.copy` (as it was found after the last unclean stop, until a clean one) and `<dir>.damaged-<n>` (set aside, never deleted).

mod compact;
mod engine;
mod error;
mod files;
mod look;
mod segments;
mod syncs;

use std::fs::File;
use std::path::{Path, PathBuf};

use engine::DatabaseOpenError;
use files::{DatabaseFiles, FileSystem};
use parking_lot::Mutex;
use syncs::Syncs;

use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};

pub use error::DatabaseError;
pub(crate) use files::until;
pub use look::{DatabaseLook, DatabaseState};

/// An open database. All of it blocks: it belongs on a thread of its own or in `spawn_blocking`.
#[derive(Debug)]
pub struct Database {
    /// Which sync was the last, inside and beside it. Declared first: it holds records.
    syncs: Mutex<Syncs>,
    engine: sled::Db,
    /// Our own handle of sled's file, for the `fdatasync` that sled leaves out.
    file: File,
    files: DatabaseFiles,
    /// Released last.
    _lock: File,
}

/// A database, and what had to be set aside to open it.
#[derive(Debug)]
pub struct OpenedDatabase {
    /// The database, ready for use.
    pub database: Database,
    /// What was damaged. The caller logs it as an error and rebuilds what it can.
    pub set_aside: Option<SetAside>,
}

/// A database that could not be read, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is kept, as it was found. If the whole directory was missing: where it should have been.
    pub path: PathBuf,
    /// What was wrong with it.
    pub why: String,
}

/// Room that must be free before a database which ran out of it is opened again, besides what opening it takes: so
/// much, or on a small file system a part of it.
const ROOM_BYTES: u64 = 64 << 20;
const ROOM_PART: u64 = 8;

impl Database {
    /// Opens the database in `dir`, or makes a new one. A damaged one is set aside first, which [`OpenedDatabase`] reports.
    ///
    /// # Errors
    /// Another process has it, the disk is full, or the file system refuses.
    pub fn open(dir: &Path) -> Result<OpenedDatabase, DatabaseError> {
        let files = DatabaseFiles::new(dir);
        let lock = files.lock()?;
        files.remove_leftovers()?;

        if files.exists()? {
            return open_existing(files, lock);
        }
        // If a database was here before, someone took it away, and what it knew is gone.
        let set_aside = files.uuid()?.map(|_| SetAside {
            path: dir.to_owned(),
            why: "the directory is gone, though its companion files are there".to_owned(),
        });
        Ok(OpenedDatabase { database: Self::create(files, lock)?, set_aside })
    }

    /// Whether there is room to open the database in `dir` again, if it ran out of space: for the copy that is made of
    /// it, and some to go on with. Yes where the system doesn't say.
    pub fn has_room(dir: &Path) -> bool {
        let files = DatabaseFiles::new(dir);
        files.file_system().is_none_or(|FileSystem { total_bytes, free_bytes }| {
            free_bytes >= room(total_bytes).saturating_add(files.bytes_to_copy())
        })
    }

    /// Writes and fsyncs a small file in the directory that `dir` is in, for who wants to know whether that disk hangs.
    pub fn write_beside(dir: &Path) {
        if let Err(error) = DatabaseFiles::new(dir).write_beside_it() {
            tracing::debug!(error = %ErrorChain(&error), "nothing could be written beside the database");
        }
    }

    /// The UUID of the database in `dir`, if there is one: it stays the same until the database is set aside.
    ///
    /// # Errors
    /// The file system's own.
    pub fn uuid(dir: &Path) -> Result<Option<String>, DatabaseError> {
        DatabaseFiles::new(dir).uuid()
    }

    /// The records of this name, made if they don't exist.
    ///
    /// # Errors
    /// The database's own.
    pub fn tree(&self, name: &str) -> Result<sled::Tree, DatabaseError> {
        self.engine.open_tree(name).map_err(|source| self.files.engine_error("opening records in", source))
    }

    /// Makes everything written so far survive the loss of power.
    ///
    /// # Errors
    /// [`DatabaseError::StorageFull`] stays until the database is dropped and opened again.
    pub fn sync(&self) -> Result<(), DatabaseError> {
        // One after the other, so that what is noted beside never runs ahead of what is inside.
        let mut syncs = self.syncs.lock();
        syncs.note_inside().map_err(|source| self.files.engine_error("writing to", source))?;
        self.engine.flush().map_err(|source| self.files.engine_error("flushing", source))?;
        self.file.sync_data().map_err(|source| self.files.io_error("syncing", source))?;
        syncs.note_beside();
        Ok(())
    }

    /// Closes it, and notes that it was closed cleanly. Without this the next opening takes a copy first.
    /// Trees handed out must have been dropped before.
    ///
    /// # Errors
    /// As for [`Database::sync`].
    pub fn close(self) -> Result<(), DatabaseError> {
        self.sync()?;
        let Self { syncs, engine, file, files, _lock } = self;
        drop(syncs);
        drop(engine);
        if files::wait_for_lock(&file, files::RELEASE_TIMEOUT) {
            file.sync_all().map_err(|source| files.io_error("syncing", source))?;
            reached(Step::StopBeforeCleanNote);
            files.note_clean_stop()?;
        } else {
            tracing::warn!(database = %files.dir().display(), "database closed while its records are in use; the next opening counts it as unclean");
        }
        Ok(())
    }

    /// The same, and rewrites it, so that nothing of what was removed is left in its files; the copy of how it was found after
    /// an unclean stop goes, too. What was set aside as damaged stays.
    ///
    /// # Errors
    /// As for [`Database::sync`]. The database itself is good still, and may have something of what was removed.
    pub fn close_rewritten(self) -> Result<(), DatabaseError> {
        self.sync()?;
        let Self { syncs, engine, file, files, _lock } = self;
        drop(syncs);
        drop(file);
        let rewritten = compact::always(engine, &files)?;
        let file = files.open_file()?;
        drop(rewritten);
        if !files::wait_for_lock(&file, files::RELEASE_TIMEOUT) {
            return Err(DatabaseError::AlreadyRunning { path: files.dir().to_owned() });
        }
        file.sync_all().map_err(|source| files.io_error("syncing", source))?;
        files.note_clean_stop()?;
        files.remove_copy()
    }

    fn create(files: DatabaseFiles, lock: File) -> Result<Self, DatabaseError> {
        files.remove_uuid()?;
        files.remove_synced()?;
        let engine = match engine::open(&files) {
            Ok(engine) => engine,
            Err(DatabaseOpenError::Failed(error)) => return Err(error),
            Err(DatabaseOpenError::Damaged(why)) => {
                let source = sled::Error::ReportableBug(why);
                return Err(files.engine_error("making", source));
            }
        };
        let uuid = engine::write_uuid(&engine, &files)?;
        let database = Self::assemble(engine, files, lock)?;
        database.sync()?;
        database.files.sync_directories()?;
        reached(Step::DatabaseMade);
        // Last: a database without its companion is a first start that didn't finish; the reverse would be damage.
        database.files.write_uuid(&uuid)?;
        Ok(database)
    }

    fn assemble(engine: sled::Db, files: DatabaseFiles, lock: File) -> Result<Self, DatabaseError> {
        let (syncs, file) = (Mutex::new(Syncs::open(&engine, &files)?), files.open_file()?);
        Ok(Self { syncs, engine, file, files, _lock: lock })
    }
}

fn open_existing(files: DatabaseFiles, lock: File) -> Result<OpenedDatabase, DatabaseError> {
    let previous = files.take_clean_stop()?;
    if !previous.is_clean() {
        files.copy_as_found()?;
        reached(Step::DatabaseCopied);
    }
    match engine::open_and_check(&files) {
        Err(DatabaseOpenError::Failed(error)) => Err(error),
        Err(DatabaseOpenError::Damaged(why)) => {
            let path = files.set_aside()?;
            Ok(OpenedDatabase { database: Database::create(files, lock)?, set_aside: Some(SetAside { path, why }) })
        }
        Ok(checked) => {
            reached(Step::DatabaseChecked);
            let missing = syncs::missing(&checked.engine, &files)?;
            let set_aside = match missing.or(previous.shortfall()) {
                Some(why) => {
                    files.copy_as_found()?;
                    Some(SetAside { path: files.keep_copy_as_damaged()?, why })
                }
                None if previous.is_clean() => files.remove_copy().map(|()| None)?,
                None => files.keep_copy().map(|()| None)?,
            };
            let engine = compact::if_bloated(checked, &files)?;
            Ok(OpenedDatabase { database: Database::assemble(engine, files, lock)?, set_aside })
        }
    }
}

/// What must be left once the database is open, on a file system of this size.
fn room(total_bytes: u64) -> u64 {
    ROOM_BYTES.min(total_bytes / ROOM_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_system_is_not_asked_for_more_than_it_has() {
        assert_eq!(room(16 << 20), 2 << 20);
        assert_eq!(room(1 << 40), ROOM_BYTES);
    }
}

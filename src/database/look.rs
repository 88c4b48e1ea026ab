//! How a database is, without opening it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::Database;
use super::error::DatabaseError;
use super::files::DatabaseFiles;

/// What a look at a database from outside finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseLook {
    /// How it is.
    pub state: DatabaseState,
    /// Those that were damaged, and are kept beside it.
    pub set_aside: Vec<PathBuf>,
}

/// How a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    /// There is none, and was none.
    Missing,
    /// There was one: its companion files are there.
    Gone,
    /// A process has it open.
    InUse,
    /// Nobody has.
    Closed {
        /// Whoever had it open last closed it.
        cleanly: bool,
    },
}

impl Database {
    /// Looks at the database in `dir`, and changes nothing. Blocks.
    ///
    /// # Errors
    /// The file system's own.
    pub fn look(dir: &Path) -> Result<DatabaseLook, DatabaseError> {
        let files = DatabaseFiles::new(dir);
        let set_aside = set_aside(&files)?;
        let state = if is_in_use(&files)? {
            DatabaseState::InUse
        } else if files.exists()? {
            DatabaseState::Closed { cleanly: files.was_closed_cleanly()? }
        } else if files.uuid()?.is_some() {
            DatabaseState::Gone
        } else {
            DatabaseState::Missing
        };
        Ok(DatabaseLook { state, set_aside })
    }
}

/// Takes the lock for a moment: a server that starts just then waits for longer.
fn is_in_use(files: &DatabaseFiles) -> Result<bool, DatabaseError> {
    let lock = match File::open(files.beside("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(files.io_error("opening the lock of", source)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(files.io_error("locking", source)),
    }
}

fn set_aside(files: &DatabaseFiles) -> Result<Vec<PathBuf>, DatabaseError> {
    let listing = |source| files.io_error("listing what is beside", source);
    let damaged = files.beside("damaged-");
    let (Some(parent), Some(start)) = (damaged.parent(), damaged.file_name()) else { return Ok(Vec::new()) };
    let start = start.to_string_lossy();
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(listing(source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(listing)?;
        if entry.file_name().to_string_lossy().starts_with(&*start) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::OpenedDatabase;

    #[test]
    fn a_look_tells_whether_it_is_open_or_was_closed_and_changes_nothing() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("a.db");
        let state = || Database::look(&dir).expect("a look").state;
        assert_eq!(state(), DatabaseState::Missing);
        assert_eq!(fs::read_dir(parent.path()).expect("listed").count(), 0);
        let OpenedDatabase { database, .. } = Database::open(&dir).expect("opened");
        assert_eq!(state(), DatabaseState::InUse);
        database.close().expect("closed");
        assert_eq!(state(), DatabaseState::Closed { cleanly: true });
        drop(Database::open(&dir).expect("opened again").database);
        assert_eq!(state(), DatabaseState::Closed { cleanly: false });
        fs::create_dir(parent.path().join("a.db.damaged-1")).expect("made");
        let set_aside = Database::look(&dir).expect("a look").set_aside;
        assert_eq!(set_aside, [parent.path().join("a.db.damaged-1")]);
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(state(), DatabaseState::Gone);
    }
}

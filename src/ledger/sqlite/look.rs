//! How the database is, without opening it for use.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::file::Paths;
use super::{LEDGER_DATABASE, SqliteLedger};
use crate::database::DatabaseState;
use crate::error_chain::ErrorChain;
use crate::ledger::LedgerError;

/// What a look at the ledger from outside finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLook {
    /// How it is.
    pub state: DatabaseState,
    /// What is wrong with it, if anything is. Only one that was closed is looked through.
    pub damage: Option<String>,
    /// Its bytes on the disk, with those of its log.
    pub bytes: u64,
    /// Those that were damaged, and are kept beside it.
    pub set_aside: Vec<PathBuf>,
}

impl SqliteLedger {
    /// Looks at the ledger in the data directory `data`, and changes nothing. Blocks: one that is closed is read to its end.
    ///
    /// # Errors
    /// The file system's own.
    pub fn look(data: &Path) -> Result<LedgerLook, LedgerError> {
        let paths = Paths(data.join(LEDGER_DATABASE));
        let log = bytes_of(&paths, &paths.with("-wal"))?.unwrap_or(0);
        let (state, bytes) = match bytes_of(&paths, &paths.0)? {
            _ if is_in_use(&paths)? => (DatabaseState::InUse, bytes_of(&paths, &paths.0)?.unwrap_or(0) + log),
            // What is in its log is for the next start to take in.
            Some(bytes) => (DatabaseState::Closed { cleanly: log == 0 }, bytes + log),
            None if paths.uuid()?.is_some() => (DatabaseState::Gone, 0),
            None => (DatabaseState::Missing, 0),
        };
        let mut damage = None;
        if state == (DatabaseState::Closed { cleanly: true }) {
            damage = quick_check(&paths.0);
            // Of what a server has begun to write meanwhile, nothing can be said.
            damage = damage.filter(|_| is_in_use(&paths).is_ok_and(|in_use| !in_use));
        }
        Ok(LedgerLook { state, damage, bytes, set_aside: set_aside(&paths)? })
    }
}

/// What `SQLite` finds wrong with a database that nobody writes to.
fn quick_check(path: &Path) -> Option<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut url = url::Url::from_file_path(std::path::absolute(path).ok()?).ok()?;
    // It makes no files beside it.
    url.set_query(Some("immutable=1"));
    let checked = Connection::open_with_flags(url.as_str(), flags)
        .and_then(|connection| connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
    match checked {
        Ok(found) if found == "ok" => None,
        Ok(found) => Some(found),
        Err(error) => Some(ErrorChain(&error).to_string()),
    }
}

fn bytes_of(paths: &Paths, path: &Path) -> Result<Option<u64>, LedgerError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(paths.io("looking at", source)),
    }
}

/// Takes the lock for a moment: a server that starts just then waits for longer.
fn is_in_use(paths: &Paths) -> Result<bool, LedgerError> {
    let lock = match File::open(paths.beside("lock")) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(paths.io("opening the lock of", source)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(paths.io("locking", source)),
    }
}

fn set_aside(paths: &Paths) -> Result<Vec<PathBuf>, LedgerError> {
    let start = format!("{LEDGER_DATABASE}.damaged-");
    let entries = match fs::read_dir(paths.directory()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(paths.io("listing what is beside", source)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| paths.io("listing what is beside", source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Its log is kept beside it.
        if name.starts_with(&start) && !name.ends_with("-wal") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

//! The database's file, behind guard rails: nobody else has it, what is damaged is set aside and never deleted, and it is
//! never taken for empty when it isn't there.
//!
//! Beside the file `<path>` live `SQLite`'s `<path>-wal`, and `<path>.lock` (held while open), `<path>.uuid` (what must be found
//! inside again), `<path>.synced` (which of its commits must be found inside) and `<path>.damaged-<n>` (set aside).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use uuid::Uuid;

use crate::database::{SetAside, until};
use crate::durable::{self, FileError, OWNER_ONLY};
use crate::error_chain::ErrorChain;
use crate::ledger::LedgerError;

/// What `SQLite`'s own tools show of whose file it is: `pxlg`.
const APPLICATION_ID: u32 = 0x7078_6c67;
const FORMAT: u32 = 1;
/// How long the lock of a process that has just ended may still be held.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection, which has the file to itself. Every commit is an `fdatasync` of the write-ahead log, and what is deleted is
/// overwritten with zeros.
const PRAGMAS: &str = "
    PRAGMA page_size = 4096;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -32768;
    PRAGMA wal_autocheckpoint = 1000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA trusted_schema = OFF;
";

/// An open database.
pub(super) struct LedgerFile {
    pub(super) connection: Connection,
    /// Commits so far, inside and beside.
    commits: i64,
    /// None if it can't be written: then the next opening has nothing to compare with.
    beside: Option<File>,
    /// Released last.
    _lock: File,
}

/// What opening came to.
enum Found {
    Good(LedgerFile),
    Damaged(String),
}

impl LedgerFile {
    /// Opens the database in `path`, or makes a new one; what is damaged is set aside first.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<SetAside>), LedgerError> {
        let paths = Paths(path.to_owned());
        let lock = paths.lock()?;
        let uuid = paths.uuid()?;
        if !path.try_exists().map_err(|source| paths.io("looking for", source))? {
            // If there was one before, someone took it away, and what it knew is gone.
            let why = "the file is gone, though its companion files are there".to_owned();
            let set_aside = uuid.map(|_| SetAside { path: path.to_owned(), why });
            return Ok((paths.create(lock)?, set_aside));
        }
        let damaged = match paths.connect(uuid.as_deref(), &lock)? {
            Found::Good(file) => {
                let set_aside = file.missing_commits(&paths)?;
                return Ok((file, set_aside));
            }
            Found::Damaged(why) => why,
        };
        let set_aside = SetAside { path: paths.set_aside()?, why: damaged };
        Ok((paths.create(lock)?, Some(set_aside)))
    }

    /// One that nobody else sees and that is gone with its process, for tests.
    pub(super) fn in_memory() -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::database("making", source);
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection.execute_batch(PRAGMAS).map_err(failed)?;
        make_schema(&connection, "in memory").map_err(failed)?;
        let lock = File::open("/dev/null").map_err(|source| {
            let path = PathBuf::from("/dev/null");
            LedgerError::Io { what: "opening", path, source }
        })?;
        Ok(Self { connection, commits: 0, beside: None, _lock: lock })
    }

    /// Has `work` done in one transaction, durable once this has answered.
    pub(super) fn commit<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let transaction = self.connection.unchecked_transaction()?;
        let done = work(&transaction)?;
        let commits = self.commits + 1;
        transaction.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'commits'")?.execute([commits])?;
        transaction.commit()?;
        self.commits = commits;
        self.note_beside();
        Ok(done)
    }

    /// Sees to it that what was deleted is in no file any more.
    pub(super) fn purge(&self) -> rusqlite::Result<()> {
        // Pages that were deleted from are zeroed in the log; with its end they are in the file, and the log is empty.
        let is_busy: bool = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        debug_assert!(!is_busy, "no other connection reads");
        Ok(())
    }

    fn note_beside(&self) {
        if let Some(Err(error)) = self.beside.as_ref().map(|file| file.write_all_at(&self.commits.to_be_bytes(), 0)) {
            tracing::debug!(error = %ErrorChain(&error), "number of the ledger's commits could not be written");
        }
    }

    /// The number beside is written after a commit, and never synced. So it may be too small, and can't be too large: if the
    /// one inside is smaller, something that was acknowledged is gone.
    fn missing_commits(&self, paths: &Paths) -> Result<Option<SetAside>, LedgerError> {
        let beside = fs::read(paths.beside("synced")).ok().and_then(|bytes| bytes.try_into().ok());
        let beside = beside.map_or(0, i64::from_be_bytes);
        if self.commits >= beside {
            self.note_beside();
            return Ok(None);
        }
        let why = format!("it lacks its latest commits: it has {} of {beside}; what it has is in use", self.commits);
        let kept = paths.free_damaged_name()?;
        fs::copy(&paths.0, &kept).map_err(|source| paths.io("copying", source))?;
        durable::sync_directory(paths.directory()).map_err(|error| paths.file(error))?;
        self.note_beside();
        Ok(Some(SetAside { path: kept, why }))
    }
}

fn make_schema(connection: &Connection, uuid: &str) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(include_str!("schema.sql"))?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.execute("INSERT INTO meta VALUES ('uuid', ?1), ('commits', 0)", [uuid])?;
    transaction.commit()
}

/// A database's file, and the names of its companions.
pub(super) struct Paths(pub(super) PathBuf);

impl Paths {
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        self.with(&format!(".{suffix}"))
    }

    pub(super) fn with(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.0);
        name.push(suffix);
        name.into()
    }

    pub(super) fn directory(&self) -> &Path {
        self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    pub(super) fn io(&self, what: &'static str, source: io::Error) -> LedgerError {
        match source.kind() {
            io::ErrorKind::StorageFull => LedgerError::StorageFull,
            _ => LedgerError::Io { what, path: self.0.clone(), source },
        }
    }

    fn file(&self, error: FileError) -> LedgerError {
        self.io("syncing the directory of", error.into_cause())
    }

    fn lock(&self) -> Result<File, LedgerError> {
        durable::create_directories(self.directory()).map_err(|error| self.file(error))?;
        let open =
            OpenOptions::new().create(true).truncate(false).write(true).mode(OWNER_ONLY).open(self.beside("lock"));
        let lock = open.map_err(|source| self.io("opening the lock of", source))?;
        let locked = until(LOCK_TIMEOUT, || match lock.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(source)) => Some(Err(self.io("locking", source))),
            Ok(()) => Some(Ok(())),
        });
        match locked {
            Some(locked) => locked.map(|()| lock),
            None => Err(LedgerError::AlreadyRunning { path: self.0.clone() }),
        }
    }

    /// The identity that the database must have.
    pub(super) fn uuid(&self) -> Result<Option<String>, LedgerError> {
        match fs::read_to_string(self.beside("uuid")) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io("reading the companion of", source)),
        }
    }

    fn create(&self, lock: File) -> Result<LedgerFile, LedgerError> {
        for companion in [self.beside("uuid"), self.beside("synced"), self.with("-wal"), self.with("-shm")] {
            durable::remove_file(&companion).map_err(|error| self.file(error))?;
        }
        // Made here, since SQLite would make it readable by others; the log gets the permissions of the file.
        durable::create_file(&self.0, b"", OWNER_ONLY).map_err(|error| self.file(error))?;
        let failed = |source| LedgerError::database("making", source);
        let connection = self.connection().map_err(failed)?;
        let uuid = Uuid::now_v7().to_string();
        make_schema(&connection, &uuid).map_err(failed)?;
        durable::sync_directory(self.directory()).map_err(|error| self.file(error))?;
        // Last: a database without its companion is a first start that didn't finish; the reverse would be damage.
        let written = durable::replace_file(&self.beside("uuid"), uuid.as_bytes(), OWNER_ONLY);
        written.map_err(|error| self.file(error))?;
        let file = LedgerFile { connection, commits: 0, beside: self.open_synced(), _lock: lock };
        file.note_beside();
        Ok(file)
    }

    fn open_synced(&self) -> Option<File> {
        let mut open = OpenOptions::new();
        let opened = open.create(true).truncate(false).write(true).mode(OWNER_ONLY).open(self.beside("synced"));
        let opened = opened.inspect_err(|error| {
            tracing::warn!(error = %ErrorChain(error), "file of the ledger's commit numbers could not be opened");
        });
        opened.ok()
    }

    fn connection(&self) -> rusqlite::Result<Connection> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(&self.0, flags)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(PRAGMAS)?;
        Ok(connection)
    }

    fn connect(&self, uuid: Option<&str>, lock: &File) -> Result<Found, LedgerError> {
        match self.opened(uuid, lock) {
            Ok(found) => found,
            Err(error) if is_damage(&error) => Ok(Found::Damaged(ErrorChain(&error).to_string())),
            Err(error) => Err(LedgerError::database("opening", error)),
        }
    }

    fn opened(&self, uuid: Option<&str>, lock: &File) -> rusqlite::Result<Result<Found, LedgerError>> {
        let connection = self.connection()?;
        let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
        let (application, format) = (number("application_id")?, number("user_version")?);
        if application == APPLICATION_ID && format > FORMAT {
            return Ok(Err(LedgerError::TooNew { path: self.0.clone(), found: format, known: FORMAT }));
        }
        let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != APPLICATION_ID || tables == 0 {
            return Ok(Ok(Found::Damaged("it opens, but what was in it is gone".to_owned())));
        }
        let meta = |name: &str| format!("SELECT value FROM meta WHERE name = '{name}'");
        let inside: String = connection.query_row(&meta("uuid"), [], |row| row.get(0))?;
        let commits: i64 = connection.query_row(&meta("commits"), [], |row| row.get(0))?;
        if uuid.is_some_and(|uuid| uuid != inside) {
            return Ok(Ok(Found::Damaged("it is another database than its companion file says".to_owned())));
        }
        // Touches the last pages of every table, so that a file that was cut off is told now.
        connection.query_row("SELECT max(seq) FROM entries", [], |_| Ok(()))?;
        let lock = match lock.try_clone() {
            Ok(lock) => lock,
            Err(source) => return Ok(Err(self.io("opening the lock of", source))),
        };
        if uuid.is_none() {
            // A first start that didn't get to it.
            let written = durable::replace_file(&self.beside("uuid"), inside.as_bytes(), OWNER_ONLY);
            if let Err(error) = written {
                return Ok(Err(self.file(error)));
            }
        }
        Ok(Ok(Found::Good(LedgerFile { connection, commits, beside: self.open_synced(), _lock: lock })))
    }

    /// Moves the database, with its log, out of the way. Answers where.
    fn set_aside(&self) -> Result<PathBuf, LedgerError> {
        let kept = self.free_damaged_name()?;
        let log = self.with("-wal");
        if log.try_exists().map_err(|source| self.io("looking for the log of", source))? {
            let mut name = OsString::from(&kept);
            name.push("-wal");
            durable::rename(&log, Path::new(&name)).map_err(|error| self.file(error))?;
        }
        durable::rename(&self.0, &kept).map_err(|error| self.file(error))?;
        Ok(kept)
    }

    fn free_damaged_name(&self) -> Result<PathBuf, LedgerError> {
        for number in 1.. {
            let name = self.beside(&format!("damaged-{number}"));
            if !name.try_exists().map_err(|source| self.io("looking for a name for", source))? {
                return Ok(name);
            }
        }
        unreachable!("one of so many numbers is free")
    }
}

/// Whether an error says that the file is not what `SQLite` wrote.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        // The last: a table that isn't there.
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown),
        // What is read is of another type than was written, or isn't there.
        None => true,
    }
}

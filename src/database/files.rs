//! A database on disk: its directory and the companion files beside it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::DatabaseError;
use crate::durable::{self, BY_UMASK, FileError};

/// How long the lock of a process that has just ended may still be held.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a handle that is just being dropped in this process may still hold sled's lock.
pub(super) const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A database's directory, and the names of its companions, which are derived from it.
#[derive(Clone, Debug)]
pub(super) struct DatabaseFiles {
    dir: PathBuf,
}

/// The file system that a database is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileSystem {
    pub(super) total_bytes: u64,
    /// Free to a process without privileges.
    pub(super) free_bytes: u64,
}

/// How the database was closed the last time.
#[derive(Debug)]
pub(super) enum PreviousStop {
    Clean,
    Unclean,
    /// Closed cleanly with `noted` bytes, of which only `now` are left.
    Short {
        noted: u64,
        now: u64,
    },
}

impl PreviousStop {
    pub(super) fn is_clean(&self) -> bool {
        matches!(self, Self::Clean)
    }

    pub(super) fn shortfall(&self) -> Option<String> {
        let Self::Short { noted, now } = self else { return None };
        Some(format!("its file had {noted} bytes when it was closed and has {now} now; what could be read is in use"))
    }
}

impl DatabaseFiles {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn exists(&self) -> Result<bool, DatabaseError> {
        self.dir.try_exists().map_err(|source| self.io_error("looking for", source))
    }

    /// Takes the lock that says who may touch the directory; sled's own comes too late, after files were changed.
    pub(super) fn lock(&self) -> Result<File, DatabaseError> {
        let made = durable::create_directories(self.parent());
        made.map_err(|error| self.io_error("making the directory of", error.into()))?;
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(self.beside("lock"));
        let lock = open.map_err(|source| self.io_error("opening the lock of", source))?;
        // A server that was killed while it started a child leaves the lock to that child, until it has become what it is
        // to be.
        let locked = until(LOCK_TIMEOUT, || match lock.try_lock() {
            Ok(()) => Some(Ok(())),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(source)) => Some(Err(self.io_error("locking", source))),
        });
        match locked {
            Some(locked) => locked.map(|()| lock),
            None => Err(DatabaseError::AlreadyRunning { path: self.dir.clone() }),
        }
    }

    /// Removes what an interrupted start or snapshot left. A half-written snapshot would be taken for the newest.
    pub(super) fn remove_leftovers(&self) -> Result<(), DatabaseError> {
        self.remove_dir(&self.beside("copy.partial"))?;
        self.remove_dir(&self.compacted())?;
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.io_error("listing", source)),
        };
        for entry in entries {
            let name = entry.map_err(|source| self.io_error("listing", source))?.file_name();
            let name_text = name.to_string_lossy();
            if name_text.starts_with("snap.") && name_text.ends_with(".generating") {
                let removed = fs::remove_file(self.dir.join(&name));
                removed.map_err(|source| self.io_error("removing a half-written snapshot of", source))?;
            }
        }
        Ok(())
    }

    /// The identity that the database must have.
    pub(super) fn uuid(&self) -> Result<Option<String>, DatabaseError> {
        let text = self.read_beside("uuid")?;
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    pub(super) fn write_uuid(&self, uuid: &str) -> Result<(), DatabaseError> {
        self.write_beside("uuid", uuid)
    }

    pub(super) fn remove_uuid(&self) -> Result<(), DatabaseError> {
        self.remove_beside("uuid")
    }

    /// Notes that everything is on disk and how large it is.
    pub(super) fn note_clean_stop(&self) -> Result<(), DatabaseError> {
        let bytes = self.file_bytes()?;
        self.write_beside("clean", &bytes.to_string())
    }

    /// Whether it was closed cleanly, and nothing of it is missing since.
    pub(super) fn was_closed_cleanly(&self) -> Result<bool, DatabaseError> {
        let noted = self.read_beside("clean")?.and_then(|text| text.trim().parse::<u64>().ok());
        Ok(noted == Some(self.file_bytes()?))
    }

    /// How it was closed; from here on it counts as in use.
    pub(super) fn take_clean_stop(&self) -> Result<PreviousStop, DatabaseError> {
        let noted = self.read_beside("clean")?.and_then(|text| text.trim().parse::<u64>().ok());
        self.remove_beside("clean")?;
        let Some(noted) = noted else { return Ok(PreviousStop::Unclean) };
        let now = self.file_bytes()?;
        Ok(match now.cmp(&noted) {
            std::cmp::Ordering::Less => PreviousStop::Short { noted, now },
            std::cmp::Ordering::Equal => PreviousStop::Clean,
            std::cmp::Ordering::Greater => PreviousStop::Unclean,
        })
    }

    /// Copies the directory before sled touches it: on a damaged one its recovery destroys data.
    pub(super) fn copy_as_found(&self) -> Result<(), DatabaseError> {
        let fresh = self.fresh_copy();
        if fresh.try_exists().map_err(|source| self.io_error("looking for a copy of", source))? {
            // The last opening didn't get to its end, so nothing was acknowledged since: that copy is the better one.
            return Ok(());
        }
        let partial = self.beside("copy.partial");
        if let Err(source) = copy_dir(&self.dir, &partial) {
            // Where the disk is full, half a copy would keep it so.
            self.remove_dir(&partial)?;
            return Err(self.io_error("copying", source));
        }
        self.rename(&partial, &fresh)
    }

    /// How large the copy will be, as far as the file system tells.
    pub(super) fn bytes_to_copy(&self) -> u64 {
        if self.fresh_copy().exists() { 0 } else { dir_bytes(&self.dir) }
    }

    /// Keeps the copy in place of the last one.
    pub(super) fn keep_copy(&self) -> Result<(), DatabaseError> {
        let fresh = self.fresh_copy();
        if !fresh.try_exists().map_err(|source| self.io_error("looking for a copy of", source))? {
            return Ok(());
        }
        let kept = self.beside("copy");
        self.remove_dir(&kept)?;
        self.rename(&fresh, &kept)
    }

    /// Removes what is kept of an earlier unclean stop: a clean one has followed it.
    pub(super) fn remove_copy(&self) -> Result<(), DatabaseError> {
        self.remove_dir(&self.fresh_copy())?;
        self.remove_dir(&self.beside("copy"))
    }

    /// Keeps the copy for good, the database itself staying in use. Answers where.
    pub(super) fn keep_copy_as_damaged(&self) -> Result<PathBuf, DatabaseError> {
        let damaged = self.free_damaged_name()?;
        self.rename(&self.fresh_copy(), &damaged)?;
        Ok(damaged)
    }

    /// Sets the database aside, as it was found if there is a copy of that. Answers where.
    pub(super) fn set_aside(&self) -> Result<PathBuf, DatabaseError> {
        let fresh = self.fresh_copy();
        if fresh.try_exists().map_err(|source| self.io_error("looking for a copy of", source))? {
            let damaged = self.keep_copy_as_damaged()?;
            self.remove_dir(&self.dir)?;
            return Ok(damaged);
        }
        let damaged = self.free_damaged_name()?;
        self.rename(&self.dir, &damaged)?;
        Ok(damaged)
    }

    /// Where a compacted database is built.
    pub(super) fn compacted(&self) -> PathBuf {
        self.beside("compact")
    }

    /// Our own handle of sled's file.
    pub(super) fn open_file(&self) -> Result<File, DatabaseError> {
        let open = OpenOptions::new().read(true).write(true).open(self.dir.join("db"));
        open.map_err(|source| self.io_error("opening the file of", source))
    }

    pub(super) fn file_bytes(&self) -> Result<u64, DatabaseError> {
        match fs::metadata(self.dir.join("db")) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(self.io_error("measuring", source)),
        }
    }

    /// What sled wrote down about how the database was made; none if it can't be read.
    pub(super) fn read_conf(&self) -> Option<Vec<u8>> {
        fs::read(self.dir.join("conf")).ok()
    }

    /// The file system it is on, or will be on; none if the system doesn't say.
    pub(super) fn file_system(&self) -> Option<FileSystem> {
        let stat = rustix::fs::statvfs(&self.dir).or_else(|_| rustix::fs::statvfs(self.parent())).ok()?;
        Some(FileSystem {
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    pub(super) fn write_beside_it(&self) -> Result<(), FileError> {
        durable::probe_directory(self.parent())
    }

    /// Makes the names of a new database's files durable.
    pub(super) fn sync_directories(&self) -> Result<(), DatabaseError> {
        for dir in [&self.dir, self.parent()] {
            durable::sync_directory(dir).map_err(|error| self.io_error("syncing", error.into()))?;
        }
        Ok(())
    }

    pub(super) fn io_error(&self, what: &'static str, source: io::Error) -> DatabaseError {
        if source.kind() == io::ErrorKind::StorageFull {
            return DatabaseError::StorageFull { path: self.dir.clone() };
        }
        DatabaseError::Io { what, path: self.dir.clone(), source }
    }

    pub(super) fn engine_error(&self, what: &'static str, source: sled::Error) -> DatabaseError {
        match source {
            sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
                DatabaseError::AlreadyRunning { path: self.dir.clone() }
            }
            sled::Error::Io(error) => self.io_error(what, error),
            source => DatabaseError::Engine { what, path: self.dir.clone(), source },
        }
    }

    fn parent(&self) -> &Path {
        self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.dir);
        name.push(".");
        name.push(suffix);
        PathBuf::from(name)
    }

    /// The copy of an opening that has not come to its end.
    fn fresh_copy(&self) -> PathBuf {
        self.beside("copy.opening")
    }

    fn free_damaged_name(&self) -> Result<PathBuf, DatabaseError> {
        let mut n = 1_u32;
        loop {
            let path = self.beside(&format!("damaged-{n}"));
            match path.try_exists() {
                Ok(false) => return Ok(path),
                Ok(true) => n += 1,
                Err(source) => return Err(self.io_error("setting aside", source)),
            }
        }
    }

    fn read_beside(&self, suffix: &str) -> Result<Option<String>, DatabaseError> {
        match fs::read(self.beside(suffix)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io_error("reading a companion of", source)),
        }
    }

    fn write_beside(&self, suffix: &str, text: &str) -> Result<(), DatabaseError> {
        let written = durable::replace_file(&self.beside(suffix), text.as_bytes(), BY_UMASK);
        written.map_err(|error| self.io_error("writing a companion of", error.into()))
    }

    pub(super) fn remove_beside(&self, suffix: &str) -> Result<(), DatabaseError> {
        let removed = durable::remove_file(&self.beside(suffix));
        removed.map_err(|error| self.io_error("removing a companion of", error.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DatabaseError> {
        durable::rename(from, to).map_err(|error| self.io_error("renaming", error.into()))
    }

    fn remove_dir(&self, path: &Path) -> Result<(), DatabaseError> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| self.io_error("removing what is left of", source)),
        }
    }
}

/// Waits until nobody else holds the lock of `file`, and holds it then.
pub(super) fn wait_for_lock(file: &File, at_most: Duration) -> bool {
    until(at_most, || file.try_lock().ok()).is_some()
}

/// Calls `poll` every 10 ms until it answers; none after `at_most`.
pub(crate) fn until<T>(at_most: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    const STEP: Duration = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(answer) = poll() {
            return Some(answer);
        }
        if waited >= at_most {
            return None;
        }
        thread::sleep(STEP);
        waited += STEP;
    }
}

/// The bytes of all files in a directory and its subdirectories; what can't be looked at counts for nothing.
fn dir_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => dir_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// A durable copy of a directory with its subdirectories.
fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    Ok(durable::sync_directory(to)?)
}

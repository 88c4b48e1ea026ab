//! What this process has on its disk of jobs whose originals are in the bucket: worth nothing once it is gone.
//!
//! ```text
//! <scratch>/lock                       held while a process makes its directory, and looks for those of dead ones
//! <scratch>/<process>/owner            locked while the process lives
//!                     incoming/<job>   an upload while it arrives
//!                     fetched/<n>      an original that an attempt works on
//!                     made/<job>/      variants that are not in every store yet
//! ```
//!
//! A lock and no process id says who lives: processes in containers share ids, and files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::durable::{self, FileError, IoContext};
use crate::job::JobId;

const LOCK: &str = "lock";
const OWNER: &str = "owner";
const DIRECTORIES: [&str; 3] = ["incoming", "fetched", "made"];

/// The directory of this process.
#[derive(Debug)]
pub(super) struct Scratch {
    own: PathBuf,
    fetches: AtomicU64,
    /// Locked until this process ends, however it does.
    _owner: File,
}

impl Scratch {
    /// Makes a directory for this process in `dir`, which is made too, and removes those of processes that have ended.
    /// Blocks.
    ///
    /// # Errors
    /// The file system's own.
    pub(super) fn open(dir: &Path) -> Result<Self, FileError> {
        durable::create_directories(dir)?;
        let lock = lock_file(&dir.join(LOCK))?;
        lock.lock().context("lock", &dir.join(LOCK))?;
        remove_dead(dir)?;
        let own = dir.join(Uuid::new_v4().simple().to_string());
        // Originals are nobody else's to read, whatever the directory around it is.
        fs::DirBuilder::new().mode(0o700).create(&own).context("create", &own)?;
        for name in DIRECTORIES {
            fs::create_dir(own.join(name)).context("create", &own.join(name))?;
        }
        let owner = lock_file(&own.join(OWNER))?;
        owner.lock().context("lock", &own.join(OWNER))?;
        Ok(Self { own, fetches: AtomicU64::new(0), _owner: owner })
    }

    /// The directory itself.
    pub(super) fn path(&self) -> &Path {
        &self.own
    }

    /// Where an upload is while it arrives.
    pub(super) fn incoming(&self, id: JobId) -> PathBuf {
        self.own.join("incoming").join(id.to_string())
    }

    /// A place that nobody has, for an original to be fetched to.
    pub(super) fn for_fetching(&self) -> PathBuf {
        self.own.join("fetched").join(self.fetches.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Where the variants of a job are.
    pub(super) fn made(&self, id: JobId) -> PathBuf {
        self.own.join("made").join(id.to_string())
    }
}

fn lock_file(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).context("open", path)
}

/// A directory whose owner has no lock is nobody's: its process ended, or before it had begun.
fn remove_dead(dir: &Path) -> Result<(), FileError> {
    for entry in fs::read_dir(dir).context("list", dir)? {
        let path = entry.context("list", dir)?.path();
        let is_ours = path.is_dir()
            && path.file_name().is_some_and(|name| Uuid::try_parse_ascii(name.as_encoded_bytes()).is_ok());
        if is_ours && !is_owned(&path)? {
            fs::remove_dir_all(&path).context("remove", &path)?;
        }
    }
    Ok(())
}

fn is_owned(path: &Path) -> Result<bool, FileError> {
    let owner = path.join(OWNER);
    let file = match File::open(&owner) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).context("open", &owner),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error).context("lock", &owner),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let (living, dead) = (Scratch::open(dir.path()).expect("opens"), Scratch::open(dir.path()).expect("opens"));
        let (kept, left) = (living.incoming(JobId::new(crate::clock::Timestamp::from_millis(1))), dead.for_fetching());
        for path in [&kept, &left] {
            fs::create_dir(path).expect("made");
        }
        let of_dead = dead.path().to_owned();
        drop(dead);
        let next = Scratch::open(dir.path()).expect("opens");
        assert!(kept.exists() && !of_dead.exists(), "{of_dead:?}");
        assert!(next.path() != living.path() && next.path().exists());
        let mode = fs::metadata(next.path()).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "originals are private");
    }

    #[test]
    fn what_is_not_ours_in_the_scratch_directory_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let other = dir.path().join("somebody");
        fs::create_dir(&other).expect("made");
        Scratch::open(dir.path()).expect("opens");
        assert!(other.exists());
    }
}

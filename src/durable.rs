//! Files and directories that survive the loss of power.
//!
//! What is written goes beside its place, is fsynced, renamed into its place, and the directory that holds the name is
//! fsynced. Without the first fsync a crash may leave the name and not the bytes; without the second, neither. The types
//! here let no step be left out: only a synced file or directory can be published, and what is dropped unpublished is
//! removed.
//!
//! A file is staged below an open directory ([`ParentDirectory`]) and not by its path, so that the rename and both fsyncs reach
//! the directory that was looked at, whatever its path names by then.

mod directory;
mod file_error;
mod staged_directory;
mod staged_file;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use directory::parent_of;
use staged_file::OpenDirectory;

pub(crate) use directory::{create_directories, remove_directory_of, sync_directory};
pub(crate) use file_error::{FileError, IoContext};
pub(crate) use staged_directory::{NewFile, StagedDirectory, SyncedEntry};
pub(crate) use staged_file::{Existing, ParentDirectory, StagedFile};

/// Permissions of a file that its owner alone may read and write.
pub(crate) const OWNER_ONLY: u32 = 0o600;
/// Permissions of a file that may be read by whom the umask lets.
pub(crate) const BY_UMASK: u32 = 0o666;
/// Permissions of a file that anyone may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Permissions of a directory that anyone may list and enter.
pub(crate) const PUBLIC_DIRECTORY: u32 = 0o755;
/// Those of a directory of its owner's alone.
pub(crate) const OWNER_ONLY_DIRECTORY: u32 = 0o700;

/// Creates the file `path` with `contents`, and the directories above that are missing; of the permissions `mode` of
/// the file the umask is taken off.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is such a file, which is left as it is; the file system's own.
pub(crate) fn create_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), FileError> {
    create_directories(parent_of(path))?;
    // A name of its own, so that two first starts at once don't share a file.
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).context("name", path)?;
    let (directory, name) = OpenDirectory::holding(path)?;
    let temporary = with_suffix(OsStr::new("."), name, &format!(".{}", hex::encode(unique)));
    write_and_publish(directory, temporary, contents, mode, name, Existing::Keep)
}

/// Replaces the file `path`, or creates it. The caller is the only one who writes that file.
///
/// # Errors
/// The file system's own.
pub(crate) fn replace_file(path: &Path, contents: &[u8], mode: u32) -> Result<(), FileError> {
    let (directory, name) = OpenDirectory::holding(path)?;
    let temporary = with_suffix(OsStr::new(""), name, ".partial");
    remove_leftover(&directory, &temporary)?;
    write_and_publish(directory, temporary, contents, mode, name, Existing::Replace)
}

/// Replaces the file `path`, or creates it, in one step for whoever reads it, but not durably: for what can be made again.
/// The caller is the only one who writes that file.
///
/// # Errors
/// The file system's own.
pub(crate) fn replace_file_unsynced(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_file_name(with_suffix(OsStr::new(""), path.file_name().unwrap_or_default(), ".partial"));
    let mut file = File::create(&temporary).context("create", &temporary)?;
    file.write_all(contents).context("write", &temporary)?;
    fs::rename(&temporary, path).context("rename to", path)
}

/// Whether an error is the machine's or the operator's doing, and passes or is mended whatever was asked for: too little
/// of disk, memory or descriptors, a disk that is read-only or fails, a directory of another user.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [Errno; 12] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::AGAIN,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::ACCESS,
        Errno::PERM,
        Errno::STALE,
        Errno::NXIO,
        Errno::NODEV,
    ];
    error.raw_os_error().is_some_and(|errno| SHORTAGES.contains(&Errno::from_raw_os_error(errno)))
}

fn write_and_publish(
    directory: OpenDirectory,
    temporary: OsString,
    contents: &[u8],
    mode: u32,
    name: &OsStr,
    existing: Existing,
) -> Result<(), FileError> {
    let mut file = StagedFile::create(directory, temporary, mode)?;
    file.write_all(contents).context("write", &file.temporary.path())?;
    file.sync()?.publish(name, existing, || ())
}

/// What the names of half-written files end with in directories where others write too. They start with a dot.
pub(crate) const TEMPORARY_SUFFIX: &str = ".pixerve-tmp";

/// A block of most file systems: some keep less than that in the inode, where there is room on a full disk.
const PROBE_BYTES: [u8; 4096] = [0; 4096];
/// Another server that probes the same directory in this very moment takes the name away, or has it.
const PROBE_TRIES: usize = 3;

/// Whether a file can be made in the directory `path`, written, fsynced and removed: does so.
///
/// # Errors
/// The file system's own.
pub(crate) fn probe_directory(path: &Path) -> Result<(), FileError> {
    let probe = path.join(format!(".probe{TEMPORARY_SUFFIX}"));
    let mut tries = 1;
    loop {
        match write_and_discard(&probe) {
            Err(error) if error.cause().kind() == io::ErrorKind::AlreadyExists && tries < PROBE_TRIES => tries += 1,
            done => return done,
        }
    }
}

fn write_and_discard(path: &Path) -> Result<(), FileError> {
    let (directory, name) = OpenDirectory::holding(path)?;
    remove_leftover(&directory, name)?;
    let mut file = StagedFile::create(directory, name, OWNER_ONLY)?;
    file.write_all(&PROBE_BYTES).context("write", path)?;
    file.sync()?.discard()
}

/// Removes what a crash left under this name.
fn remove_leftover(directory: &OpenDirectory, name: &OsStr) -> Result<(), FileError> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).context("remove", &directory.path_of(name)),
    }
}

/// Removes the file `path`, durably, if it is there.
///
/// # Errors
/// The file system's own.
pub(crate) fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(parent_of(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("remove", path),
    }
}

/// Renames a file or directory within its directory, durably. What it holds is durable already.
///
/// # Errors
/// The file system's own.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).context("rename to", to)?;
    sync_directory(parent_of(to))
}

fn with_suffix(prefix: &OsStr, name: &OsStr, suffix: &str) -> OsString {
    let mut whole = prefix.to_owned();
    whole.push(name);
    whole.push(suffix);
    whole
}

#[cfg(test)]
mod tests;

//! A directory whose files become visible together.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::BY_UMASK;
use super::directory::{parent_of, remove_directory_of, sync_directory};
use super::file_error::{FileError, IoContext};
use crate::error_chain::ErrorChain;

/// A directory of new files that is to become visible as a whole. Dropped, it is removed with its files, which takes
/// no descriptor: there may be none to be had.
#[derive(Debug)]
pub(crate) struct StagedDirectory {
    path: PathBuf,
    names: Vec<&'static str>,
    is_kept: bool,
}

/// A staged directory that is on disk with all its files. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct SyncedDirectory(StagedDirectory);

/// A new file in a staged directory, being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    path: PathBuf,
    name: &'static str,
}

/// Stands for a file in a staged directory whose bytes are on disk.
#[derive(Debug)]
pub(crate) struct SyncedEntry {
    name: &'static str,
}

impl StagedDirectory {
    /// Creates the directory `path`, in one that is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`]; the file system's own.
    pub(crate) fn create(path: PathBuf) -> Result<Self, FileError> {
        fs::create_dir(&path).context("create", &path)?;
        Ok(Self { path, names: Vec::new(), is_kept: false })
    }

    /// Creates a file in it; of the permissions `mode` the umask is taken off.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub(crate) fn create_file(&mut self, name: &'static str, mode: u32) -> Result<NewFile, FileError> {
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).context("create", &path)?;
        self.names.push(name);
        Ok(NewFile { file, path, name })
    }

    /// Puts a file in it that is on disk already, and that nobody writes to: under one more name where the file system can, else a
    /// copy.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such file; the file system's own.
    pub(crate) fn adopt_file(&mut self, name: &'static str, source: &Path) -> Result<SyncedEntry, FileError> {
        let path = self.path.join(name);
        match fs::hard_link(source, &path) {
            Ok(()) => {
                self.names.push(name);
                Ok(SyncedEntry { name })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error).context("link", source),
            Err(_) => {
                let mut original = File::open(source).context("open", source)?;
                let mut copied = self.create_file(name, BY_UMASK)?;
                io::copy(&mut original, &mut copied.file).context("copy", source)?;
                copied.sync()
            }
        }
    }

    /// Makes it durable under its temporary name. `files` are all that were created in it.
    ///
    /// # Errors
    /// The file system's own.
    pub(crate) fn sync(self, files: &[SyncedEntry]) -> Result<SyncedDirectory, FileError> {
        let is_synced = |name: &&str| files.iter().any(|file| file.name == *name);
        assert!(self.names.iter().all(is_synced), "INVARIANT: every file of a directory is synced before it is");
        sync_directory(&self.path)?;
        Ok(SyncedDirectory(self))
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = remove_directory_of(&self.path, &self.names) {
            tracing::warn!(error = %ErrorChain(&error), "unpublished directory could not be removed");
        }
    }
}

impl NewFile {
    /// Where it is before its directory is published.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// The file system's own.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).context("write", &self.path)
    }

    /// Makes the bytes durable.
    ///
    /// # Errors
    /// The file system's own.
    pub(crate) fn sync(self) -> Result<SyncedEntry, FileError> {
        self.file.sync_all().context("fsync", &self.path)?;
        Ok(SyncedEntry { name: self.name })
    }
}

impl SyncedDirectory {
    /// Moves the directory to `to`, where nothing is, durably. `renamed` is called when it is visible there and that is
    /// not yet durable.
    ///
    /// # Errors
    /// The file system's own. The directory is visible nowhere then.
    pub(crate) fn publish(mut self, to: &Path, renamed: impl FnOnce()) -> Result<(), FileError> {
        fs::rename(&self.0.path, to).context("rename to", to)?;
        // If the last fsync fails, it is to be removed from there.
        to.clone_into(&mut self.0.path);
        renamed();
        sync_directory(parent_of(to))?;
        self.0.is_kept = true;
        Ok(())
    }
}

//! Directories made, emptied and fsynced.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::file_error::{FileError, IoContext};

/// Creates the directory `path` and those above that are missing, durably.
///
/// # Errors
/// The file system's own.
pub(crate) fn create_directories(path: &Path) -> Result<(), FileError> {
    let missing: Vec<_> = path.ancestors().take_while(|path| !is_there(path)).collect();
    fs::create_dir_all(path).context("create", path)?;
    missing.into_iter().map(parent_of).try_for_each(sync_directory)
}

/// What is relative ends in an empty path, which stands for the working directory.
fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

/// Removes a directory that holds nothing but files of these names, not all of which need be there. Takes no descriptor.
///
/// # Errors
/// The file system's own.
pub(crate) fn remove_directory_of(path: &Path, names: &[&str]) -> Result<(), FileError> {
    for name in names {
        let file = path.join(name);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("remove", &file),
            _ => {}
        }
    }
    fs::remove_dir(path).context("remove", path)
}

/// Makes durable which entries a directory has.
///
/// # Errors
/// The file system's own.
pub(crate) fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|directory| directory.sync_all()).context("fsync", path)
}

/// The directory that holds `path`; of a lone name, the working directory.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

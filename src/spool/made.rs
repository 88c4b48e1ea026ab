//! Variants between being made and being in every store.

use std::fs;
use std::io;
use std::path::Path;

use super::MadeFile;
use crate::durable::{FileError, IoContext, replace_file_unsynced};
use crate::failpoint::{Step, reached};

/// Writes the variant `name` into `dir`, which is made if it is missing.
pub(super) fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), FileError> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error).context("create", dir),
        _ => {}
    }
    replace_file_unsynced(&dir.join(name), bytes)?;
    reached(Step::VariantSpooled);
    Ok(())
}

/// Those of `files` that have the size they were made with: a loss of power may have cut what was never synced.
pub(super) fn whole(dir: &Path, files: Vec<MadeFile>) -> Result<Vec<MadeFile>, FileError> {
    let mut whole = Vec::with_capacity(files.len());
    for file in files {
        let path = dir.join(&file.name);
        match fs::metadata(&path) {
            Ok(meta) if meta.len() == file.bytes => whole.push(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("look for", &path),
        }
    }
    Ok(whole)
}

/// Removes one, if it is there.
pub(super) fn remove_one(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", path),
        _ => Ok(()),
    }
}

/// Removes all of them.
pub(super) fn remove(dir: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("remove", dir),
        _ => Ok(()),
    }
}

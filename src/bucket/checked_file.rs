//! A file's bytes, read once from front to back, and only if they are the ones that were promised.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::job::{ContentHash, ContentHasher};

/// Reads exactly as many bytes as a file is to have and checks their SHA-256: one that was cut or changed since it was
/// hashed fails with [`io::ErrorKind::InvalidData`] instead of being stored under another's hash.
pub(crate) struct CheckedFile {
    file: File,
    hasher: ContentHasher,
    sha256: ContentHash,
    left: u64,
}

impl CheckedFile {
    /// A reader at the first byte of the file `path`, which is promised to have `bytes` bytes of this hash.
    ///
    /// # Errors
    /// The file system's own.
    pub(crate) fn open(path: &Path, bytes: u64, sha256: ContentHash) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, hasher: ContentHasher::default(), sha256, left: bytes })
    }

    /// How many bytes are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    fn check(&self) -> io::Result<()> {
        let found = self.hasher.clone().finish();
        if found == self.sha256 {
            return Ok(());
        }
        let detail = format!("the bytes at hand have the SHA-256 {found}, not {}", self.sha256);
        Err(io::Error::new(io::ErrorKind::InvalidData, detail))
    }
}

impl Read for CheckedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..wanted])?;
        if read == 0 {
            let detail = format!("the bytes at hand end {} too early", self.left);
            return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
        }
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(read)
    }
}

//! What is stored of one job so far.

use parking_lot::Mutex;

use crate::job::{ContentHash, JobRecord, StoredFile};
use crate::spool::{MadeFile, StoredLine};

/// The files of one job and the stores that hold them.
#[derive(Debug)]
pub struct StoredFiles {
    /// Names, in the order in which the job asked for them.
    expected: Vec<String>,
    lines: Mutex<Vec<StoredLine>>,
}

impl StoredFiles {
    /// What earlier attempts of the same job stored.
    pub fn new(record: &JobRecord, earlier: &[StoredLine]) -> Self {
        Self::of(record.expected_files(), earlier)
    }

    fn of(expected: Vec<String>, earlier: &[StoredLine]) -> Self {
        let stored = Self { expected, lines: Mutex::default() };
        earlier.iter().cloned().for_each(|line| stored.add(line));
        stored
    }

    /// Whether this very job stored `name` in `backend`, with these bytes if `sha256` is known.
    pub fn has(&self, name: &str, backend: &str, sha256: Option<&ContentHash>) -> bool {
        self.lines.lock().iter().any(|line| {
            line.file.name == name
                && line.stored.backend == backend
                && sha256.is_none_or(|sha256| line.file.sha256 == *sha256)
        })
    }

    /// Adds a write. It replaces an earlier one of the same name to the same store, and those of other bytes to any store:
    /// two attempts may come to different bytes, and a file is the same everywhere.
    pub fn add(&self, line: StoredLine) {
        let mut lines = self.lines.lock();
        lines.retain(|old| {
            old.file.name != line.file.name
                || (old.file.sha256 == line.file.sha256 && old.stored.backend != line.stored.backend)
        });
        lines.push(line);
    }

    /// Every file that is stored somewhere, in the order in which the job asked for them.
    pub fn files(&self) -> Vec<StoredFile> {
        let lines = self.lines.lock();
        let files = self.expected.iter().filter_map(|name| {
            let mut of_name = lines.iter().filter(|line| line.file.name == *name);
            let first = of_name.next()?;
            let MadeFile { name, format, width, height, bytes, sha256, warnings, same_as } = first.file.clone();
            let stored = vec![first.stored.clone()];
            let mut file = StoredFile { name, format, width, height, bytes, sha256, warnings, same_as, stored };
            file.stored.extend(of_name.map(|line| line.stored.clone()));
            file.stored.sort_by(|a, b| a.backend.cmp(&b.backend));
            Some(file)
        });
        files.collect()
    }

    /// How many files are in all of the job's stores, of which there are `stores`.
    pub fn complete(&self, stores: usize) -> usize {
        self.files().iter().filter(|file| file.stored.len() >= stores).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Stored, Warnings};

    fn line(backend: &str, bytes: &[u8]) -> StoredLine {
        let file = MadeFile {
            name: "a".to_owned(),
            format: "jpg".to_owned(),
            width: 1,
            height: 1,
            bytes: bytes.len() as u64,
            sha256: ContentHash::of(bytes),
            warnings: Warnings::new(),
            same_as: None,
        };
        StoredLine { file, stored: Stored::at(backend, format!("{backend}/a")) }
    }

    #[test]
    fn a_file_that_was_made_twice_is_where_its_last_bytes_are() {
        let (old, new) = (b"old".as_slice(), b"new".as_slice());
        for (earlier, backends) in [
            (vec![line("s3", old), line("directHost", old)], vec!["directHost", "s3"]),
            (vec![line("directHost", old), line("directHost", new)], vec!["directHost"]),
            (vec![line("s3", old), line("directHost", old), line("directHost", new)], vec!["directHost"]),
            (vec![line("directHost", old), line("directHost", new), line("s3", new)], vec!["directHost", "s3"]),
        ] {
            let stored_files = StoredFiles::of(vec!["a".to_owned()], &earlier);
            let files = stored_files.files();
            let found: Vec<_> = files[0].stored.iter().map(|stored| stored.backend.as_str()).collect();
            assert_eq!(found, backends, "{earlier:?}");
            assert_eq!(files[0].sha256, earlier.last().expect("a line").file.sha256, "{earlier:?}");
            assert_eq!(stored_files.complete(2), usize::from(backends.len() == 2), "{earlier:?}");
            assert_eq!(stored_files.has("a", "s3", None), backends.contains(&"s3"), "{earlier:?}");
        }
    }
}

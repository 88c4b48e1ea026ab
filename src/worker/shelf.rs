//! What is stored of one job so far, in the order in which the job asked for it.

use parking_lot::{Mutex, MutexGuard};

use crate::job::{ContentHash, JobRecord, StoredFile};
use crate::spool::StoredLine;

/// The files of one job and the places that hold them.
#[derive(Debug)]
pub(super) struct Shelf {
    expected: Vec<String>,
    lines: Mutex<Vec<StoredLine>>,
}

impl Shelf {
    /// A shelf that holds what earlier attempts of the same job wrote.
    pub(super) fn new(record: &JobRecord, earlier: &[StoredLine]) -> Self {
        Self::holding(record.expected_files(), earlier)
    }

    fn holding(expected: Vec<String>, earlier: &[StoredLine]) -> Self {
        let shelf = Self { expected, lines: Mutex::default() };
        earlier.iter().cloned().for_each(|line| shelf.put(line));
        shelf
    }

    /// Whether this very job wrote `name` to `backend`, and if `sha256` is known, with these bytes.
    pub(super) fn has(&self, name: &str, backend: &str, sha256: Option<&ContentHash>) -> bool {
        self.lock().iter().any(|line| {
            line.name == name && line.stored.backend == backend && sha256.is_none_or(|sha256| line.sha256 == *sha256)
        })
    }

    /// Notes a write, in place of any earlier one of the same name to the same store, and of those with other bytes to any
    /// store: an attempt that makes fewer variants may decode at another scale and so come to other bytes, and a file is
    /// the same everywhere.
    pub(super) fn put(&self, line: StoredLine) {
        let mut lines = self.lock();
        lines.retain(|old| {
            old.name != line.name || (old.sha256 == line.sha256 && old.stored.backend != line.stored.backend)
        });
        lines.push(line);
    }

    /// Every file that is stored somewhere.
    pub(super) fn files(&self) -> Vec<StoredFile> {
        let lines = self.lock();
        let files = self.expected.iter().filter_map(|name| {
            let mut of_name = lines.iter().filter(|line| line.name == *name);
            let first = of_name.next()?;
            let mut file = StoredFile {
                name: first.name.clone(),
                format: first.format.clone(),
                width: first.width,
                height: first.height,
                bytes: first.bytes,
                sha256: first.sha256,
                stored: vec![first.stored.clone()],
            };
            file.stored.extend(of_name.map(|line| line.stored.clone()));
            file.stored.sort_by(|a, b| a.backend.cmp(&b.backend));
            Some(file)
        });
        files.collect()
    }

    /// How many files are in every one of `backends` stores.
    pub(super) fn complete(&self, backends: usize) -> usize {
        self.files().iter().filter(|file| file.stored.len() >= backends).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StoredLine>> {
        self.lines.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Stored;

    fn line(backend: &str, bytes: &[u8]) -> StoredLine {
        StoredLine {
            name: "a".to_owned(),
            format: "jpg".to_owned(),
            width: 1,
            height: 1,
            bytes: bytes.len() as u64,
            sha256: ContentHash::of(bytes),
            stored: Stored { backend: backend.to_owned(), location: format!("{backend}/a") },
        }
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
            let shelf = Shelf::holding(vec!["a".to_owned()], &earlier);
            let files = shelf.files();
            let found: Vec<_> = files[0].stored.iter().map(|stored| stored.backend.as_str()).collect();
            assert_eq!(found, backends, "{earlier:?}");
            assert_eq!(files[0].sha256, earlier.last().expect("a line").sha256, "{earlier:?}");
            assert_eq!(shelf.complete(2), usize::from(backends.len() == 2), "{earlier:?}");
            assert_eq!(shelf.has("a", "s3", None), backends.contains(&"s3"), "{earlier:?}");
        }
    }
}

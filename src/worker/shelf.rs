//! What is stored of one job so far, in the order in which the job asked for it.

use std::sync::{Mutex, PoisonError};

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
        Self { expected: record.expected_files(), lines: Mutex::new(earlier.to_vec()) }
    }

    /// Whether this very job wrote `name` to `backend`, and if `sha256` is known, with these bytes.
    pub(super) fn has(&self, name: &str, backend: &str, sha256: Option<&ContentHash>) -> bool {
        self.lock().iter().any(|line| {
            line.name == name && line.stored.backend == backend && sha256.is_none_or(|sha256| line.sha256 == *sha256)
        })
    }

    /// Notes a write, in place of any earlier one of the same name to the same store.
    pub(super) fn put(&self, line: StoredLine) {
        let mut lines = self.lock();
        lines.retain(|old| old.name != line.name || old.stored.backend != line.stored.backend);
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<StoredLine>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Which files were read a moment ago. The kernel has their bytes in memory, most likely; to find that out of others could
//! itself mean to wait for a disk.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::tree::OpenedFile;

/// Files that are remembered, at most: one in the place of another.
const FILES_MAX: u64 = 4096;
const NO_FILE: u64 = 0;

/// Files that were read lately. What it says is a guess.
#[derive(Debug)]
pub(super) struct RecentReads {
    hasher: RandomState,
    files: Vec<AtomicU64>,
}

impl Default for RecentReads {
    fn default() -> Self {
        Self { hasher: RandomState::new(), files: (0..FILES_MAX).map(|_| AtomicU64::new(NO_FILE)).collect() }
    }
}

/// One file, as it was when it was opened.
#[derive(Clone, Debug)]
pub(super) struct RecentFile {
    reads: Arc<RecentReads>,
    hash: u64,
}

impl RecentFile {
    pub(super) fn of(reads: &Arc<RecentReads>, file: &OpenedFile) -> Self {
        let content = (file.inode, file.modified_secs, file.modified_nanos, file.bytes);
        Self { reads: Arc::clone(reads), hash: reads.hasher.hash_one(content).max(NO_FILE + 1) }
    }

    /// Whether it was read a moment ago.
    pub(super) fn was_read(&self) -> bool {
        self.slot().load(Ordering::Relaxed) == self.hash
    }

    /// It has been read.
    pub(super) fn remember(&self) {
        self.slot().store(self.hash, Ordering::Relaxed);
    }

    /// It is in memory no longer.
    pub(super) fn forget(&self) {
        // Not another one that has its place by now.
        let _ = self.slot().compare_exchange(self.hash, NO_FILE, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn slot(&self) -> &AtomicU64 {
        let index = usize::try_from(self.hash % FILES_MAX).expect("INVARIANT: it is small");
        &self.reads.files[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_remembered_until_it_is_written_anew_or_forgotten() {
        let reads = Arc::default();
        let file = tempfile::NamedTempFile::new().expect("a file");
        let opened = || {
            let opened = OpenedFile::of(file.reopen().expect("it is there")).expect("a file");
            RecentFile::of(&reads, &opened)
        };
        assert!(!opened().was_read());
        opened().remember();
        assert!(opened().was_read());
        let before = opened();
        file.as_file().set_len(7).expect("a size");
        assert!(!opened().was_read());
        before.forget();
        assert!(!before.was_read());
        opened().remember();
        before.forget();
        assert!(opened().was_read(), "it is another one");
    }
}

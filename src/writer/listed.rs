//! What a store has, whoever put it there.

use std::time::Duration;

use futures_util::stream::BoxStream;

use super::WriteError;
use crate::job::{ServedArea, ServedPath, SubDir, is_plain_name};

/// A file that a store has, of a name that [`put`](super::WriterBackend::put) could have given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// As `put` would have said it.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// How long ago it was written, by the clock of whoever keeps it.
    pub age: Duration,
}

/// A part of what a store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundFiles {
    /// In no order that means something.
    pub files: Vec<FoundFile>,
    /// How many things there are besides that no `put` could have made: links, hidden files, other names.
    pub foreign: u64,
}

/// All of it, as it is asked for.
pub type FileList = BoxStream<'static, Result<FoundFiles, WriteError>>;

impl FoundFiles {
    /// Adds what lies at `path` below the root or prefix, at `base` and the path for a location.
    #[cfg_attr(not(any(feature = "s3", feature = "gcs")), allow(dead_code))]
    pub(super) fn add(&mut self, base: &str, path: &str, bytes: u64, age: Duration) {
        let location = format!("{base}{path}");
        // Beneath a private file's root there is its owner first.
        let is_ours =
            if base == ServedArea::PRIVATE { ServedPath::parse(&location).is_some() } else { is_path_of_ours(path) };
        if is_ours {
            self.files.push(FoundFile { location, bytes, age });
        } else {
            self.foreign += 1;
        }
    }
}

/// Whether a file may lie at `path` below a root or prefix that a job has put there.
#[cfg_attr(not(any(feature = "s3", feature = "gcs")), allow(dead_code))]
fn is_path_of_ours(path: &str) -> bool {
    let (sub_dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    is_plain_name(name) && SubDir::parse(sub_dir).is_some_and(|parsed| parsed.join(name) == path)
}

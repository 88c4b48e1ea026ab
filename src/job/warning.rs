//! What is to be said of files that were made all the same.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::StoredFile;

/// What a job's owner should know of a file that was made all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The original is damaged or ends too early, and the job says `tolerant`: a part of the picture is missing.
    Truncated,
}

/// Each once.
pub type Warnings = BTreeSet<Warning>;

/// Those of all these files.
#[must_use]
pub fn warnings_of<'a>(files: impl IntoIterator<Item = &'a StoredFile>) -> Warnings {
    files.into_iter().flat_map(|file| file.warnings.iter().copied()).collect()
}

//! What came of looking at one thing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that was looked at: what was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What was looked at: `token keys`. The same each time.
    #[serde(rename = "check")]
    pub name: String,
    /// Whether it is well.
    pub state: CheckState,
    /// What was found, in words for the operator. No secret.
    pub found: String,
    /// What to do, unless all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub remedy: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Well.
    Ok,
    /// Something is lost, or promised less; the rest works.
    Warning,
    /// Something doesn't work, or wouldn't.
    Failed,
}

impl CheckState {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Check {
    /// All is well.
    #[must_use]
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: CheckState::Ok, found: found.into(), remedy: None }
    }

    /// Something is amiss that can be lived with.
    #[must_use]
    pub fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: CheckState::Warning, remedy: Some(remedy.into()), ..Self::ok(name, found) }
    }

    /// Something doesn't work.
    #[must_use]
    pub fn failed(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { state: CheckState::Failed, ..Self::warning(name, found, remedy) }
    }
}

/// So many of what is called `one`: `1 user`, `2 users`.
pub(super) fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// Bytes for people: the largest unit of which there is at least one.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        // A tenth is enough to tell.
        Some((size, unit)) => format!("{}.{} {unit}", bytes / size, bytes % size * 10 / size),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_their_unit() {
        assert_eq!([0, 1023, 1536, 3 << 30].map(bytes), ["0 bytes", "1023 bytes", "1.5 KiB", "3.0 GiB"]);
    }
}

//! The directories a job may put its files in.

use std::fmt;

use serde::{Deserialize, Serialize};

const SEGMENTS_MAX: usize = 4;
const SEGMENT_BYTES_MAX: usize = 64;

/// At most four segments of `[A-Za-z0-9._-]{1,64}`, none starting with a dot, joined by `/`; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubDir(String);

impl SubDir {
    pub(super) const RULE: &'static str =
        "must be at most 4 segments of [A-Za-z0-9._-]{1,64} joined by `/`, none starting with a dot";

    /// Reads a claim or a request path.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let segments_ok = text.split('/').all(Self::is_segment) && text.split('/').count() <= SEGMENTS_MAX;
        segments_ok.then(|| Self(text.to_owned()))
    }

    /// Whether `text` may stand as one segment.
    #[must_use]
    pub fn is_segment(text: &str) -> bool {
        (1..=SEGMENT_BYTES_MAX).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }

    /// The segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|s| !s.is_empty())
    }

    /// `name` below these directories, joined by `/`.
    #[must_use]
    pub fn join(&self, name: &str) -> String {
        if self.0.is_empty() { name.to_owned() } else { format!("{}/{name}", self.0) }
    }

    /// The segments joined by `/`; empty for none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SubDir {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(Self::RULE)
    }
}

impl From<SubDir> for String {
    fn from(sub_dir: SubDir) -> Self {
        sub_dir.0
    }
}

#[cfg(test)]
mod tests {
    use super::SubDir;

    #[test]
    fn no_path_leaves_the_root() {
        for bad in ["..", "a/../b", "/a", "a/", "a//b", ".hidden", "a/.b", "a\\b", "a b", "a/b/c/d/e", "ä", "a\0"] {
            assert_eq!(SubDir::parse(bad), None, "{bad:?}");
        }
        assert!(SubDir::parse(&"x".repeat(65)).is_none());
        for good in ["", "tenant-123", "a/b/c/d", "v1.2/x_y"] {
            assert!(SubDir::parse(good).is_some(), "{good:?}");
        }
    }
}

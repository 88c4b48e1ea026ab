//! The directories a job may put its files in.

use std::fmt;

use serde::{Deserialize, Serialize};

const SEGMENT_BYTES_MAX: usize = 64;

/// At most eight segments of `[A-Za-z0-9._@+=,~-]{1,64}`, none starting with a dot, joined by `/`; empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubDir(String);

impl SubDir {
    /// Levels of directories.
    pub const SEGMENTS_MAX: usize = 8;

    pub(super) const RULE: &'static str =
        "must be at most 8 segments of [A-Za-z0-9._@+=,~-]{1,64} joined by `/`, none starting with a dot";

    /// The same as a regular expression.
    pub(super) const PATTERN: &'static str =
        "^/?(?:[A-Za-z0-9_@+=,~-][A-Za-z0-9._@+=,~-]{0,63}(?:/[A-Za-z0-9_@+=,~-][A-Za-z0-9._@+=,~-]{0,63}){0,7})?/?$";

    /// Reads a claim or a request path. A slash at its start, and one at its end, don't count.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Some(Self::default());
        }
        let segments_ok = text.split('/').all(Self::is_segment) && text.split('/').count() <= Self::SEGMENTS_MAX;
        segments_ok.then(|| Self(text.to_owned()))
    }

    /// Whether `text` may stand as one segment.
    #[must_use]
    pub fn is_segment(text: &str) -> bool {
        (1..=SEGMENT_BYTES_MAX).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@+=,~-".contains(&b))
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
        let nine = "a/b/c/d/e/f/g/h/i";
        for bad in
            ["..", "a/../b", "//a", "a//", "a//b", ".hidden", "a/.b", "a\\b", "a b", nine, "ä", "a\0", "a%2fb", "a:b"]
        {
            assert_eq!(SubDir::parse(bad), None, "{bad:?}");
        }
        assert!(SubDir::parse(&"x".repeat(65)).is_none());
        for good in ["", "tenant-123", "a/b/c/d/e/f/g/h", "v1.2/x_y", "me@example.com", "k=v,w~1+2"] {
            assert_eq!(SubDir::parse(good).expect(good).as_str(), good);
        }
    }

    #[test]
    fn a_slash_at_its_start_or_its_end_is_passed_over() {
        for (text, path) in [("/a", "a"), ("a/", "a"), ("/a/b/", "a/b"), ("/", "")] {
            assert_eq!(SubDir::parse(text).expect(text).as_str(), path);
        }
    }
}

//! The kinds of store that a job may name.

use serde::{Deserialize, Serialize};

use crate::job::table::{enumerate, table};

/// A row of [`BackendKind`].
#[derive(Clone, Copy, Debug)]
pub struct BackendInfo {
    /// Its name in `storageKeys`, in the `type` of a registration and in what is told about a stored file.
    pub name: &'static str,
    /// Whether this build can write to it.
    pub built_in: bool,
}

table! {
    /// The kinds of store that `storageKeys` and `/register` may name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum BackendKind of BackendInfo {
        /// S3 and everything that speaks its protocol.
        S3 { name: "s3", built_in: cfg!(feature = "s3") }
        /// Google Cloud Storage.
        Gcs { name: "gcs", built_in: cfg!(feature = "gcs") }
    }
}

impl BackendKind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.info().name
    }

    /// The names of all, for people: `s3 or gcs`.
    #[must_use]
    pub fn names() -> String {
        enumerate(Self::ALL.map(Self::as_str), "or")
    }

    /// Why this build can't write to it; none if it can.
    #[must_use]
    pub fn why_missing(self) -> Option<String> {
        self.info().why_missing()
    }
}

impl BackendInfo {
    fn why_missing(&self) -> Option<String> {
        let Self { name, built_in } = self;
        (!built_in).then(|| format!("this build can't write to {name}: it was compiled without the feature `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_is_left_out_says_so_and_what_it_takes() {
        let why = BackendInfo { name: "tape", built_in: false }.why_missing();
        assert_eq!(why.as_deref(), Some("this build can't write to tape: it was compiled without the feature `tape`"));
        assert_eq!(BackendKind::S3.why_missing().is_none(), cfg!(feature = "s3"));
        assert_eq!(BackendKind::Gcs.why_missing().is_none(), cfg!(feature = "gcs"));
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in BackendKind::ALL {
            assert_eq!(BackendKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(BackendKind::from_name("S3"), None);
    }
}

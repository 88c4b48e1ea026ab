//! Where what is served under `/files/` is kept.

use serde::Deserialize;

use crate::bucket::{BucketUrl, KeyPrefix};

/// Where files of `directHost` are written, and served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServeKind {
    /// A directory: one machine's, or a file system that all nodes share.
    Directory,
    /// Below `serve/` in the bucket, where every node finds them.
    Bucket,
}

impl ServeKind {
    /// Why files can't be kept there with this bucket, if they can't: in words for the operator, who names settings as files
    /// do.
    #[must_use]
    pub fn why_unusable(self, bucket: Option<&BucketUrl>) -> Option<String> {
        match self {
            Self::Bucket if !cfg!(feature = "s3") => Some(
                "serve is \"bucket\", but this program was built without the cargo feature s3, which speaks to buckets"
                    .to_owned(),
            ),
            Self::Bucket if bucket.is_none() => {
                Some("serve is \"bucket\", but there is none: spool.url is not set".to_owned())
            }
            Self::Directory | Self::Bucket => None,
        }
    }
}

/// What every key of a served file starts with in a bucket whose keys start with `prefix`.
#[must_use]
pub fn serve_prefix(prefix: &KeyPrefix) -> KeyPrefix {
    prefix.join("serve").try_into().expect("INVARIANT: with a short segment it is no longer than a prefix may be")
}

/// What every key of a private file starts with there. Nothing below it has a path under `/files/`, nor a place where
/// `serve_redirect` looks.
#[must_use]
pub fn private_prefix(prefix: &KeyPrefix) -> KeyPrefix {
    prefix.join("private").try_into().expect("INVARIANT: with a short segment it is no longer than a prefix may be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serving_from_the_bucket_takes_one_and_a_build_that_speaks_to_it() {
        let bucket = BucketUrl::parse("s3://pixerve/px");
        assert_eq!(ServeKind::Directory.why_unusable(None), None);
        assert_eq!(ServeKind::Bucket.why_unusable(bucket.as_ref()).is_none(), cfg!(feature = "s3"));
        let why = ServeKind::Bucket.why_unusable(None).expect("there is no bucket");
        assert!(why.contains(if cfg!(feature = "s3") { "spool.url" } else { "feature s3" }), "{why}");
    }
}

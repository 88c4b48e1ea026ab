//! Why a call to the bucket failed.

use std::io;

#[cfg(feature = "s3")]
use super::s3::RequestFailure;

/// Why the bucket couldn't do something: what was attempted on which key, and what came of it. No secret.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It can't be reached, or says that it can't now (408, 429, 5xx), or its answer makes no sense. A write may have
    /// happened all the same.
    #[error("{what}: {detail}")]
    Unavailable {
        /// What was attempted: ``put `spool/07/...` in bucket `pixerve` at https://... ``.
        what: String,
        /// The bucket's own words where there are any.
        detail: String,
    },
    /// It answered, and refuses: the credentials, the bucket's name, its policy. Somebody has to change something.
    #[error("{what}: {detail}")]
    Refused {
        /// What was attempted.
        what: String,
        /// The bucket's own words where there are any.
        detail: String,
    },
    /// There is no such object, though there is the bucket.
    #[error("{what}: {detail}")]
    Missing {
        /// What was attempted.
        what: String,
        /// The bucket's own words where there are any.
        detail: String,
    },
    /// A file to be put, or written to, can't be used, or is not what was promised: no fault of the bucket's.
    #[error("{what}: {cause}")]
    File {
        /// What was attempted.
        what: String,
        /// What the file system answered. Not a `source`: the message has it.
        cause: io::Error,
    },
    /// Anything else. The same would fail again.
    #[error("{what}: {detail}")]
    Other {
        /// What was attempted.
        what: String,
        /// The bucket's own words where there are any.
        detail: String,
    },
}

impl BucketError {
    /// What a request came to, of which `what` says what it attempted.
    #[cfg(feature = "s3")]
    pub(super) fn of(what: String, failure: RequestFailure) -> Self {
        let detail = failure.detail();
        match failure {
            RequestFailure::Source(cause) => Self::File { what, cause },
            RequestFailure::Unanswered(_)
            | RequestFailure::Cancelled
            | RequestFailure::Answered { may_pass: true, .. } => Self::Unavailable { what, detail },
            RequestFailure::Answered { status: 404, code: Some(code), .. } if code == "NoSuchKey" => {
                Self::Missing { what, detail }
            }
            RequestFailure::Answered { status: 301 | 307 | 308 | 401 | 403 | 404, .. } => {
                Self::Refused { what, detail }
            }
            RequestFailure::Answered { .. } | RequestFailure::Invalid(_) => Self::Other { what, detail },
        }
    }

    /// Whether it may pass by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether there is no such object.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

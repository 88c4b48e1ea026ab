//! Whether a request wants the file at all, by what it already has (RFC 9110, section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, LastModified};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::tree::OpenedFile;

/// The last second that an HTTP date can name, 9999-12-31 23:59:59, since the Unix epoch.
const HTTP_DATE_SECS_MAX: u64 = 253_402_300_799;

/// What identifies a file's content.
#[derive(Debug)]
pub(super) struct Validators {
    /// A strong entity tag.
    ///
    /// Files are never written in place: a new content comes as a new inode by a rename. Two contents of one name in a
    /// row differ in their inode, and an inode used again later differs in its time. The digest hides the inode.
    pub(super) etag: ETag,
    /// In whole seconds, which is all that HTTP dates can show.
    modified: SystemTime,
}

/// What the preconditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Send it.
    Holds,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

impl Validators {
    pub(super) fn of(found: &OpenedFile) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(found.inode.to_be_bytes());
        hasher.update(found.modified_secs.to_be_bytes());
        hasher.update(found.modified_nanos.to_be_bytes());
        hasher.update(found.bytes.to_be_bytes());
        let tag = format!("\"{}\"", hex::encode(&hasher.finalize()[..16]));
        // Outside of these bounds there are no HTTP dates, and making one panics.
        let secs = u64::try_from(found.modified_secs).unwrap_or(0).min(HTTP_DATE_SECS_MAX);
        Self {
            etag: tag.parse().expect("INVARIANT: hex digits in quotes are an entity tag"),
            modified: UNIX_EPOCH + Duration::from_secs(secs),
        }
    }

    pub(super) fn last_modified(&self) -> LastModified {
        self.modified.into()
    }

    /// In the order of RFC 9110: a tag outranks the date that comes along with it. A date that is none is ignored.
    pub(super) fn check(&self, headers: &HeaderMap) -> Precondition {
        let unchanged_for_client = match headers.typed_get::<IfMatch>() {
            Some(tags) => tags.precondition_passes(&self.etag),
            None => headers.typed_get::<IfUnmodifiedSince>().is_none_or(|date| date.precondition_passes(self.modified)),
        };
        if !unchanged_for_client {
            return Precondition::Failed;
        }
        let changed_for_client = match headers.typed_get::<IfNoneMatch>() {
            Some(tags) => tags.precondition_passes(&self.etag),
            None => headers.typed_get::<IfModifiedSince>().is_none_or(|date| date.is_modified(self.modified)),
        };
        if changed_for_client { Precondition::Holds } else { Precondition::NotModified }
    }

    /// Whether a `Range` counts: without `If-Range`, or with one that names this very content. A date never does, since
    /// a name may be written twice in one second; the whole file, which it then gets, is always right. So the date is
    /// compared with no time at all.
    pub(super) fn range_applies(&self, headers: &HeaderMap) -> bool {
        match headers.typed_try_get::<IfRange>() {
            Ok(None) => true,
            Ok(Some(condition)) => !condition.is_modified(Some(&self.etag), None),
            Err(_) => false,
        }
    }
}

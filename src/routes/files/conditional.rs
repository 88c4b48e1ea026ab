//! Whether a request wants the file at all, by what it already has (RFC 9110, section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use headers::{ETag, HeaderMapExt, IfMatch, IfModifiedSince, IfNoneMatch, IfRange, IfUnmodifiedSince, LastModified};
use http::HeaderMap;
#[cfg(feature = "s3")]
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use sha2::{Digest, Sha256};

use super::tree::OpenedFile;

/// The last second that an HTTP date can name, 9999-12-31 23:59:59, since the Unix epoch.
const HTTP_DATE_SECS_MAX: u64 = 253_402_300_799;

/// What identifies a file's content.
#[derive(Debug)]
pub(super) struct Validators {
    /// A strong entity tag.
    ///
    /// In a directory files are never written in place: a new content comes as a new inode by a rename. Two contents of one name in a
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
        Self { etag: digest_tag(hasher), modified: http_date(u64::try_from(found.modified_secs).unwrap_or(0)) }
    }

    /// Of an object with this `ETag` and size, written at this time.
    ///
    /// The bucket's tag stands for the content, whoever asks on whichever node, and is sent on as it is, so that a client's
    /// condition can be sent on too. One that is weak, or none at all, becomes a part of one that isn't.
    #[cfg(feature = "s3")]
    pub(super) fn of_object(etag: &str, bytes: u64, modified: SystemTime) -> Self {
        let secs = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let strong = Some(etag).filter(|etag| etag.starts_with('"')).and_then(|etag| etag.parse().ok());
        let etag = strong.unwrap_or_else(|| {
            let mut hasher = Sha256::new();
            hasher.update(etag);
            hasher.update(secs.to_be_bytes());
            hasher.update(bytes.to_be_bytes());
            digest_tag(hasher)
        });
        Self { etag, modified: http_date(secs) }
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

/// The tag that is all that a request's conditions are about, if it looks like a bucket's: not to be sent if the file has
/// it. What it has of other conditions is for [`Validators::check`] alone.
#[cfg(feature = "s3")]
pub(super) fn only_unless_etag(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(IF_NONE_MATCH).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let tag = value.to_str().ok()?.trim();
    let inside = tag.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = !inside.is_empty() && inside.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_alone = !headers.contains_key(IF_MATCH) && !headers.contains_key(IF_UNMODIFIED_SINCE);
    (is_plain && is_alone).then_some(tag)
}

/// Whether a `Range` may count, as far as that can be told without the file: see [`Validators::range_applies`].
#[cfg(feature = "s3")]
pub(super) fn range_may_apply(headers: &HeaderMap) -> bool {
    headers.get(IF_RANGE).is_none_or(|condition| condition.as_bytes().starts_with(b"\""))
}

fn digest_tag(hasher: Sha256) -> ETag {
    let tag = format!("\"{}\"", hex::encode(&hasher.finalize()[..16]));
    tag.parse().expect("INVARIANT: hex digits in quotes are an entity tag")
}

/// So many seconds after the Unix epoch, or the last that there is an HTTP date for: making one of any other panics.
fn http_date(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs.min(HTTP_DATE_SECS_MAX))
}

#[cfg(all(test, feature = "s3"))]
mod tests {
    use super::*;

    fn validators(etag: &str) -> Validators {
        Validators::of_object(etag, 100, UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    fn tag(etag: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.typed_insert(validators(etag).etag);
        headers["etag"].to_str().expect("text").to_owned()
    }

    #[test]
    fn the_tag_of_an_object_is_the_buckets_own_if_that_is_strong() {
        assert_eq!(tag("\"9a0364b9e99bb480dd25e1f0284c8555-2\""), "\"9a0364b9e99bb480dd25e1f0284c8555-2\"");
        let weak = tag("W/\"9a0364b9\"");
        assert!(weak.starts_with('"') && weak != "\"9a0364b9\"", "strong, and another: {weak}");
        assert_eq!(weak, tag("W/\"9a0364b9\""), "whoever asks");
        assert_ne!(weak, tag("W/\"9a0364ba\""));
        assert!(tag("9a0364b9").starts_with('"'));
    }

    #[test]
    fn a_time_that_no_http_date_shows_is_cut() {
        let far = UNIX_EPOCH + Duration::from_secs(HTTP_DATE_SECS_MAX + 1);
        let mut headers = HeaderMap::new();
        headers.typed_insert(Validators::of_object("\"a\"", 1, far).last_modified());
        assert_eq!(headers["last-modified"], "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn a_condition_is_sent_on_if_it_is_one_tag_and_nothing_else() {
        let sent = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().expect("a header value"));
            }
            only_unless_etag(&headers).map(str::to_owned)
        };
        let of = |value: &str| sent(&[("if-none-match", value)]);
        assert_eq!(of(" \"abc-1\" ").as_deref(), Some("\"abc-1\""));
        for value in ["*", "W/\"abc\"", "\"a\", \"b\"", "\"\"", "\"", "", "abc", "\"a b\"", "\"é\""] {
            assert_eq!(of(value), None, "{value}");
        }
        assert_eq!(sent(&[("if-none-match", "\"a\""), ("if-none-match", "\"b\"")]), None);
        assert_eq!(sent(&[("if-none-match", "\"a\""), ("if-match", "\"b\"")]), None);
        assert_eq!(sent(&[]), None);
    }
}

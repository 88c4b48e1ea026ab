//! Whether a request wants the file at all, by what it already has (RFC 9110, section 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{AsHeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use sha2::{Digest, Sha256};

use super::tree::Found;

/// What identifies a file's content.
#[derive(Debug)]
pub(super) struct Validators {
    /// A strong entity tag, quotes included.
    ///
    /// Files are never written in place: a new content comes as a new inode by a rename. Two contents of one name in a
    /// row differ in their inode, and an inode used again later differs in its time. The digest hides the inode.
    pub(super) etag: String,
    /// In seconds since the Unix epoch, which is all that HTTP dates can show.
    modified_secs: u64,
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
    pub(super) fn of(found: &Found) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(found.inode.to_be_bytes());
        hasher.update(found.modified_secs.to_be_bytes());
        hasher.update(found.modified_nanos.to_be_bytes());
        hasher.update(found.bytes.to_be_bytes());
        let etag = format!("\"{}\"", hex::encode(&hasher.finalize()[..16]));
        Self { etag, modified_secs: u64::try_from(found.modified_secs).unwrap_or(0) }
    }

    pub(super) fn last_modified(&self) -> String {
        // Past the year 9999 there are no HTTP dates, and `httpdate` panics.
        const LAST: u64 = 253_402_300_799;
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.modified_secs.min(LAST)))
    }

    /// In the order of RFC 9110: a tag outranks the date that comes along with it.
    pub(super) fn check(&self, headers: &HeaderMap) -> Precondition {
        let unchanged_for_them = match self.matches(headers, IF_MATCH, strip_strong) {
            Some(matches) => matches,
            None => date(headers, IF_UNMODIFIED_SINCE).is_none_or(|since| self.modified_secs <= since),
        };
        if !unchanged_for_them {
            return Precondition::Failed;
        }
        let they_have_it = match self.matches(headers, IF_NONE_MATCH, strip_weak) {
            Some(matches) => matches,
            None => date(headers, IF_MODIFIED_SINCE).is_some_and(|since| self.modified_secs <= since),
        };
        if they_have_it { Precondition::NotModified } else { Precondition::Holds }
    }

    /// Whether a `Range` counts: without `If-Range`, or with one that names this very content. A date never does, since
    /// a name may be written twice in one second; the whole file, which it then gets, is always right.
    pub(super) fn range_applies(&self, headers: &HeaderMap) -> bool {
        headers.get(IF_RANGE).is_none_or(|tag| tag.as_bytes().trim_ascii() == self.etag.as_bytes())
    }

    /// Whether a list of tags, possibly over several headers, names this content; `None` without such a header.
    fn matches(
        &self,
        headers: &HeaderMap,
        name: impl AsHeaderName,
        comparable: impl Fn(&str) -> Option<&str>,
    ) -> Option<bool> {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        // Splitting at every comma is right for our purpose: our own tags hold none.
        let mut tags = values.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim);
        Some(tags.any(|tag| tag == "*" || comparable(tag) == Some(self.etag.as_str())))
    }
}

/// Weak comparison: `W/` makes no difference.
#[expect(clippy::unnecessary_wraps, reason = "one of two comparisons of the same shape")]
fn strip_weak(tag: &str) -> Option<&str> {
    Some(tag.strip_prefix("W/").unwrap_or(tag))
}

/// Strong comparison: a weak tag equals nothing.
fn strip_strong(tag: &str) -> Option<&str> {
    (!tag.starts_with("W/")).then_some(tag)
}

/// A date in seconds since the Unix epoch; `None` if it is missing or no date, which is to be ignored.
fn date(headers: &HeaderMap, name: impl AsHeaderName) -> Option<u64> {
    let date: SystemTime = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

//! What the headers of an answer say of an object. The SDK tells neither the time at which a bucket answers, nor anything of
//! an answer without an object, such as a 304.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use parking_lot::Mutex;

use super::RequestFailure;

/// Takes the headers from the answer to a request. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerHeaders(Arc<Mutex<ObjectHeaders>>);

/// The headers that an answer about an object has. None is there before it was answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectHeaders {
    /// When the bucket answered, by its own clock.
    pub(crate) date: Option<SystemTime>,
    /// With its quotes.
    pub(crate) etag: Option<String>,
    /// When the object was written, by the same clock, in whole seconds.
    pub(crate) modified: Option<SystemTime>,
    content_length: Option<u64>,
    /// `bytes 0-99/1234`.
    content_range: Option<String>,
}

/// The bytes that an answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The size of the whole object.
    pub(crate) bytes: u64,
    /// The first and the last of the bytes that come; none for all.
    pub(crate) part: Option<(u64, u64)>,
}

impl AnswerHeaders {
    /// Those of the last answer.
    pub(crate) fn get(&self) -> ObjectHeaders {
        self.0.lock().clone()
    }
}

impl Intercept for AnswerHeaders {
    fn name(&self) -> &'static str {
        "AnswerHeaders"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        let time = |name| headers.get(name).and_then(|text| httpdate::parse_http_date(text).ok());
        *self.0.lock() = ObjectHeaders {
            date: time("date"),
            etag: headers.get("etag").filter(|etag| !etag.is_empty()).map(str::to_owned),
            modified: time("last-modified"),
            content_length: headers.get("content-length").and_then(|text| text.parse().ok()),
            content_range: headers.get("content-range").map(str::to_owned),
        };
        Ok(())
    }
}

impl ObjectHeaders {
    /// Which bytes come, and of how many.
    pub(crate) fn extent(&self) -> Result<Extent, RequestFailure> {
        if let Some(text) = &self.content_range {
            let (first, last, bytes) = part_of(text)
                .ok_or_else(|| RequestFailure::Unanswered(format!("an answer of the unreadable part {text:?}")))?;
            return Ok(Extent { bytes, part: Some((first, last)) });
        }
        match self.content_length {
            Some(bytes) => Ok(Extent { bytes, part: None }),
            None => Err(RequestFailure::Unanswered("an answer without `Content-Length`".to_owned())),
        }
    }

    /// How long before the answer `modified` was. An answer without a date is no bucket's, and by our own clock a young
    /// object might be old.
    pub(crate) fn since(&self, modified: Option<SystemTime>) -> Result<Duration, RequestFailure> {
        match (self.date, modified) {
            (Some(date), Some(modified)) => Ok(date.duration_since(modified).unwrap_or_default()),
            _ => Err(RequestFailure::Unanswered("an answer without `Date` and `Last-Modified`".to_owned())),
        }
    }
}

/// First, last and the size of the whole from `bytes 0-99/1234`.
fn part_of(content_range: &str) -> Option<(u64, u64, u64)> {
    let (part, bytes) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last, bytes) = (first.parse().ok()?, last.parse().ok()?, bytes.parse().ok()?);
    (first <= last && last < bytes).then_some((first, last, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_only_if_it_lies_within_its_whole() {
        assert_eq!(part_of("bytes 0-99/1234"), Some((0, 99, 1234)));
        assert_eq!(part_of("bytes 5-5/6"), Some((5, 5, 6)));
        for bad in ["bytes */100", "bytes 0-99/*", "bytes 9-8/100", "bytes 0-100/100", "0-99/1234", "bytes 0-99", ""] {
            assert_eq!(part_of(bad), None, "{bad}");
        }
    }
}

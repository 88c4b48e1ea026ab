//! Served files as they are read: one request each, of which a client's condition and range are a part where the bucket
//! understands them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::BucketServe;
use crate::bucket::BucketError;
use crate::bucket::s3::{RequestFailure, within};
use crate::error_chain::ErrorChain;

/// What identifies an object's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// As the bucket sends it, in its quotes.
    pub etag: String,
    /// When it was written, in whole seconds of the bucket's clock.
    pub modified: SystemTime,
    /// The size of the whole.
    pub bytes: u64,
}

/// Which bytes of an object are wanted, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From `first` on, to its end or to `last`, included.
    From {
        /// The first.
        first: u64,
        /// The last; none for the object's own.
        last: Option<u64>,
    },
    /// So many at the end.
    Last(u64),
}

/// On what an object is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetCondition {
    /// Which bytes of it; none for all.
    pub range: Option<ByteRange>,
    /// Not if this is its `ETag`, in quotes.
    pub unless_etag: Option<String>,
}

/// What was found of an object.
#[derive(Debug)]
pub enum OpenedObject {
    /// Its bytes are coming.
    Sending(ServedObject),
    /// It has the `ETag` that it was not to have.
    NotModified {
        /// That.
        etag: String,
        /// When it was written, if the bucket says so.
        modified: Option<SystemTime>,
    },
    /// It has none of the bytes that are wanted.
    OutOfRange,
}

/// An object whose bytes are coming.
#[derive(Debug)]
pub struct ServedObject {
    /// What it is.
    pub version: ObjectVersion,
    /// The first and the last of the bytes that come; none for all.
    pub part: Option<(u64, u64)>,
    body: ByteStream,
    what: String,
    timeout: Duration,
}

impl BucketServe {
    /// The served file at `path` (`subDir/name`), to be read piece by piece. One request, whatever it comes to.
    ///
    /// A bucket may ignore the condition and the range: what it sent is what the answer says.
    ///
    /// # Errors
    /// [`BucketError::Missing`] if there is no such file; the request's.
    pub async fn open(&self, path: &str, condition: &GetCondition) -> Result<OpenedObject, BucketError> {
        let (bucket, key, head) = (&self.s3.bucket, self.s3.prefix.join(path), AnswerHead::default());
        let request = bucket.client.get_object().bucket(&bucket.bucket).key(&key);
        let request = request.set_if_none_match(condition.unless_etag.clone());
        let request = request.set_range(condition.range.map(ByteRange::header));
        let request = request.customize().interceptor(head.clone());
        let limit = bucket.timeouts.exchange(0);
        let answer = match within(limit, request.send()).await {
            Ok(answer) => answer,
            Err(RequestFailure::Answered { status: 304, .. }) => {
                let head = head.take();
                // A 304 is of one tag at most: it needn't repeat it.
                let etag = head.etag.or_else(|| condition.unless_etag.clone());
                let etag = etag.ok_or_else(|| self.error("get", path, unanswered("a 304 that nobody asked for")))?;
                return Ok(OpenedObject::NotModified { etag, modified: head.modified });
            }
            Err(RequestFailure::Answered { status: 416, .. }) if condition.range.is_some() => {
                return Ok(OpenedObject::OutOfRange);
            }
            Err(failure) => return Err(self.error("get", path, failure)),
        };
        let (version, part) = head.take().version().map_err(|failure| self.error("get", path, failure))?;
        if part.is_some() && condition.range.is_none() {
            return Err(self.error("get", path, unanswered("a part, though the whole was asked for")));
        }
        let what = bucket.what("get", &key);
        Ok(OpenedObject::Sending(ServedObject { version, part, body: answer.body, what, timeout: limit }))
    }

    /// What is known of the served file at `path` besides its bytes.
    ///
    /// # Errors
    /// [`BucketError::Missing`] if there is no such file; the request's.
    pub async fn describe(&self, path: &str) -> Result<ObjectVersion, BucketError> {
        let (bucket, key, head) = (&self.s3.bucket, self.s3.prefix.join(path), AnswerHead::default());
        let request = bucket.client.head_object().bucket(&bucket.bucket).key(&key);
        let request = request.customize().interceptor(head.clone());
        match within(bucket.timeouts.exchange(0), request.send()).await {
            Ok(_) => {
                let (version, _) = head.take().version().map_err(|failure| self.error("look for", path, failure))?;
                Ok(version)
            }
            // Without a body it doesn't say what it is that there isn't, a file or the bucket: only a GET does.
            Err(RequestFailure::Answered { status: 404, .. }) => {
                let first_byte = ByteRange::From { first: 0, last: Some(0) };
                let condition = GetCondition { range: Some(first_byte), unless_etag: None };
                match self.open(path, &condition).await? {
                    OpenedObject::Sending(object) => Ok(object.version),
                    OpenedObject::NotModified { .. } | OpenedObject::OutOfRange => {
                        Err(self.error("look for", path, unanswered("it came or went in this very moment")))
                    }
                }
            }
            Err(failure) => Err(self.error("look for", path, failure)),
        }
    }

    fn error(&self, verb: &str, path: &str, failure: RequestFailure) -> BucketError {
        let what = self.s3.bucket.what(verb, &self.s3.prefix.join(path));
        let detail = failure.detail();
        match failure {
            RequestFailure::Answered { status: 404, code: Some(code), .. } if code == "NoSuchKey" => {
                BucketError::Missing { what, detail }
            }
            RequestFailure::Answered { may_pass: false, .. } => BucketError::Refused { what, detail },
            RequestFailure::Answered { .. }
            | RequestFailure::Unanswered(_)
            | RequestFailure::Cancelled
            | RequestFailure::Source(_) => BucketError::Unavailable { what, detail },
            RequestFailure::Invalid(_) => BucketError::Other { what, detail },
        }
    }
}

impl ServedObject {
    /// The next bytes; none at the end. They are read from the bucket's connection as they are asked for here, so that
    /// whoever takes them slowly has the bucket send them slowly.
    ///
    /// # Errors
    /// [`BucketError::Unavailable`] if they don't come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BucketError> {
        let unavailable = |detail: String| BucketError::Unavailable { what: self.what.clone(), detail };
        match timeout(self.timeout, self.body.try_next()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(unavailable(ErrorChain(&error).to_string())),
            Err(_) => Err(unavailable(format!("nothing more came within {:?}", self.timeout))),
        }
    }
}

impl ByteRange {
    /// As a `Range` header has it.
    fn header(self) -> String {
        match self {
            Self::From { first, last: Some(last) } => format!("bytes={first}-{last}"),
            Self::From { first, last: None } => format!("bytes={first}-"),
            Self::Last(bytes) => format!("bytes=-{bytes}"),
        }
    }
}

fn unanswered(detail: &str) -> RequestFailure {
    RequestFailure::Unanswered(detail.to_owned())
}

/// What the head of an answer says of an object. The SDK gives none of it for a 304.
#[derive(Clone, Debug, Default)]
struct AnswerHead(Arc<Mutex<ObjectHead>>);

#[derive(Debug, Default)]
struct ObjectHead {
    etag: Option<String>,
    modified: Option<SystemTime>,
    content_length: Option<u64>,
    /// `bytes 0-99/1234`.
    content_range: Option<String>,
}

impl AnswerHead {
    fn take(&self) -> ObjectHead {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Intercept for AnswerHead {
    fn name(&self) -> &'static str {
        "AnswerHead"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        *self.0.lock() = ObjectHead {
            etag: headers.get("etag").filter(|etag| !etag.is_empty()).map(str::to_owned),
            modified: headers.get("last-modified").and_then(|text| httpdate::parse_http_date(text).ok()),
            content_length: headers.get("content-length").and_then(|text| text.parse().ok()),
            content_range: headers.get("content-range").map(str::to_owned),
        };
        Ok(())
    }
}

impl ObjectHead {
    /// What is sent, and which part of it. Whoever answers without these is no store: a proxy, a portal, a web server.
    fn version(self) -> Result<(ObjectVersion, Option<(u64, u64)>), RequestFailure> {
        let (Some(etag), Some(modified), Some(length)) = (self.etag, self.modified, self.content_length) else {
            return Err(unanswered("an answer without `ETag`, `Last-Modified` or `Content-Length`"));
        };
        let Some(content_range) = self.content_range else {
            return Ok((ObjectVersion { etag, modified, bytes: length }, None));
        };
        let (first, last, bytes) = part_of(&content_range)
            .ok_or_else(|| RequestFailure::Unanswered(format!("an answer of the unreadable part {content_range:?}")))?;
        Ok((ObjectVersion { etag, modified, bytes }, Some((first, last))))
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

    #[test]
    fn a_range_is_asked_for_as_it_is() {
        assert_eq!(ByteRange::From { first: 1, last: Some(2) }.header(), "bytes=1-2");
        assert_eq!(ByteRange::From { first: 1, last: None }.header(), "bytes=1-");
        assert_eq!(ByteRange::Last(3).header(), "bytes=-3");
    }
}

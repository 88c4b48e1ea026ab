//! Served files as they are read: one request each, of which a client's condition and range are a part where the bucket
//! understands them.

use std::time::SystemTime;

use bytes::Bytes;

use super::BucketServe;
use crate::bucket::BucketError;
use crate::bucket::s3::{AnswerHeaders, Extent, ObjectBytes, ObjectHeaders, RequestFailure, within};
use crate::job::ServedPath;

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
    bytes: ObjectBytes,
}

impl BucketServe {
    /// The served file at `path`, to be read piece by piece. One request, whatever it comes to.
    ///
    /// A bucket may ignore the condition and the range: what it sent is what the answer says.
    ///
    /// # Errors
    /// [`BucketError::Missing`] if there is no such file; the request's.
    pub async fn open(&self, path: &ServedPath, condition: &GetCondition) -> Result<OpenedObject, BucketError> {
        let (bucket, key, headers) = (&self.s3.bucket, self.key(path), AnswerHeaders::default());
        let fail = |failure| bucket.error("get", &key, failure);
        let request = bucket.client.get_object().bucket(&bucket.bucket).key(&key);
        let request = request.set_if_none_match(condition.unless_etag.clone());
        let request = request.set_range(condition.range.map(ByteRange::header));
        let request = request.customize().interceptor(headers.clone());
        let limit = bucket.timeouts.exchange(0);
        let answer = match within(limit, request.send()).await {
            Ok(answer) => answer,
            Err(RequestFailure::Answered { status: 304, .. }) => {
                let headers = headers.get();
                // A 304 is of one tag at most: it needn't repeat it.
                let etag = headers.etag.or_else(|| condition.unless_etag.clone());
                let etag = etag.ok_or_else(|| fail(unanswered("a 304 that nobody asked for")))?;
                return Ok(OpenedObject::NotModified { etag, modified: headers.modified });
            }
            Err(RequestFailure::Answered { status: 416, .. }) if condition.range.is_some() => {
                return Ok(OpenedObject::OutOfRange);
            }
            Err(failure) => return Err(fail(failure)),
        };
        let (version, part) = version(headers.get()).map_err(fail)?;
        if part.is_some() && condition.range.is_none() {
            return Err(fail(unanswered("a part, though the whole was asked for")));
        }
        let bytes = ObjectBytes::new(answer.body, bucket.what("get", &key), limit);
        Ok(OpenedObject::Sending(ServedObject { version, part, bytes }))
    }

    /// What is known of the served file at `path` besides its bytes.
    ///
    /// # Errors
    /// [`BucketError::Missing`] if there is no such file; the request's.
    pub async fn describe(&self, path: &ServedPath) -> Result<ObjectVersion, BucketError> {
        let (bucket, key, headers) = (&self.s3.bucket, self.key(path), AnswerHeaders::default());
        let fail = |failure| bucket.error("look for", &key, failure);
        let request = bucket.client.head_object().bucket(&bucket.bucket).key(&key);
        let request = request.customize().interceptor(headers.clone());
        match within(bucket.timeouts.exchange(0), request.send()).await {
            Ok(_) => Ok(version(headers.get()).map_err(fail)?.0),
            // Without a body it doesn't say what it is that there isn't, a file or the bucket: only a GET does.
            Err(RequestFailure::Answered { status: 404, .. }) => {
                let first_byte = ByteRange::From { first: 0, last: Some(0) };
                let condition = GetCondition { range: Some(first_byte), unless_etag: None };
                match self.open(path, &condition).await? {
                    OpenedObject::Sending(object) => Ok(object.version),
                    OpenedObject::NotModified { .. } | OpenedObject::OutOfRange => {
                        Err(fail(unanswered("it came or went in this very moment")))
                    }
                }
            }
            Err(failure) => Err(fail(failure)),
        }
    }
}

impl ServedObject {
    /// The next bytes; none at the end. Whoever takes them slowly has the bucket send them slowly.
    ///
    /// # Errors
    /// [`BucketError::Unavailable`] if they don't come.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BucketError> {
        self.bytes.next().await
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

/// What is sent, and which part of it. Whoever answers without these is no store: a proxy, a portal, a web server.
fn version(headers: ObjectHeaders) -> Result<(ObjectVersion, Option<(u64, u64)>), RequestFailure> {
    let Extent { bytes, part } = headers.extent()?;
    match (headers.etag, headers.modified) {
        (Some(etag), Some(modified)) => Ok((ObjectVersion { etag, modified, bytes }, part)),
        _ => Err(unanswered("an answer without `ETag` or `Last-Modified`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_asked_for_as_it_is() {
        assert_eq!(ByteRange::From { first: 1, last: Some(2) }.header(), "bytes=1-2");
        assert_eq!(ByteRange::From { first: 1, last: None }.header(), "bytes=1-");
        assert_eq!(ByteRange::Last(3).header(), "bytes=-3");
    }
}

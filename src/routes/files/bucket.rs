//! Files from the bucket, on any node. One request to it for each of a client's: what the client makes a condition of, and the
//! range that it wants, are a part of that request where they can be. What the bucket makes of them is checked all the same.

use axum::body::Body;
use axum::response::Response;
use futures_util::stream::try_unfold;
use http::{HeaderMap, Method};

use super::answer::{Answer, Wanted, wanted};
use super::conditional::{Validators, only_unless_etag, range_may_apply};
use super::range::{self, RangeOfAny};
use crate::bucket::BucketError;
use crate::job::ServedPath;
use crate::routes::Refusal;
use crate::writer::{BucketServe, ByteRange, GetCondition, ObjectVersion, OpenedObject, ServedObject};

/// More bytes than any object has, and a number that every store understands.
const BYTES_MAX: u64 = 1 << 50;

/// The file at `path`, as a request with this method and these headers asks for it.
pub(super) async fn file(
    bucket: &BucketServe,
    path: &ServedPath,
    answer: &Answer,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if method == Method::HEAD {
        return without_bytes(bucket, path, answer, method, headers).await;
    }
    let mut condition = GetCondition {
        range: range::of_any(headers).filter(|_| range_may_apply(headers)).and_then(understood),
        unless_etag: only_unless_etag(headers).map(str::to_owned),
    };
    loop {
        let object = match bucket.open(path, &condition).await? {
            OpenedObject::Sending(object) => object,
            OpenedObject::NotModified { etag, modified: Some(modified) } => {
                return Ok(answer.not_modified(&Validators::of_object(&etag, 0, modified)));
            }
            // What else there is to say about the file takes another request.
            OpenedObject::NotModified { modified: None, .. } | OpenedObject::OutOfRange => {
                return without_bytes(bucket, path, answer, method, headers).await;
            }
        };
        let (validators, bytes) = (validators_of(&object.version), object.version.bytes);
        match (wanted(method, headers, &validators, bytes)?, object.part) {
            (Wanted::Nothing, _) => return Ok(answer.not_modified(&validators)),
            (Wanted::Part { first, last }, Some(part)) if part == (first, last) => {
                return Ok(answer.part(&validators, first, last, bytes, sent(object)));
            }
            // A range may be ignored, and this bucket does.
            (_, None) => return Ok(answer.whole(&validators, bytes, sent(object))),
            // It is of a version that the client doesn't have, or the bucket has ideas of its own about ranges.
            (_, Some(_)) => condition.range = None,
        }
    }
}

/// What can be said without any of the file's bytes: everything to a `HEAD`; to a `GET`, that none are wanted or there.
async fn without_bytes(
    bucket: &BucketServe,
    path: &ServedPath,
    answer: &Answer,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let version = bucket.describe(path).await?;
    let validators = validators_of(&version);
    match wanted(method, headers, &validators, version.bytes)? {
        Wanted::Nothing => Ok(answer.not_modified(&validators)),
        Wanted::Head => Ok(answer.head(&validators, version.bytes)),
        // The file has just been replaced by another.
        Wanted::Whole | Wanted::Part { .. } => match bucket.open(path, &GetCondition::default()).await? {
            OpenedObject::Sending(object) => {
                let (validators, bytes) = (validators_of(&object.version), object.version.bytes);
                Ok(answer.whole(&validators, bytes, sent(object)))
            }
            OpenedObject::NotModified { .. } | OpenedObject::OutOfRange => {
                Err(Refusal::Internal(format!("the bucket keeps to conditions that `{path}` was not asked for with")))
            }
        },
    }
}

fn validators_of(version: &ObjectVersion) -> Validators {
    Validators::of_object(&version.etag, version.bytes, version.modified)
}

/// The range as a bucket is asked for it; none where that would be in vain.
fn understood(range: RangeOfAny) -> Option<ByteRange> {
    match range {
        RangeOfAny::From { first, last } if first <= BYTES_MAX => {
            Some(ByteRange::From { first, last: last.filter(|last| *last <= BYTES_MAX) })
        }
        RangeOfAny::Last(bytes) if bytes > 0 => Some(ByteRange::Last(bytes.min(BYTES_MAX))),
        // No object has any of them.
        RangeOfAny::From { .. } | RangeOfAny::Last(_) => None,
    }
}

/// The bytes, as they come: the next are read when those before are sent.
fn sent(object: ServedObject) -> Body {
    Body::from_stream(try_unfold(object, async |mut object| match object.chunk().await {
        Ok(chunk) => Ok(chunk.map(|chunk| (chunk, object))),
        Err(error) => {
            // Too late for another status: the client sees that bytes are missing.
            tracing::warn!(error = error.to_string(), "served file ended early; its client has to ask again");
            Err(error)
        }
    }))
}

impl From<BucketError> for Refusal {
    fn from(error: BucketError) -> Self {
        match error {
            BucketError::Missing { .. } => Self::NotFound(super::NO_SUCH_FILE.into()),
            error => Self::FilesUnavailable(error),
        }
    }
}

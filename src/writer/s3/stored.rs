//! What is done to objects that are stored: they are deleted, or read again.

use std::sync::Arc;

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::client::S3;
use crate::bucket::s3::{RequestFailure, within};
use crate::error_chain::ErrorChain;
use crate::writer::{Deletion, Failure, ObjectBytes, WriteError};

/// What there is no object of, as the store calls it. Anything else that there is none of, such as the bucket, is a refusal.
const NO_SUCH_KEY: &str = "NoSuchKey";

impl S3 {
    /// The key of what is at `location`.
    pub(super) fn key_of<'l>(&self, location: &'l str) -> Result<&'l str, WriteError> {
        let key =
            location.strip_prefix("s3://").and_then(|rest| rest.strip_prefix(&*self.bucket.bucket)?.strip_prefix('/'));
        key.filter(|key| !key.is_empty()).ok_or_else(|| {
            Failure::elsewhere(location).on(format!("find an object of bucket `{}`", self.bucket.bucket))
        })
    }

    /// Deletes the object `key`. A deletion doesn't say whether there was one, so the store is asked before; the answer to that
    /// may be refused to whoever may delete.
    pub(in crate::writer) async fn delete_key(&self, key: &str) -> Result<Deletion, WriteError> {
        self.deleted(key).await.map_err(|failure| failure.on(self.bucket.what("delete", key)))
    }

    async fn deleted(&self, key: &str) -> Result<Deletion, Failure> {
        let (client, limit, told) = (&self.bucket.client, self.bucket.timeouts.exchange(0), ToldVersions::default());
        let head = client.head_object().bucket(&self.bucket.bucket).key(key);
        let was_there = match within(limit, head.customize().interceptor(told.clone()).send()).await {
            Err(RequestFailure::Answered { status: 404, .. }) => false,
            // Whoever may delete may be forbidden to look.
            Ok(_) | Err(RequestFailure::Answered { may_pass: false, .. }) => true,
            Err(failure) => return Err(failure.into()),
        };
        if !was_there && told.is_deleted_version() {
            // Another deletion would only add another mark to the versions.
            return Ok(Deletion { was_there, keeps_versions: true });
        }
        // Also when it wasn't there: that may have been said of a bucket that isn't there, which a deletion tells apart.
        let delete = client.delete_object().bucket(&self.bucket.bucket).key(key);
        match within(limit, delete.customize().interceptor(told.clone()).send()).await {
            Ok(_) => Ok(Deletion { was_there, keeps_versions: told.any() }),
            Err(RequestFailure::Answered { status: 404, code: Some(code), .. }) if code == NO_SUCH_KEY => {
                Ok(Deletion { was_there: false, keeps_versions: told.any() })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The bytes of the object `key`.
    pub(in crate::writer) async fn get_key(&self, key: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let (what, limit) = (self.bucket.what("get", key), self.bucket.timeouts.exchange(0));
        let request = self.bucket.client.get_object().bucket(&self.bucket.bucket).key(key);
        let answer = within(limit, request.send()).await.map_err(|failure| match failure {
            RequestFailure::Answered { status: 404, code: Some(code), .. } if code == NO_SUCH_KEY => {
                Failure::missing().on(&*what)
            }
            failure => Failure::from(failure).on(&*what),
        })?;
        let bytes = answer.content_length().and_then(|bytes| u64::try_from(bytes).ok());
        let bytes = bytes.ok_or_else(|| Failure::transient("an answer without a length").on(&*what))?;
        let pieces = stream::try_unfold(answer.body, |mut body| async {
            let piece = body.try_next().await.map_err(|error| Failure::transient(ErrorChain(&error).to_string()))?;
            Ok(piece.map(|piece| (piece, body)))
        });
        ObjectBytes::of(what, bytes, bytes_max, limit, pieces.into_stream().boxed())
    }
}

/// What answers say of an object's versions; the SDK keeps none of it of an error. Clones are one.
#[derive(Clone, Debug, Default)]
struct ToldVersions(Arc<Mutex<Versions>>);

#[derive(Debug, Default)]
struct Versions {
    /// Some answer named a version, or a mark of deletion.
    any: bool,
    /// The object is there no more, but as a version before its deletion.
    is_deleted: bool,
}

impl ToldVersions {
    fn any(&self) -> bool {
        self.0.lock().any
    }

    fn is_deleted_version(&self) -> bool {
        self.0.lock().is_deleted
    }
}

impl Intercept for ToldVersions {
    fn name(&self) -> &'static str {
        "ToldVersions"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response().headers();
        // What was stored while versions were off is of the version `null`.
        let has_version = headers.get("x-amz-version-id").is_some_and(|id| !matches!(id, "" | "null"));
        let is_deleted = headers.get("x-amz-delete-marker") == Some("true");
        let mut told = self.0.lock();
        told.any |= has_version || is_deleted;
        told.is_deleted = is_deleted;
        Ok(())
    }
}

//! What is done to objects that are stored: they are deleted, or read again.

use futures_util::{StreamExt, stream};
use http::Method;
use serde::Deserialize;

use super::{Gcs, of_transport};
use crate::writer::{Deletion, Failure, ObjectBytes, WriteError};

/// Of a bucket, what tells whether it keeps what is deleted. Anything that isn't said is off.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BucketFacts {
    versioning: Versioning,
    soft_delete_policy: SoftDeletePolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Versioning {
    enabled: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SoftDeletePolicy {
    /// A number in quotes; 0 is off.
    retention_duration_seconds: String,
}

impl Gcs {
    /// The key of what is at `location`.
    pub(super) fn key_of<'l>(&self, location: &'l str) -> Result<&'l str, WriteError> {
        let key = location.strip_prefix("gs://").and_then(|rest| rest.strip_prefix(&*self.bucket)?.strip_prefix('/'));
        key.filter(|key| !key.is_empty())
            .ok_or_else(|| Failure::elsewhere(location).on(format!("find an object of bucket `{}`", self.bucket)))
    }

    pub(super) async fn deleted(&self, key: &str) -> Result<Deletion, Failure> {
        let keeps_versions = *self.keeps_versions.get_or_try_init(|| self.ask_for_versions()).await?;
        let was_there = match self.delete_object(key).await {
            Ok(()) => true,
            Err(failure) if is_missing(&failure) => false,
            Err(failure) => return Err(failure),
        };
        Ok(Deletion { was_there, keeps_versions })
    }

    pub(super) async fn delete_object(&self, key: &str) -> Result<(), Failure> {
        self.ask(Method::DELETE, self.url(&["storage", "v1", "b", &self.bucket, "o", key])).await?;
        Ok(())
    }

    /// Whether the bucket keeps what is deleted; no, if it doesn't let us know.
    async fn ask_for_versions(&self) -> Result<bool, Failure> {
        let mut url = self.url(&["storage", "v1", "b", &self.bucket]);
        url.set_query(Some("fields=versioning,softDeletePolicy"));
        match self.ask(Method::GET, url).await {
            Ok(answer) => {
                let read = self.within(0, async { answer.bytes().await.map_err(of_transport) }).await?;
                let facts: BucketFacts = serde_json::from_slice(&read).unwrap_or_default();
                let retention = facts.soft_delete_policy.retention_duration_seconds;
                Ok(facts.versioning.enabled || !matches!(&*retention, "" | "0"))
            }
            // Who may write objects need not be one who may look at buckets. A bucket that isn't there is told by what follows.
            Err(failure) if matches!(failure.status, Some(400..=407 | 409..=428)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn read(&self, key: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let what = self.what("get", key);
        let mut url = self.url(&["storage", "v1", "b", &self.bucket, "o", key]);
        url.set_query(Some("alt=media"));
        let answer = self.ask(Method::GET, url).await.map_err(|failure| {
            let failure = if is_missing(&failure) { Failure::missing() } else { failure };
            failure.on(&*what)
        })?;
        let bytes =
            answer.content_length().ok_or_else(|| Failure::transient("an answer without a length").on(&*what))?;
        let pieces = stream::try_unfold(answer, |mut answer| async {
            Ok(answer.chunk().await.map_err(of_transport)?.map(|piece| (piece, answer)))
        });
        ObjectBytes::of(what, bytes, bytes_max, self.timeouts.exchange(0), pieces.boxed())
    }
}

/// Whether there is no such object. Of a bucket that isn't there, the status is the same.
pub(super) fn is_missing(failure: &Failure) -> bool {
    failure.status == Some(404) && !failure.detail().to_ascii_lowercase().contains("bucket does not exist")
}

//! The files that Pixerve serves itself where many nodes have no directory in common: below `serve/` of their bucket. Any
//! node writes them, and any serves them.

mod read;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

pub use self::read::{ByteRange, GetCondition, ObjectVersion, OpenedObject, ServedObject};
use super::direct_serve::{LOCATION_BASE, is_plain_name, served_at};
use super::s3::S3;
use super::{
    Deletion, Failure, FileList, FoundFile, Object, ObjectBytes, ProbeOutcome, WriteError, WriteErrorKind,
    WriterBackend, serve_prefix,
};
use crate::bucket::Bucket;
use crate::job::Stored;

/// Stores files below `serve/` of our bucket, and finds them there. Clones share their connections.
#[derive(Clone, Debug)]
pub struct BucketServe {
    s3: S3,
}

impl BucketServe {
    /// Those of this bucket, by its client.
    #[must_use]
    pub fn new(bucket: &Bucket) -> Self {
        Self { s3: S3 { bucket: bucket.s3.clone(), prefix: serve_prefix(&bucket.prefix) } }
    }

    /// The key of what is at `location`; `verb` is attempted.
    fn key_of(&self, location: &str, verb: &str) -> Result<String, WriteError> {
        let elsewhere = || Failure::elsewhere(location).on(format!("{verb} a file below `serve/` of the bucket"));
        let (sub_dir, name) = served_at(location).ok_or_else(elsewhere)?;
        Ok(self.s3.prefix.join(&sub_dir.join(name)))
    }
}

#[async_trait]
impl WriterBackend for BucketServe {
    fn name(&self) -> &'static str {
        "directHost"
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        self.put_until(object, &CancellationToken::new()).await
    }

    async fn put_until(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        let path = object.sub_dir.join(&object.name);
        if !is_plain_name(&object.name) {
            let detail = "the name is not one of [A-Za-z0-9._-] that starts without a dot";
            return Err(Failure::permanent(detail).on(format!("write `{path}` below `serve/` of the bucket")));
        }
        self.s3.put_until(object, stop).await.map_err(never_final)?;
        Ok(Stored { backend: self.name().to_owned(), location: format!("{LOCATION_BASE}{path}") })
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        self.s3.delete_key(&self.key_of(location, "delete")?).await.map_err(never_final)
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let key = self.key_of(location, "get")?;
        // One that is larger stays so.
        self.s3.get_key(&key, bytes_max).await.map_err(|error| match error.kind {
            WriteErrorKind::Invalid => error,
            _ => never_final(error),
        })
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        Ok(self.s3.listed(LOCATION_BASE.to_owned()).map_err(never_final).boxed())
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        let key = self.key_of(location, "look for")?;
        self.s3.look_at(&key, location).await.map_err(never_final)
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        self.s3.probe().await.map_err(never_final)
    }
}

/// The bucket is the operator's: whatever it refuses, and for whatever reason, no job is to blame, and it may be mended.
fn never_final(mut error: WriteError) -> WriteError {
    error.kind = match error.kind {
        WriteErrorKind::Refused | WriteErrorKind::Invalid => WriteErrorKind::Unavailable,
        kind @ (WriteErrorKind::Unavailable
        | WriteErrorKind::Missing
        | WriteErrorKind::Shortage
        | WriteErrorKind::SourceDamaged
        | WriteErrorKind::Cancelled) => kind,
    };
    error
}

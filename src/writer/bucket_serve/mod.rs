//! The files that Pixerve serves itself where many nodes have no directory in common: below `serve/` of their bucket, private ones
//! below `private/`. Any node writes them, and any serves them.

mod read;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

pub use self::read::{ByteRange, GetCondition, ObjectVersion, OpenedObject, ServedObject};
use super::s3::S3;
use super::{
    Deletion, Failure, FileList, FoundFile, KeyPrefix, Object, ObjectBytes, ProbeOutcome, WriteError, WriteErrorKind,
    WriterBackend, private_prefix, serve_prefix,
};
use crate::bucket::Bucket;
use crate::job::{ServedArea, ServedPath, Stored, is_plain_name};

/// What is stored beside a private file: should somebody show the bucket to others after all, no cache keeps it for them.
const PRIVATE_CACHE_CONTROL: &str = "private, no-store";

/// Stores files below `serve/` and `private/` of our bucket, and finds them there. Clones share their connections.
#[derive(Clone, Debug)]
pub struct BucketServe {
    s3: S3,
    private: KeyPrefix,
}

impl BucketServe {
    /// Those of this bucket, by its client.
    #[must_use]
    pub fn new(bucket: &Bucket) -> Self {
        let s3 = S3 {
            bucket: bucket.s3.clone(),
            prefix: serve_prefix(&bucket.prefix),
            public_url: None,
            cache_control: None,
        };
        Self { s3, private: private_prefix(&bucket.prefix) }
    }

    /// The key of the file at `path`.
    fn key(&self, path: &ServedPath) -> String {
        let prefix = if path.area.is_private() { &self.private } else { &self.s3.prefix };
        prefix.join(&path.below_root())
    }

    /// The key of what is at `location`; `verb` is attempted.
    fn key_of(&self, location: &str, verb: &str) -> Result<String, WriteError> {
        let elsewhere = || Failure::elsewhere(location).on(format!("{verb} a served file in the bucket"));
        Ok(self.key(&ServedPath::parse(location).ok_or_else(elsewhere)?))
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
        let path = object.served_path();
        if !is_plain_name(&object.name) {
            let detail = "the name is not one of [A-Za-z0-9._-] that starts without a dot";
            return Err(Failure::permanent(detail).on(format!("write `{path}` in the bucket")));
        }
        let cache_control = match path.area {
            ServedArea::Private(_) => Some(PRIVATE_CACHE_CONTROL),
            ServedArea::Public => object.cache_control(None),
        };
        self.s3.put_key(&self.key(&path), object, cache_control, stop).await.map_err(never_final)?;
        Ok(Stored::at(self.name(), path.to_string()))
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
        let private = S3 { prefix: self.private.clone(), ..self.s3.clone() };
        let areas = [(self.s3.clone(), ServedArea::PUBLIC), (private, ServedArea::PRIVATE)];
        let listed = areas.map(|(s3, base)| s3.listed(base.to_owned()));
        Ok(stream::iter(listed).flatten().map_err(never_final).boxed())
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

//! The files that Pixerve serves itself where many nodes have no directory in common: below `serve/` of their bucket. Any
//! node writes them, and any serves them.

mod read;

use async_trait::async_trait;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

pub use self::read::{ByteRange, GetCondition, ObjectVersion, OpenedObject, ServedObject};
use super::direct_serve::is_plain_name;
use super::s3::S3;
use super::{Failure, Object, ProbeOutcome, WriteError, WriteErrorKind, WriterBackend, serve_prefix};
use crate::bucket::s3::{S3Bucket, S3Connection};
use crate::bucket::{BucketError, BucketSettings, StoreTimeouts};
use crate::job::Stored;

/// Stores files below `serve/` of our bucket, and finds them there. Clones share their connections.
#[derive(Clone)]
pub struct BucketServe {
    s3: S3,
}

impl BucketServe {
    /// A client for the bucket that `settings` name. Nothing is sent yet.
    ///
    /// # Errors
    /// If they name none, or lack credentials, or it is to speak TLS and there is no certificate to know the store by.
    pub fn connect(settings: &BucketSettings, timeouts: &StoreTimeouts) -> Result<Self, BucketError> {
        let unusable = |detail: &str| {
            let what = "set up a client for the served files in the bucket of `spool.url`".to_owned();
            BucketError::Other { what, detail: detail.to_owned() }
        };
        let url = settings.url.as_ref().ok_or_else(|| unusable("it is not set"))?;
        let (Some(id), Some(secret)) = (&settings.access_key_id, &settings.secret_access_key) else {
            return Err(unusable("`spool.access_key_id` and `spool.secret_access_key` are not set"));
        };
        let credentials = Credentials::new(id.clone(), secret.expose_secret(), None, None, "pixerve serve");
        let connection = S3Connection {
            bucket: &url.bucket,
            region: &settings.region,
            endpoint: settings.endpoint.as_ref(),
            is_path_style: settings.is_path_style(),
            credentials: SharedCredentialsProvider::new(credentials),
        };
        let bucket = S3Bucket::connect(connection, timeouts)
            .map_err(|(what, detail)| BucketError::Other { what, detail: detail.to_owned() })?;
        Ok(Self { s3: S3 { bucket, prefix: serve_prefix(&url.prefix) } })
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
        Ok(Stored { backend: self.name().to_owned(), location: format!("/files/{path}") })
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
        | WriteErrorKind::Shortage
        | WriteErrorKind::SourceDamaged
        | WriteErrorKind::Cancelled) => kind,
    };
    error
}

impl std::fmt::Debug for BucketServe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketServe").field("prefix", &self.s3.prefix).finish_non_exhaustive()
    }
}

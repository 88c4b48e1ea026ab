//! The client: a bucket as it is registered.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::S3Settings;
use crate::bucket::s3::{ObjectBody, PutContext, RequestFailure, S3Bucket, S3Connection, Signer, SourceFile};
use crate::job::{ContentHash, Stored};
use crate::writer::settings::PublicBase;
use crate::writer::{
    Body, Deletion, Failure, FileList, FoundFile, KeyPrefix, Object, ObjectBytes, ProbeOutcome, StoreTimeouts,
    WriteError, WriteErrorKind, WriterBackend, probe,
};

/// A bucket.
#[derive(Clone, Debug)]
pub(in crate::writer) struct S3 {
    pub(in crate::writer) bucket: S3Bucket,
    pub(in crate::writer) prefix: KeyPrefix,
    pub(in crate::writer) public_url: Option<PublicBase>,
    /// What is stored beside objects that may be written again.
    pub(in crate::writer) cache_control: Option<String>,
}

impl S3 {
    /// A client for the bucket. Nothing is sent yet. What is registered is all there is: nothing is taken from the
    /// environment.
    ///
    /// # Errors
    /// If it is to speak TLS, and there is no certificate to know the store by.
    pub(super) fn connect(settings: &S3Settings, timeouts: &StoreTimeouts) -> Result<Self, WriteError> {
        let connection = S3Connection {
            bucket: &settings.bucket,
            endpoint: settings.endpoint.as_ref(),
            is_path_style: settings.is_path_style(),
            signer: Signer::with_keys(&settings.access_key_id, &settings.secret_access_key, &settings.region),
        };
        let bucket = S3Bucket::connect(connection, timeouts).map_err(|(what, why)| Failure::transient(why).on(what))?;
        Ok(Self {
            bucket,
            prefix: settings.prefix.clone(),
            public_url: settings.public_url.clone(),
            cache_control: settings.cache_control.clone(),
        })
    }

    /// Puts the object at `key`.
    pub(in crate::writer) async fn put_key(
        &self,
        key: &str,
        object: &Object,
        cache_control: Option<&str>,
        stop: &CancellationToken,
    ) -> Result<(), WriteError> {
        let context = PutContext { media_type: object.media_type, cache_control, trace: object.trace.as_ref(), stop };
        let put = self.bucket.put(key, body_of(object), context).await;
        put.map_err(|failure| Failure::from(failure).on(self.bucket.what("put", key)))
    }
}

#[async_trait]
impl WriterBackend for S3 {
    fn name(&self) -> &'static str {
        "s3"
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        self.put_until(object, &CancellationToken::new()).await
    }

    /// The parts of an upload that is cancelled are not left for the owner of the bucket to pay for.
    async fn put_until(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        let key = object.key(&self.prefix);
        self.put_key(&key, object, object.cache_control(self.cache_control.as_deref()), stop).await?;
        let url = self.public_url.as_ref().map(|base| base.url_of(&key));
        Ok(Stored { url, ..Stored::at(self.name(), format!("s3://{}/{key}", self.bucket.bucket)) })
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        self.delete_key(self.key_of(location)?).await
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        self.get_key(self.key_of(location)?, bytes_max).await
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        let base = format!("s3://{}/{}", self.bucket.bucket, self.prefix.join(""));
        Ok(self.listed(base).boxed())
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        self.look_at(self.key_of(location)?, location).await
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        let key = self.prefix.join(&format!("pixerve-probe-{}", Uuid::new_v4().simple()));
        let bytes = Bytes::from_static(b"Written by Pixerve to test a registration.\n");
        let stop = CancellationToken::new();
        let context = PutContext { media_type: "text/plain", cache_control: None, trace: None, stop: &stop };
        let write = async { Ok(self.bucket.put(&key, ObjectBody::in_memory(bytes), context).await?) };
        let delete = || async { Ok(self.bucket.delete(&key).await?) }.boxed();
        probe::write_and_delete(write, delete, |verb| self.bucket.what(verb, &key)).await
    }
}

fn body_of(object: &Object) -> ObjectBody {
    let sha256: ContentHash = object.sha256;
    match &object.body {
        Body::Bytes(bytes) => ObjectBody { head: bytes.clone(), file: None, sha256: Some(sha256) },
        Body::File { path, bytes } => {
            let file = SourceFile { path: path.clone(), bytes: *bytes, sha256 };
            ObjectBody { head: Bytes::new(), file: Some(file), sha256: Some(sha256) }
        }
    }
}

impl From<RequestFailure> for Failure {
    fn from(failure: RequestFailure) -> Self {
        match failure {
            RequestFailure::Answered { status, words, may_pass, .. } => {
                let mut failure = Self::of_status(status, &words);
                if may_pass {
                    failure.kind = WriteErrorKind::Unavailable;
                }
                failure
            }
            RequestFailure::Unanswered(detail) => Self::transient(detail),
            RequestFailure::Source(error) => Self::of_source(&error),
            RequestFailure::Cancelled => Self::cancelled(),
            RequestFailure::Invalid(detail) => Self::permanent(detail),
        }
    }
}

//! Objects too large to be sent at once.

use std::time::Duration;

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tokio_util::sync::CancellationToken;

use super::trace::TellTrace;
use super::{PayloadReader, PutContext, RequestFailure, S3Bucket, SignWith, confirm, named, within};
use crate::job::TraceContext;

/// S3 wants at least 5 MiB a part, and at most 10,000 of them.
const PART_BYTES: u64 = 8 * 1024 * 1024;

/// How long each of two things may take once the write is cancelled: learning the id of an upload that is just being
/// begun, and aborting it. A store that needs longer keeps the parts.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(2);

/// An upload that the store has begun and will charge for until it is completed or aborted.
struct MultipartUpload<'a> {
    key: &'a str,
    trace: Option<&'a TraceContext>,
    id: String,
}

impl MultipartUpload<'_> {
    fn tell_trace(&self) -> TellTrace {
        TellTrace(self.trace.cloned())
    }
}

impl S3Bucket {
    pub(super) async fn put_in_parts(
        &self,
        key: &str,
        size: u64,
        reader: PayloadReader,
        context: PutContext<'_>,
    ) -> Result<(), RequestFailure> {
        let stop = context.stop;
        // Aborting takes the id, so the beginning is not cancelled at once.
        let upload = tokio::select! {
            begun = self.begin(key, context) => begun?,
            () = after(stop, CLEANUP_TIMEOUT) => return Err(RequestFailure::Cancelled),
        };
        let sending = async {
            let parts = self.send_parts(&upload, reader).await?;
            self.complete(&upload, parts, size).await
        };
        let result = stop.run_until_cancelled(sending).await.unwrap_or(Err(RequestFailure::Cancelled));
        if result.is_err() {
            tokio::select! {
                () = self.abort(&upload) => {}
                () = after(stop, CLEANUP_TIMEOUT) => {
                    let what = self.what("abort the upload of", key);
                    tracing::warn!(what, "multipart upload was not aborted in time; the store may keep its parts");
                }
            }
        }
        result
    }

    async fn begin<'a>(&self, key: &'a str, context: PutContext<'a>) -> Result<MultipartUpload<'a>, RequestFailure> {
        let trace = context.trace;
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key);
        let request = request.content_type(context.media_type);
        let request = request.set_cache_control(context.cache_control.map(str::to_owned));
        let request = request.customize().interceptor(TellTrace(trace.cloned()));
        let answer = within(self.timeouts.exchange(0), request.send()).await?;
        let id =
            answer.upload_id().ok_or_else(|| RequestFailure::transient("the store began an upload without an id"))?;
        Ok(MultipartUpload { key, trace, id: id.to_owned() })
    }

    /// Nothing is visible before the upload is completed, so a body that turns out wrong at its end does no harm.
    async fn send_parts(
        &self,
        upload: &MultipartUpload<'_>,
        mut reader: PayloadReader,
    ) -> Result<Vec<CompletedPart>, RequestFailure> {
        let mut parts = Vec::new();
        for number in 1.. {
            let (rest, payload) = reader.next(PART_BYTES).await?;
            if payload.bytes == 0 {
                break;
            }
            reader = rest;
            let (size, md5, sha256) = (payload.bytes, payload.md5, payload.sha256);
            let request = self.client.upload_part().bucket(&self.bucket).key(upload.key).upload_id(&upload.id);
            let request = request.part_number(number);
            let request = request.content_length(i64::try_from(size).unwrap_or(i64::MAX)).body(payload.stream().await?);
            let request = request.customize().interceptor(SignWith(sha256)).interceptor(upload.tell_trace());
            let answer = within(self.timeouts.exchange(size), request.send()).await?;
            let is_opaque = self.has_opaque_etags(answer.ssekms_key_id(), answer.sse_customer_algorithm());
            confirm(answer.e_tag(), &md5, is_opaque)?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
            parts.push(part.build());
        }
        Ok(parts)
    }

    async fn complete(
        &self,
        upload: &MultipartUpload<'_>,
        parts: Vec<CompletedPart>,
        size: u64,
    ) -> Result<(), RequestFailure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(upload.key);
        // The store may copy the parts together before it answers, hence time for all of it.
        let request = request.upload_id(&upload.id).multipart_upload(parts);
        let request = request.customize().interceptor(upload.tell_trace());
        let answer = within(self.timeouts.exchange(size), request.send()).await?;
        // Ceph leaves the ETag empty here, but says of which key it is.
        named(answer.e_tag().filter(|etag| !etag.is_empty()).or(answer.key())).map(drop)
    }

    async fn abort(&self, upload: &MultipartUpload<'_>) {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(upload.key).upload_id(&upload.id);
        let request = request.customize().interceptor(upload.tell_trace());
        if let Err(failure) = within(self.timeouts.exchange(0), request.send()).await {
            let what = self.what("abort the upload of", upload.key);
            tracing::warn!(
                error = format!("{what}: {}", failure.detail()),
                "multipart upload could not be aborted; the store may keep its parts"
            );
        }
    }
}

/// `grace` after `stop` has fired.
async fn after(stop: &CancellationToken, grace: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(grace).await;
}

//! Objects too large to be sent at once.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use md5::{Digest, Md5};

use super::request::within;
use super::{S3, confirm, in_memory};
use crate::writer::body::{BodyReader, next_chunk};
use crate::writer::{Failure, Object};

/// Each part is held in memory while it is sent. S3 wants at least 5 MiB and at most 10,000 of them.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// An upload that the store has begun and will charge for until it is completed or aborted.
struct Upload<'a> {
    key: &'a str,
    id: String,
}

impl S3 {
    pub(super) async fn put_in_parts(&self, key: &str, object: &Object, reader: BodyReader) -> Result<(), Failure> {
        let upload = self.begin(key, object.media_type).await?;
        let result = match self.send_parts(&upload, reader).await {
            Ok(parts) => self.complete(&upload, parts, object.body.len()).await,
            Err(failure) => Err(failure),
        };
        if result.is_err() {
            self.abort(&upload).await;
        }
        result
    }

    async fn begin<'a>(&self, key: &'a str, media_type: &str) -> Result<Upload<'a>, Failure> {
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(media_type);
        let answer = within(self.timeouts.exchange(0), request.send()).await?;
        let id = answer.upload_id().ok_or_else(|| Failure::passing("the store began an upload without an id"))?;
        Ok(Upload { key, id: id.to_owned() })
    }

    /// Nothing is visible before the upload is completed, so a body that turns out wrong at its end does no harm.
    async fn send_parts(&self, upload: &Upload<'_>, mut reader: BodyReader) -> Result<Vec<CompletedPart>, Failure> {
        let mut parts = Vec::new();
        for number in 1.. {
            let (rest, bytes) = next_chunk(reader, PART_BYTES).await?;
            if bytes.is_empty() {
                break;
            }
            reader = rest;
            let md5 = Md5::digest(&bytes);
            let size = bytes.len() as u64;
            let request = self.client.upload_part().bucket(&self.bucket).key(upload.key).upload_id(&upload.id);
            let answer =
                within(self.timeouts.exchange(size), request.part_number(number).body(in_memory(bytes)).send()).await?;
            let is_opaque = self.has_opaque_etags(answer.ssekms_key_id(), answer.sse_customer_algorithm());
            confirm(answer.e_tag(), &md5, is_opaque)?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag);
            parts.push(part.build());
        }
        Ok(parts)
    }

    async fn complete(&self, upload: &Upload<'_>, parts: Vec<CompletedPart>, size: u64) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(upload.key);
        // The store may copy the parts together before it answers, hence time for all of it.
        within(self.timeouts.exchange(size), request.upload_id(&upload.id).multipart_upload(parts).send()).await?;
        Ok(())
    }

    async fn abort(&self, upload: &Upload<'_>) {
        let request = self.client.abort_multipart_upload().bucket(&self.bucket).key(upload.key).upload_id(&upload.id);
        if let Err(failure) = within(self.timeouts.exchange(0), request.send()).await {
            let what = self.what("abort the upload of", upload.key);
            tracing::warn!(error = %failure.on(what), "the store keeps the parts of a failed upload");
        }
    }
}

//! One object in one request, streamed.

use bytes::Bytes;
use google_cloud_auth::errors::CredentialsError;
use google_cloud_storage::error::WriteError as ChecksumError;
use google_cloud_storage::streaming_source::{Seek, SizeHint, StreamingSource};
use opentelemetry::trace::FutureExt;

use super::{Gcs, Session};
use crate::error_chain::{ErrorChain, beneath};
use crate::telemetry::opentelemetry_context;
use crate::writer::body::{self, BodyReader, next_chunk};
use crate::writer::failure::off_the_runtime;
use crate::writer::{Failure, Object};

/// Bytes that are read and sent at a time.
const CHUNK_BYTES: usize = 256 * 1024;

impl Gcs {
    /// Sends the object with its CRC32C, so that the store makes it visible only if it got what was sent; the client
    /// holds the answer against it as well.
    ///
    /// Left to itself, the client would say the checksum in a third part, after the bytes. Google's servers know that;
    /// emulators pass over it, or take it for more bytes.
    pub(super) async fn upload_as(&self, session: &Session, key: &str, object: &Object) -> Result<(), Failure> {
        let crc32c = crc32c(body::open(object).await?).await?;
        self.send(session, key, object, crc32c).await
    }

    async fn send(&self, session: &Session, key: &str, object: &Object, crc32c: u32) -> Result<(), Failure> {
        let source = ObjectSource { object: object.clone(), reader: None };
        let request = session
            .storage
            .write_object(format!("projects/_/buckets/{}", self.bucket), key, source)
            .set_content_type(object.media_type)
            .with_known_crc32c(crc32c);
        let request = match object.cache_control(self.cache_control.as_deref()) {
            Some(cache_control) => request.set_cache_control(cache_control),
            None => request,
        };
        // Boxed, since the library's future is some 38 KiB and would make every caller's as large.
        // The library tells the store of the trace that is OpenTelemetry's current one.
        let answer = Box::pin(request.send_unbuffered()).with_context(opentelemetry_context(object.trace.as_ref()));
        self.within(object.body.len(), async { answer.await.map_err(|error| failure(&error)) }).await?;
        Ok(())
    }
}

async fn crc32c(mut reader: BodyReader) -> Result<u32, Failure> {
    off_the_runtime(move || {
        let mut crc = 0;
        loop {
            let chunk = reader.chunk(CHUNK_BYTES).map_err(|error| Failure::of_source(&error))?;
            if chunk.is_empty() {
                return Ok(crc);
            }
            crc = crc32c::crc32c_append(crc, &chunk);
        }
    })
    .await
}

/// An object's bytes as the client asks for them; those of a file are hashed once more while they are read.
struct ObjectSource {
    object: Object,
    reader: Option<BodyReader>,
}

/// The bytes could not be read, or are not the ones that were promised.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail())]
struct Unreadable(Failure);

impl StreamingSource for ObjectSource {
    type Error = Unreadable;

    async fn next(&mut self) -> Option<Result<Bytes, Unreadable>> {
        match next_chunk(self.reader.take()?, CHUNK_BYTES).await {
            Ok((_, chunk)) if chunk.is_empty() => None,
            Ok((rest, chunk)) => {
                self.reader = Some(rest);
                Some(Ok(chunk))
            }
            Err(failure) => Some(Err(Unreadable(failure))),
        }
    }

    async fn size_hint(&self) -> Result<SizeHint, Unreadable> {
        Ok(SizeHint::with_exact(self.object.body.len()))
    }
}

impl Seek for ObjectSource {
    type Error = Unreadable;

    /// Reads what it skips: the hash is one of all bytes.
    async fn seek(&mut self, offset: u64) -> Result<(), Unreadable> {
        let mut reader = body::open(&self.object).await.map_err(Unreadable)?;
        let mut left = offset;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let (rest, chunk) = next_chunk(reader, wanted).await.map_err(Unreadable)?;
            reader = rest;
            if chunk.is_empty() {
                break;
            }
            left -= chunk.len() as u64;
        }
        self.reader = Some(reader);
        Ok(())
    }
}

/// What the client's error means. Where no answer came, or none that makes sense, another try may help.
fn failure(error: &google_cloud_storage::Error) -> Failure {
    if let Some(Unreadable(failure)) = beneath(error) {
        return failure.clone();
    }
    if let Some(status) = error.http_status_code() {
        let said = error.status().map(|status| status.message.clone());
        let payload = error.http_payload().map_or(&[][..], |payload| payload);
        return Failure::of_status(status, &said.unwrap_or_else(|| super::words(payload)));
    }
    match (beneath::<CredentialsError>(error), beneath::<ChecksumError>(error)) {
        (Some(error), _) => super::of_credentials(error),
        (None, Some(error)) => Failure::transient(format!("the store has other bytes than were sent: {error}")),
        (None, None) => Failure::transient(ErrorChain(error).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::writer::WriteErrorKind;
    use crate::writer::body::object;
    use crate::writer::{Body, GcsSettings, KeyPrefix, StoreTimeouts};

    #[tokio::test]
    async fn bytes_that_change_while_they_are_sent_are_a_final_failure_in_its_own_words() {
        // Whoever connects is never read from, and need not be: the body fails at its first chunk.
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let settings = GcsSettings {
            bucket: "pics".to_owned(),
            credentials: None,
            endpoint: Some(endpoint.parse().expect("URL")),
            prefix: KeyPrefix::default(),
            public_url: None,
            cache_control: None,
        };
        let gcs = Gcs::connect(&settings, &StoreTimeouts::default()).expect("a client");
        let session = gcs.session().await.expect("a session");
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("original");
        std::fs::File::create(&path).and_then(|mut f| std::io::Write::write_all(&mut f, b"after")).expect("written");
        let object = object(Body::File { path, bytes: 5 }, b"before");
        let failure = gcs.send(&session, "x.jpg", &object, 0).await.expect_err("refused");
        assert!(
            failure.kind == WriteErrorKind::SourceDamaged
                && failure.detail().starts_with("the bytes at hand have the SHA-256"),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn a_source_goes_on_from_any_byte() {
        let bytes: &[u8] = b"0123456789";
        let mut source = ObjectSource { object: object(Body::Bytes(bytes.into()), bytes), reader: None };
        for offset in [0, 3, 10, 11] {
            source.seek(offset).await.expect("sought");
            let mut found = Vec::new();
            while let Some(chunk) = source.next().await {
                found.extend_from_slice(&chunk.expect("read"));
            }
            let from = usize::try_from(offset).expect("small").min(bytes.len());
            assert_eq!(found, &bytes[from..], "{offset}");
        }
    }
}

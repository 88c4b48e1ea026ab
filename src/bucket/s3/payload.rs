//! What one request carries: an object, or a part of one. A file is read twice, first to be hashed and then as the store
//! takes it, so that however many writes wait for a store, what they would send is not in memory.

use std::io::{self, BufReader, Read, Write};
use std::path::PathBuf;

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, Length};
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::error_chain::{ErrorChain, beneath};
use crate::job::{ContentHash, ContentHasher};
use crate::writer::body::{self, BodyReader};
use crate::writer::failure::off_the_runtime;
use crate::writer::{Body, Failure, Object, WriteErrorKind};

/// Bytes that are read from a file at a time to be hashed.
const HASHED_BYTES: usize = 256 * 1024;

/// Bytes for one request, and their hashes.
#[derive(Debug)]
pub(super) struct Payload {
    source: Source,
    /// How many there are.
    pub(super) bytes: u64,
    /// What the store's `ETag` is held against.
    pub(super) md5: [u8; 16],
    /// What the request is signed with, and the store holds against what arrives.
    pub(super) sha256: ContentHash,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File { path: PathBuf, offset: u64 },
}

impl Payload {
    /// Bytes in memory that have this hash.
    pub(super) fn in_memory(bytes: Bytes, sha256: ContentHash) -> Self {
        let md5 = Md5::digest(&bytes).into();
        Self { bytes: bytes.len() as u64, source: Source::Memory(bytes), md5, sha256 }
    }

    /// The bytes as the SDK sends them. Of a file no more is in memory than a buffer.
    pub(super) async fn stream(self) -> Result<ByteStream, Failure> {
        match self.source {
            Source::Memory(bytes) => Ok(bytes.into()),
            Source::File { path, offset } => {
                let file = ByteStream::read_from().path(path).offset(offset).length(Length::Exact(self.bytes));
                file.build().await.map_err(|error| unreadable(&error))
            }
        }
    }
}

fn unreadable(error: &ByteStreamError) -> Failure {
    match beneath::<io::Error>(error) {
        Some(error) => Failure::of_source(error),
        // It is shorter than it was.
        None => Failure::new(WriteErrorKind::SourceDamaged, ErrorChain(error).to_string()),
    }
}

/// Reads an object from front to back, a payload at a time.
pub(super) struct PayloadReader {
    object: Object,
    reader: BodyReader,
    offset: u64,
}

impl PayloadReader {
    pub(super) async fn open(object: &Object) -> Result<Self, Failure> {
        Ok(Self { object: object.clone(), reader: body::open(object).await?, offset: 0 })
    }

    /// The next `bytes_max` bytes, fewer only at the end, none after it; and the reader for those after them. A file whose
    /// end comes with them is the one that was promised, or this fails.
    pub(super) async fn next(mut self, bytes_max: u64) -> Result<(Self, Payload), Failure> {
        off_the_runtime(move || {
            let payload = self.read(bytes_max).map_err(|error| Failure::of_source(&error))?;
            self.offset += payload.bytes;
            Ok((self, payload))
        })
        .await
    }

    fn read(&mut self, bytes_max: u64) -> io::Result<Payload> {
        let offset = self.offset;
        // That of the whole is checked anyway.
        let known = (offset == 0 && self.object.body.len() <= bytes_max).then_some(self.object.sha256);
        match &self.object.body {
            Body::Bytes(_) => {
                let bytes = self.reader.chunk(usize::try_from(bytes_max).unwrap_or(usize::MAX))?;
                let sha256 = known.unwrap_or_else(|| ContentHash::of(&bytes));
                Ok(Payload::in_memory(bytes, sha256))
            }
            Body::File { path, .. } => {
                let mut hashes = Hashes { md5: Md5::new(), sha256: known.is_none().then(ContentHasher::default) };
                let mut range = BufReader::with_capacity(HASHED_BYTES, (&mut self.reader).take(bytes_max));
                let bytes = io::copy(&mut range, &mut hashes)?;
                let sha256 = hashes.sha256.map(ContentHasher::finish).or(known).unwrap_or(self.object.sha256);
                let source = Source::File { path: path.clone(), offset };
                Ok(Payload { source, bytes, md5: hashes.md5.finalize().into(), sha256 })
            }
        }
    }
}

/// Hashes what is written to it.
struct Hashes {
    md5: Md5,
    sha256: Option<ContentHasher>,
}

impl Write for Hashes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.md5.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::{S3, S3Settings};
    use super::*;
    use crate::writer::StoreTimeouts;
    use crate::writer::body::object;

    /// What sending `bytes` comes to if their file is changed once they are hashed.
    async fn sent_after(bytes: &[u8], change: impl FnOnce(&std::path::Path)) -> Failure {
        // Whoever connects is never read from, and need not be: the body fails at its first chunk.
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback port");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let settings: S3Settings = serde_json::from_value(serde_json::json!({
            "bucket": "pics", "region": "x", "access_key_id": "id", "secret_access_key": "secret", "endpoint": endpoint
        }))
        .expect("settings");
        let s3 = S3::connect(&settings, &StoreTimeouts::default()).expect("a client");
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("made");
        std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
        let body = Body::File { path: path.clone(), bytes: bytes.len() as u64 };
        let reader = PayloadReader::open(&object(body, bytes)).await.expect("opened");
        let (_, payload) = reader.next(u64::MAX).await.expect("hashed");
        let (body, sha256) = (payload.stream().await.expect("opened"), ContentHash::of(bytes));
        change(&path);
        let request = s3.client.put_object().bucket("pics").key("x.jpg").body(body).customize();
        let request = request.interceptor(super::super::signing::SignWith(sha256));
        super::super::request::within(std::time::Duration::from_mins(1), request.send()).await.expect_err("failed")
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_cut_when_it_is_to_be_sent_is_no_fault_of_the_store() {
        let gone = sent_after(b"bytes", |path| std::fs::remove_file(path).expect("removed")).await;
        let cut = sent_after(b"bytes", |path| drop(std::fs::File::create(path).expect("emptied"))).await;
        for failure in [gone, cut] {
            assert_eq!(failure.kind, WriteErrorKind::SourceDamaged, "{failure:?}");
        }
    }
}

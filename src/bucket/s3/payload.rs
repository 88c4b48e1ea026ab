//! What one request carries: an object, or a part of one. A file is read twice, first to be hashed and then as the store
//! takes it, so that however many writes wait for a store, what they would send is not in memory.

use std::io::{self, BufReader, Cursor, Read, SeekFrom, Write};
use std::path::PathBuf;

use aws_sdk_s3::primitives::{ByteStream, ByteStreamError, Length, SdkBody};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use md5::{Digest, Md5};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{RequestFailure, off_the_runtime};
use crate::bucket::CheckedFile;
use crate::error_chain::{ErrorChain, beneath};
use crate::job::{ContentHash, ContentHasher};

/// Bytes that are read from a file at a time, to be hashed or sent.
const BUFFER_BYTES: usize = 256 * 1024;

/// An object's bytes: some in memory, and those of a file behind them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectBody {
    /// What comes first.
    pub(crate) head: Bytes,
    /// What comes then.
    pub(crate) file: Option<SourceFile>,
    /// The SHA-256 of all of it, if that is known: it is believed.
    pub(crate) sha256: Option<ContentHash>,
}

/// A file, and what is promised of it: it is held to that as it is read.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// Of its bytes.
    pub(crate) sha256: ContentHash,
}

impl ObjectBody {
    /// Bytes in memory.
    pub(crate) fn in_memory(bytes: Bytes) -> Self {
        Self { head: bytes, ..Self::default() }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> u64 {
        self.head.len() as u64 + self.file.as_ref().map_or(0, |file| file.bytes)
    }
}

/// Bytes for one request, and their hashes.
#[derive(Debug)]
pub(crate) struct Payload {
    head: Bytes,
    file: Option<FileRange>,
    /// How many there are.
    pub(super) bytes: u64,
    /// What the store's `ETag` is held against.
    pub(super) md5: [u8; 16],
    /// What the request is signed with, and the store holds against what arrives.
    pub(super) sha256: ContentHash,
}

#[derive(Debug)]
struct FileRange {
    path: PathBuf,
    offset: u64,
    bytes: u64,
}

impl Payload {
    /// The bytes as the SDK sends them. Of a file no more is in memory than a buffer.
    pub(super) async fn stream(self) -> Result<ByteStream, RequestFailure> {
        let Some(FileRange { path, offset, bytes }) = self.file else { return Ok(self.head.into()) };
        if self.head.is_empty() {
            let file = ByteStream::read_from().path(path).offset(offset).length(Length::Exact(bytes));
            return file.build().await.map_err(|error| unreadable(&error));
        }
        let mut file = tokio::fs::File::open(path).await.map_err(RequestFailure::Source)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(RequestFailure::Source)?;
        let both = AsyncReadExt::chain(Cursor::new(self.head), file.take(bytes));
        let reader = ReaderStream::with_capacity(both, BUFFER_BYTES);
        Ok(ByteStream::new(SdkBody::from_body_1_x(StreamBody::new(reader.map_ok(Frame::data)))))
    }
}

fn unreadable(error: &ByteStreamError) -> RequestFailure {
    match beneath::<io::Error>(error) {
        Some(error) => RequestFailure::source(error),
        // It is shorter than it was.
        None => RequestFailure::Source(io::Error::new(io::ErrorKind::InvalidData, ErrorChain(error).to_string())),
    }
}

/// Reads an object from front to back, a payload at a time.
pub(crate) struct PayloadReader {
    body: ObjectBody,
    /// Where in the head.
    head_offset: usize,
    file: Option<CheckedFile>,
    /// Where in the file.
    file_offset: u64,
}

impl PayloadReader {
    pub(crate) async fn open(body: ObjectBody) -> Result<Self, RequestFailure> {
        off_the_runtime(move || {
            let open = |file: &SourceFile| CheckedFile::open(&file.path, file.bytes, file.sha256);
            let file = body.file.as_ref().map(open).transpose()?;
            Ok(Self { body, head_offset: 0, file, file_offset: 0 })
        })
        .await
    }

    /// The next `bytes_max` bytes, fewer only at the end, none after it; and the reader for those after them. A file whose
    /// end comes with them is the one that was promised, or this fails.
    pub(crate) async fn next(mut self, bytes_max: u64) -> Result<(Self, Payload), RequestFailure> {
        off_the_runtime(move || {
            let payload = self.read(bytes_max)?;
            Ok((self, payload))
        })
        .await
    }

    fn read(&mut self, bytes_max: u64) -> io::Result<Payload> {
        let is_first = self.head_offset == 0 && self.file_offset == 0;
        // That of a file is checked anyway.
        let known = self.body.sha256.filter(|_| is_first && self.body.len() <= bytes_max);
        let mut hashes = Hashes { md5: Md5::new(), sha256: known.is_none().then(ContentHasher::default) };
        let rest = self.body.head.slice(self.head_offset..);
        let head = rest.slice(..rest.len().min(usize::try_from(bytes_max).unwrap_or(usize::MAX)));
        hashes.write_all(&head)?;
        self.head_offset += head.len();
        let mut payload_file = None;
        if let (Some(reader), Some(source)) = (&mut self.file, &self.body.file) {
            let range = reader.take(bytes_max - head.len() as u64);
            let bytes = io::copy(&mut BufReader::with_capacity(BUFFER_BYTES, range), &mut hashes)?;
            let range = FileRange { path: source.path.clone(), offset: self.file_offset, bytes };
            payload_file = (bytes > 0).then_some(range);
            self.file_offset += bytes;
        }
        let bytes = head.len() as u64 + payload_file.as_ref().map_or(0, |file| file.bytes);
        let (md5, found) = hashes.finish();
        let sha256 = known.or(found).unwrap_or_else(|| ContentHash::of(&[]));
        Ok(Payload { head, file: payload_file, bytes, md5, sha256 })
    }
}

/// Hashes what is written to it.
struct Hashes {
    md5: Md5,
    sha256: Option<ContentHasher>,
}

impl Hashes {
    fn finish(self) -> ([u8; 16], Option<ContentHash>) {
        (self.md5.finalize().into(), self.sha256.map(ContentHasher::finish))
    }
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
    use std::path::Path;

    use secrecy::SecretString;
    use url::Url;

    use super::super::{S3Bucket, S3Connection, SignWith, Signer, within};
    use super::*;
    use crate::bucket::StoreTimeouts;

    fn bucket(endpoint: &str) -> S3Bucket {
        let endpoint = Url::parse(endpoint).expect("a URL");
        let signer = Signer::with_keys("id", &SecretString::from("secret"), "x");
        let connection = S3Connection { bucket: "pics", endpoint: Some(&endpoint), is_path_style: true, signer };
        S3Bucket::connect(connection, &StoreTimeouts::default()).expect("a client")
    }

    /// What sending `bytes` comes to if their file is changed once they are hashed.
    async fn sent_after(head: &'static [u8], bytes: &[u8], change: impl FnOnce(&Path)) -> RequestFailure {
        // Whoever connects is never read from, and need not be: the body fails at its first chunk.
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback port");
        let s3 = bucket(&format!("http://{}", listener.local_addr().expect("address")));
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("made");
        std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
        let file = SourceFile { path: path.clone(), bytes: bytes.len() as u64, sha256: ContentHash::of(bytes) };
        let body = ObjectBody { head: Bytes::from_static(head), file: Some(file), sha256: None };
        let length = i64::try_from(body.len()).expect("small");
        let reader = PayloadReader::open(body).await.expect("opened");
        let (_, payload) = reader.next(u64::MAX).await.expect("hashed");
        let sha256 = payload.sha256;
        let opened = payload.stream().await.expect("opened");
        change(&path);
        let request = s3.client.put_object().bucket("pics").key("x.jpg").content_length(length).body(opened);
        let request = request.customize().interceptor(SignWith(sha256));
        within(std::time::Duration::from_mins(1), request.send()).await.expect_err("failed")
    }

    #[tokio::test]
    async fn a_file_that_is_gone_or_cut_when_it_is_to_be_sent_is_no_fault_of_the_store() {
        let cut = |path: &Path| drop(std::fs::File::create(path).expect("emptied"));
        let failures = [
            sent_after(b"", b"bytes", |path| std::fs::remove_file(path).expect("removed")).await,
            sent_after(b"", b"bytes", cut).await,
            sent_after(b"head", b"bytes", cut).await,
        ];
        for failure in failures {
            assert!(matches!(failure, RequestFailure::Source(_)), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn payloads_add_up_to_the_object_wherever_they_are_cut() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("original");
        let (head, rest) = (b"0123456789".as_slice(), b"abcdefghij".as_slice());
        std::fs::File::create(&path).and_then(|mut file| file.write_all(rest)).expect("written");
        for size in [3, 10, 13, 20, 99] {
            let file = SourceFile { path: path.clone(), bytes: 10, sha256: ContentHash::of(rest) };
            let body = ObjectBody { head: Bytes::from_static(b"0123456789"), file: Some(file), sha256: None };
            let mut reader = PayloadReader::open(body).await.expect("opened");
            let mut found = Vec::new();
            loop {
                let (next, payload) = reader.next(size).await.expect("read");
                reader = next;
                if payload.bytes == 0 {
                    break;
                }
                let (bytes, sha256) = (payload.bytes, payload.sha256);
                let sent = payload.stream().await.expect("opened").collect().await.expect("read").to_vec();
                assert_eq!((sent.len() as u64, ContentHash::of(&sent)), (bytes, sha256));
                assert!(bytes <= size);
                found.extend(sent);
            }
            assert_eq!(found, [head, rest].concat(), "{size} bytes at once");
        }
    }
}

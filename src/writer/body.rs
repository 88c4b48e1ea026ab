//! An object's bytes, read once from front to back; those of a file only if they are the ones that were promised.

use std::io::{self, Read};

use bytes::Bytes;

use super::failure::off_the_runtime;
use super::{Body, Failure, Object};
use crate::bucket::CheckedFile;
#[cfg(test)]
use crate::job::ContentHash;

/// Reads an object's bytes. Blocks.
pub(super) enum BodyReader {
    /// Hashed where they were made; memory keeps them as they are.
    Memory(Bytes),
    File(CheckedFile),
}

impl BodyReader {
    /// A reader at the first byte of `object`.
    pub(super) fn open(object: &Object) -> io::Result<Self> {
        Ok(match &object.body {
            Body::Bytes(bytes) => Self::Memory(bytes.clone()),
            Body::File { path, bytes } => Self::File(CheckedFile::open(path, *bytes, object.sha256)?),
        })
    }

    /// The next `bytes_max` bytes, fewer only at the end, none after it.
    pub(super) fn chunk(&mut self, bytes_max: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.split_to(bytes_max.min(bytes.len()))),
            Self::File(file) => {
                let mut chunk = Vec::with_capacity(bytes_max.min(usize::try_from(file.left()).unwrap_or(usize::MAX)));
                file.take(bytes_max as u64).read_to_end(&mut chunk)?;
                Ok(chunk.into())
            }
        }
    }
}

/// A reader at the first byte of `object`.
pub(super) async fn open(object: &Object) -> Result<BodyReader, Failure> {
    let object = object.clone();
    off_the_runtime(move || BodyReader::open(&object).map_err(|error| Failure::of_source(&error))).await
}

/// The next `bytes_max` bytes of `reader`, and the reader for those after them.
pub(super) async fn next_chunk(mut reader: BodyReader, bytes_max: usize) -> Result<(BodyReader, Bytes), Failure> {
    off_the_runtime(move || {
        let chunk = reader.chunk(bytes_max).map_err(|error| Failure::of_source(&error))?;
        Ok((reader, chunk))
    })
    .await
}

/// A JPEG with this body, which is promised to be the bytes `of`.
#[cfg(test)]
pub(super) fn object(body: Body, of: &[u8]) -> Object {
    Object {
        area: crate::job::ServedArea::Public,
        sub_dir: crate::job::SubDir::default(),
        name: "x.jpg".to_owned(),
        media_type: "image/jpeg",
        sha256: ContentHash::of(of),
        body,
        trace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(object: &Object) -> io::Result<Vec<u8>> {
        let (mut reader, mut bytes) = (BodyReader::open(object)?, Vec::new());
        loop {
            match reader.chunk(4)? {
                chunk if chunk.is_empty() => return Ok(bytes),
                chunk => bytes.extend_from_slice(&chunk),
            }
        }
    }

    #[test]
    fn chunks_add_up_to_the_body() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let object = object(Body::Bytes(bytes.clone().into()), &bytes);
        let mut reader = BodyReader::open(&object).expect("opens");
        let mut found = Vec::new();
        for expected in [300, 300, 300, 100, 0] {
            let chunk = reader.chunk(300).expect("reads");
            assert_eq!(chunk.len(), expected);
            found.extend_from_slice(&chunk);
        }
        assert_eq!(found, bytes);
    }

    #[test]
    fn a_file_that_was_changed_cut_or_lost_is_not_passed_on() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("original");
        for content in [&b"0123456789"[..], b"0123", b"0123456789 and more", b""] {
            std::fs::File::create(&path).and_then(|mut f| io::Write::write_all(&mut f, content)).expect("written");
            let object = object(Body::File { path: path.clone(), bytes: 10 }, b"abcdefghij");
            assert_eq!(read(&object).expect_err("refused").kind(), io::ErrorKind::InvalidData, "{content:?}");
        }
        std::fs::remove_file(&path).expect("removed");
        let object = object(Body::File { path, bytes: 10 }, b"abcdefghij");
        assert_eq!(read(&object).expect_err("refused").kind(), io::ErrorKind::NotFound);
    }
}

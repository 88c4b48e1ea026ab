//! An upload while it arrives: whatever the spool, on this machine's disk.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{SpoolError, blocking, manifest_of};
use crate::durable::{BY_UMASK, FileError, NewFile, StagedDirectory};
use crate::job::{ContentHash, ContentHasher, JobRecord};

/// Bytes gathered before a thread is asked to hash and write them: few hops for a small file, little memory for a
/// large one.
const GATHER_BYTES: usize = 256 * 1024;

/// The file with an upload's bytes, in a directory of the job's own.
pub(super) const ORIGINAL: &str = "original";

/// What makes an upload that has arrived an accepted one.
#[async_trait]
pub(super) trait Accept: Debug + Send + Sync {
    /// When this returns, the original and its manifest survive whatever the spool does. If it fails, the spool has nothing
    /// of it, or may at least not be believed to.
    async fn accept(&self, upload: StagedUpload, manifest: Vec<u8>, record: &JobRecord) -> Result<(), SpoolError>;
}

/// An upload whose bytes are arriving. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct IncomingUpload {
    dir: IncomingDirectory,
    original: HashedFile,
    accept: Arc<dyn Accept>,
}

impl IncomingUpload {
    /// `incoming` is where it is until it is accepted. Blocks.
    pub(super) fn begin(incoming: PathBuf, accept: Arc<dyn Accept>) -> Result<Self, FileError> {
        let mut staged = StagedDirectory::create(incoming)?;
        let original = HashedFile::new(staged.create_file(ORIGINAL, BY_UMASK)?);
        Ok(Self { dir: IncomingDirectory::new(staged), original, accept })
    }

    /// Takes the next bytes in.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        self.original.write(chunk).await
    }

    /// All bytes are here: their hash and size. They are not yet on disk for good.
    pub async fn finish(self) -> Result<Received, SpoolError> {
        let Hashed { file, sha256, bytes } = self.original.finish().await?;
        Ok(Received { staged: StagedUpload { dir: self.dir, file }, accept: self.accept, sha256, bytes })
    }
}

/// An upload whose bytes are all here, but which is not accepted yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Received {
    staged: StagedUpload,
    accept: Arc<dyn Accept>,
    /// The SHA-256 of the bytes.
    pub sha256: ContentHash,
    /// How many there are.
    pub bytes: u64,
}

impl Received {
    /// Where the bytes are until then.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.staged.file.path().to_owned()
    }

    /// Accepts the upload: when this returns, the original and its manifest are safe. If it fails, the spool has nothing of
    /// it, unless it was a bucket that didn't answer.
    pub async fn accept(self, record: &JobRecord) -> Result<(), SpoolError> {
        let manifest = manifest_of(record, self.staged.file.path())?;
        self.accept.accept(self.staged, manifest, record).await
    }
}

/// The file of an upload, in a directory of its own.
#[derive(Debug)]
pub(super) struct StagedUpload {
    dir: IncomingDirectory,
    pub(super) file: NewFile,
}

impl StagedUpload {
    /// The directory, for whoever makes it a part of the spool.
    pub(super) fn take_directory(&mut self) -> StagedDirectory {
        self.dir.0.take().expect("INVARIANT: only who accepts the upload takes it, once")
    }
}

/// A directory that is removed when this is dropped, by a thread that may wait for the disk.
#[derive(Debug)]
pub(super) struct IncomingDirectory(Option<StagedDirectory>);

impl IncomingDirectory {
    pub(super) fn new(staged: StagedDirectory) -> Self {
        Self(Some(staged))
    }
}

impl Drop for IncomingDirectory {
    fn drop(&mut self) {
        let Some(staged) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(staged))),
            Err(_) => drop(staged),
        }
    }
}

/// A file that is hashed while it is written.
#[derive(Debug)]
pub(super) struct HashedFile {
    /// Away while it is written to.
    file: Option<(NewFile, ContentHasher)>,
    bytes: u64,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
}

/// What a file came to.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) file: NewFile,
    pub(super) sha256: ContentHash,
    pub(super) bytes: u64,
}

impl HashedFile {
    pub(super) fn new(file: NewFile) -> Self {
        Self { file: Some((file, ContentHasher::default())), bytes: 0, gathered: Vec::new(), gathered_bytes: 0 }
    }

    pub(super) async fn write(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        self.bytes += chunk.len() as u64;
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_bytes >= GATHER_BYTES { self.flush().await } else { Ok(()) }
    }

    pub(super) async fn finish(mut self) -> Result<Hashed, SpoolError> {
        self.flush().await?;
        let (file, hasher) =
            self.file.expect("INVARIANT: the file is only away while flush holds it, and flush gave it back");
        Ok(Hashed { file, sha256: hasher.finish(), bytes: self.bytes })
    }

    async fn flush(&mut self) -> Result<(), SpoolError> {
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let (mut file, mut hasher) =
            self.file.take().expect("INVARIANT: one flush at a time, by &mut self; a failed one ends the file");
        let written = blocking(move || {
            for chunk in &chunks {
                hasher.update(chunk);
                file.write_all(chunk)?;
            }
            Ok((file, hasher))
        });
        self.file = Some(written.await?);
        Ok(())
    }
}

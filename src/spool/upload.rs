//! An upload while it arrives.

use std::path::PathBuf;

use bytes::Bytes;

use super::{MANIFEST, ORIGINAL, SpoolError, blocking};
use crate::durable::{BY_UMASK, FileError, NewFile, StagedDirectory};
use crate::failpoint::{Step, reached};
use crate::job::{ContentHash, ContentHasher, JobRecord};

/// Bytes gathered before a thread is asked to hash and write them: few hops for a small file, little memory for a
/// large one.
const GATHER_BYTES: usize = 256 * 1024;

/// An upload whose bytes are arriving. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct IncomingUpload {
    dir: IncomingDirectory,
    original: Option<HashedFile>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
}

impl IncomingUpload {
    /// `incoming` is where it is until it is accepted, `entry` where it goes then.
    pub(super) fn begin(incoming: PathBuf, entry: PathBuf) -> Result<Self, FileError> {
        let mut staged = StagedDirectory::create(incoming)?;
        let file = staged.create_file(ORIGINAL, BY_UMASK)?;
        reached(Step::UploadBegun);
        let original = HashedFile { file, hasher: ContentHasher::default(), bytes: 0 };
        let dir = IncomingDirectory { staged: Some(staged), entry };
        Ok(Self { dir, original: Some(original), gathered: Vec::new(), gathered_bytes: 0 })
    }

    /// Takes the next bytes in.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), SpoolError> {
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_bytes >= GATHER_BYTES { self.flush().await } else { Ok(()) }
    }

    /// All bytes are here: their hash and size. They are not yet on disk for good.
    pub async fn finish(mut self) -> Result<Received, SpoolError> {
        self.flush().await?;
        let HashedFile { file, hasher, bytes } = self
            .original
            .take()
            .expect("INVARIANT: the file is only away while flush holds it, and flush gave it back");
        Ok(Received { dir: self.dir, file, sha256: hasher.finish(), bytes })
    }

    async fn flush(&mut self) -> Result<(), SpoolError> {
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let mut original =
            self.original.take().expect("INVARIANT: one flush at a time, by &mut self; a failed one ends the upload");
        self.original = Some(
            blocking(move || {
                for chunk in &chunks {
                    original.write(chunk)?;
                }
                Ok(original)
            })
            .await?,
        );
        Ok(())
    }
}

#[derive(Debug)]
struct HashedFile {
    file: NewFile,
    hasher: ContentHasher,
    bytes: u64,
}

impl HashedFile {
    fn write(&mut self, chunk: &[u8]) -> Result<(), FileError> {
        self.hasher.update(chunk);
        self.file.write_all(chunk)?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

/// An upload whose bytes are all here, but which is not accepted yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Received {
    dir: IncomingDirectory,
    file: NewFile,
    /// The SHA-256 of the bytes.
    pub sha256: ContentHash,
    /// How many there are.
    pub bytes: u64,
}

impl Received {
    /// Where the bytes are until then.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// Accepts the upload: when this returns, the original and its manifest survive a loss of power. If it fails, the
    /// spool has nothing of it.
    pub async fn accept(self, record: &JobRecord) -> Result<(), SpoolError> {
        let manifest = serde_json::to_vec(record)
            .map_err(|error| FileError::new("write the manifest beside", self.file.path(), error.into()))?;
        blocking(move || self.publish(&manifest)).await
    }

    fn publish(mut self, manifest: &[u8]) -> Result<(), FileError> {
        let mut staged = self.dir.staged.take().expect("INVARIANT: only this takes it, once");
        reached(Step::UploadBeforeOriginalFsync);
        let original = self.file.sync()?;
        reached(Step::UploadAfterOriginalFsync);
        let mut file = staged.create_file(MANIFEST, BY_UMASK)?;
        file.write_all(manifest)?;
        let manifest = file.sync()?;
        reached(Step::UploadAfterManifestFsync);
        let synced = staged.sync(&[original, manifest])?;
        reached(Step::UploadBeforeRename);
        synced.publish(&self.dir.entry, || reached(Step::UploadAfterRename))
    }
}

/// Where an upload is until it is accepted, and where it goes then.
#[derive(Debug)]
struct IncomingDirectory {
    staged: Option<StagedDirectory>,
    entry: PathBuf,
}

impl Drop for IncomingDirectory {
    fn drop(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        // Removing waits for the disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(staged))),
            Err(_) => drop(staged),
        }
    }
}

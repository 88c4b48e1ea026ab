//! An upload on its way in.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{IoContext, MANIFEST, ORIGINAL, SpoolError, blocking, delete, sync_dir};
use crate::failpoint::{Step, reached};
use crate::job::{ContentHash, ContentHasher, JobRecord};

/// Bytes gathered before a thread is asked to hash and write them: few hops for a small file, little memory for a
/// large one.
const GATHER_BYTES: usize = 256 * 1024;

/// An upload whose bytes are arriving. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Upload {
    dir: Incoming,
    open: Option<OpenFile>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
}

impl Upload {
    pub(super) fn begin(dir: PathBuf, target: PathBuf, jobs: PathBuf) -> Result<Self, SpoolError> {
        fs::create_dir(&dir).context("make", &dir)?;
        let dir = Incoming { dir, target, jobs, accepted: false };
        let path = dir.original();
        let file = File::create_new(&path).context("create", &path)?;
        reached(Step::UploadBegun);
        let open = OpenFile { file, path, hasher: ContentHasher::default(), bytes: 0 };
        Ok(Self { dir, open: Some(open), gathered: Vec::new(), gathered_bytes: 0 })
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
        let OpenFile { file, hasher, bytes, .. } =
            self.open.take().expect("INVARIANT: the file is only away while flush holds it, and flush gave it back");
        Ok(Received { dir: self.dir, file, sha256: hasher.finish(), bytes })
    }

    async fn flush(&mut self) -> Result<(), SpoolError> {
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        let mut open =
            self.open.take().expect("INVARIANT: one flush at a time, by &mut self; a failed one ends the upload");
        self.open = Some(
            blocking(move || {
                for chunk in &chunks {
                    open.take(chunk)?;
                }
                Ok(open)
            })
            .await?,
        );
        Ok(())
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    path: PathBuf,
    hasher: ContentHasher,
    bytes: u64,
}

impl OpenFile {
    fn take(&mut self, chunk: &[u8]) -> Result<(), SpoolError> {
        self.hasher.update(chunk);
        self.file.write_all(chunk).context("write", &self.path)?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

/// An upload whose bytes are all here, but which is not accepted yet. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Received {
    dir: Incoming,
    file: File,
    /// The SHA-256 of the bytes.
    pub sha256: ContentHash,
    /// How many there are.
    pub bytes: u64,
}

impl Received {
    /// Where the bytes are until then.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.original()
    }

    /// Accepts the upload: when this returns, the original and its manifest survive a loss of power.
    pub async fn accept(self, record: &JobRecord) -> Result<(), SpoolError> {
        let manifest = serde_json::to_vec(record)
            .map_err(|error| SpoolError::new("write", &self.dir.dir.join(MANIFEST), error.into()))?;
        blocking(move || self.publish(&manifest)).await
    }

    fn publish(mut self, manifest: &[u8]) -> Result<(), SpoolError> {
        let original = self.dir.original();
        reached(Step::UploadBeforeOriginalFsync);
        self.file.sync_all().context("fsync", &original)?;
        reached(Step::UploadAfterOriginalFsync);
        write_synced(&self.dir.dir.join(MANIFEST), manifest)?;
        reached(Step::UploadAfterManifestFsync);
        sync_dir(&self.dir.dir)?;
        reached(Step::UploadBeforeRename);
        fs::rename(&self.dir.dir, &self.dir.target).context("accept", &self.dir.target)?;
        reached(Step::UploadAfterRename);
        // From here on it is visible: if the last fsync fails it must go again, since the client is told no.
        match sync_dir(&self.dir.jobs) {
            Ok(()) => self.dir.accepted = true,
            Err(error) => {
                self.dir.dir = self.dir.target.clone();
                return Err(error);
            }
        }
        Ok(())
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), SpoolError> {
    let mut file = File::create_new(path).context("create", path)?;
    file.write_all(bytes).context("write", path)?;
    file.sync_all().context("fsync", path)
}

/// A directory that goes away unless it was accepted.
#[derive(Debug)]
struct Incoming {
    dir: PathBuf,
    target: PathBuf,
    jobs: PathBuf,
    accepted: bool,
}

impl Incoming {
    fn original(&self) -> PathBuf {
        self.dir.join(ORIGINAL)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.accepted {
            return;
        }
        let dir = std::mem::take(&mut self.dir);
        let delete = move || {
            if let Err(error) = delete(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "a refused upload could not be deleted; the next start will");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(delete)),
            Err(_) => delete(),
        }
    }
}

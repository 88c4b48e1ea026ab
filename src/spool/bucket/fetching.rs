//! The originals that attempts of this node work on.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::format::{self, Parsed};
use super::scratch::Scratch;
use super::{SPOOL, key};
use crate::bucket::{Bucket, ObjectReader};
use crate::durable::{BY_UMASK, StagedDirectory};
use crate::job::{ContentHash, JobId, JobRecord, Original};
use crate::spool::error::Cause;
use crate::spool::upload::{Hashed, HashedFile, IncomingDirectory, ORIGINAL};
use crate::spool::{SpoolError, blocking};

/// An original that is fetched, or being fetched by whoever holds the lock.
type Slot = Arc<AsyncMutex<Option<Fetched>>>;

/// One for each job, however many ask for it at once.
#[derive(Debug, Default)]
pub(super) struct FetchedOriginals(Mutex<HashMap<JobId, Slot>>);

/// It is removed when this is dropped. Whoever has opened it reads on.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    _dir: IncomingDirectory,
}

impl FetchedOriginals {
    /// The file, fetched and held to its hash unless it is there already.
    pub(super) async fn get(
        &self,
        record: &JobRecord,
        bucket: &Bucket,
        scratch: &Scratch,
    ) -> Result<PathBuf, SpoolError> {
        let slot = Arc::clone(self.0.lock().entry(record.id).or_default());
        let mut slot = slot.lock().await;
        if let Some(fetched) = &*slot {
            return Ok(fetched.path.clone());
        }
        let (id, original) = (record.id, &record.original);
        let fetched = fetch(id, original, bucket, &key(SPOOL, id), scratch.for_fetching()).await?;
        Ok(slot.insert(fetched).path.clone())
    }

    /// Lets go of it.
    pub(super) fn release(&self, id: JobId) {
        drop(self.0.lock().remove(&id));
    }
}

/// Fetches the original of job `id` in this object, which is to be what was accepted, into a directory of its own.
pub(super) async fn fetch(
    id: JobId,
    original: &Original,
    bucket: &Bucket,
    from: &str,
    to: PathBuf,
) -> Result<Fetched, SpoolError> {
    let reader = bucket.open(from).await.map_err(Cause::Bucket)?;
    let begin = move || {
        let mut staged = StagedDirectory::create(to)?;
        let file = staged.create_file(ORIGINAL, BY_UMASK)?;
        Ok((IncomingDirectory::new(staged), HashedFile::new(file)))
    };
    let (dir, file) = blocking(begin).await.map_err(SpoolError::of_scratch)?;
    let Hashed { file, sha256, bytes } = copy_original(reader, id, file).await?;
    hold_to(id, original, sha256, bytes)?;
    Ok(Fetched { path: file.path().to_owned(), _dir: dir })
}

/// Writes what comes behind the manifest into `file`.
async fn copy_original(mut reader: ObjectReader, id: JobId, mut file: HashedFile) -> Result<Hashed, SpoolError> {
    let mut head = Some(BytesMut::new());
    while let Some(mut chunk) = reader.chunk().await.map_err(Cause::Bucket)? {
        if let Some(gathered) = &mut head {
            gathered.extend_from_slice(&chunk);
            match format::parse(gathered) {
                Parsed::Needs(_) => continue,
                Parsed::Bad(why) => return Err(damaged(id, why)),
                Parsed::Whole(found) => {
                    let at = found.bytes;
                    chunk = head.take().unwrap_or_default().split_off(at).freeze();
                }
            }
        }
        file.write(chunk).await.map_err(SpoolError::of_scratch)?;
    }
    if head.is_some() {
        return Err(damaged(id, "it is cut before its original begins".to_owned()));
    }
    file.finish().await.map_err(SpoolError::of_scratch)
}

/// What was fetched is what was accepted, or nobody gets to see it.
fn hold_to(id: JobId, original: &Original, sha256: ContentHash, bytes: u64) -> Result<(), SpoolError> {
    if (bytes, sha256) == (original.bytes, original.sha256) {
        return Ok(());
    }
    let why = format!(
        "the bucket has {bytes} bytes with the SHA-256 {sha256}, but {} with {} were accepted",
        original.bytes, original.sha256
    );
    Err(damaged(id, why))
}

fn damaged(job: JobId, why: String) -> SpoolError {
    Cause::Damaged { job, why }.into()
}

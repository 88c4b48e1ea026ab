//! A spool to test, which other nodes may open too.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pixerve::clock::Timestamp;
use pixerve::job::{ContentHash, Idempotency, IdempotencyKey, JobId, JobRecord, KeptAnswer, RequestFingerprint};
use pixerve::spool::{DirectorySpool, Received, Spool, SpoolError};
use tempfile::TempDir;

use crate::harness::record::{job_record, owner};

pub(crate) type TestResult = Result<(), Box<dyn Error>>;
pub(crate) type Opened = Arc<dyn Spool>;

/// When every upload is accepted, by the clock of its server.
pub(crate) const ACCEPTED: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// How long originals stay in the bucket.
pub(crate) const KEEP_AFTER_END: Duration = Duration::from_mins(5);

pub(crate) struct SpoolFixture {
    pub(crate) dir: TempDir,
    /// Whether many nodes share it: originals of ended jobs stay for a while then.
    pub(crate) is_shared: bool,
    /// Whether those of failed and cancelled jobs are kept.
    pub(crate) keeps_failed: bool,
    #[cfg(all(feature = "s3", feature = "gcs"))]
    pub(crate) shared: Option<shared::Shared>,
}

impl SpoolFixture {
    pub(crate) fn directory() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            is_shared: false,
            keeps_failed: true,
            #[cfg(all(feature = "s3", feature = "gcs"))]
            shared: None,
        })
    }

    #[cfg(all(feature = "s3", feature = "gcs"))]
    pub(crate) async fn bucket() -> Result<Self, Box<dyn Error>> {
        let shared = Some(shared::Shared::start().await);
        Ok(Self { dir: tempfile::tempdir()?, is_shared: true, keeps_failed: true, shared })
    }

    /// Opens it: as a server that was started anew does, or as one more node.
    pub(crate) fn open(&self) -> Result<Opened, SpoolError> {
        #[cfg(all(feature = "s3", feature = "gcs"))]
        if let Some(shared) = &self.shared {
            let scratch = shared::scratch(self.dir.path());
            return Ok(Arc::new(shared.open(&scratch, self.keeps_failed)?));
        }
        Ok(Arc::new(DirectorySpool::open(self.dir.path())?.keeping_failed(self.keeps_failed)))
    }
}

#[cfg(all(feature = "s3", feature = "gcs"))]
pub(crate) mod shared {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;

    use pixerve::bucket::{Bucket, BucketSettings};
    use pixerve::spool::{BucketSpool, JournalLines, MemoryJournalLines, SpoolError, SpoolSettings};

    use super::KEEP_AFTER_END;
    use crate::bucket::{bucket_of, settings};
    use crate::harness::stores::{self, S3Client, S3Server};

    /// What nodes share.
    pub(crate) struct Shared {
        pub(crate) server: S3Server,
        pub(crate) lines: MemoryJournalLines,
    }

    impl Shared {
        pub(super) async fn start() -> Self {
            let server = stores::s3().await;
            server.create_bucket("pixerve");
            Self { server, lines: MemoryJournalLines::default() }
        }

        pub(crate) fn bucket(&self) -> Arc<Bucket> {
            Arc::new(bucket_of(&self.server, "pixerve"))
        }

        pub(super) fn open(&self, scratch: &Path, keeps_failed: bool) -> Result<BucketSpool, SpoolError> {
            let lines = Arc::new(self.lines.clone());
            BucketSpool::open(self.bucket(), &spool_settings(&self.server, keeps_failed), scratch, lines)
        }
    }

    /// Where nodes have what they work on.
    pub(crate) fn scratch(dir: &Path) -> PathBuf {
        dir.join("scratch")
    }

    /// A spool in this bucket of a store's user.
    pub(crate) fn open(
        user: &S3Client,
        bucket: Arc<Bucket>,
        scratch: &Path,
        lines: Arc<dyn JournalLines>,
    ) -> Result<BucketSpool, SpoolError> {
        BucketSpool::open(bucket, &spool_settings(user, true), scratch, lines)
    }

    fn spool_settings(user: &S3Client, keeps_failed: bool) -> SpoolSettings {
        let bucket: BucketSettings = settings(&user.endpoint, "id", "secret", "pixerve");
        let failed_originals_kept = if keeps_failed { 10 * KEEP_AFTER_END } else { Duration::ZERO };
        SpoolSettings { bucket, keep_after_end: KEEP_AFTER_END, failed_originals_kept, scratch_dir: None }
    }
}

pub(crate) fn new_id() -> JobId {
    JobId::new(ACCEPTED)
}

/// The bytes of an upload, whole and not accepted yet.
pub(crate) async fn receive(spool: &dyn Spool, id: JobId, bytes: &[u8]) -> Result<Received, SpoolError> {
    let mut upload = spool.receive(id).await?;
    for chunk in bytes.chunks(100_000) {
        upload.write(Bytes::copy_from_slice(chunk)).await?;
    }
    upload.finish().await
}

/// An upload that was accepted.
pub(crate) async fn accept(spool: &dyn Spool, bytes: &[u8]) -> Result<JobRecord, SpoolError> {
    let id = new_id();
    let received = receive(spool, id, bytes).await?;
    assert_eq!((received.bytes, received.sha256), (bytes.len() as u64, ContentHash::of(bytes)));
    let record = record(id, bytes);
    received.accept(&record).await?;
    Ok(record)
}

pub(crate) fn record(id: JobId, bytes: &[u8]) -> JobRecord {
    let record = job_record(id, owner("me"), (ContentHash::of(bytes), bytes.len() as u64), ACCEPTED);
    JobRecord { idempotency: Some(idempotency(id)), ..record }
}

/// What a job's record says of its request, which had a key of its own.
pub(crate) fn idempotency(id: JobId) -> Idempotency {
    let answer = KeptAnswer {
        fingerprint: RequestFingerprint(ContentHash::of(id.as_bytes())),
        status: 200,
        body: format!("{{\"job_id\": \"{id}\"}}"),
    };
    Idempotency { key: IdempotencyKey::new(&owner("me"), "/upload", &id.to_string()), answer: Some(answer) }
}

/// The original as an attempt reads it.
pub(crate) async fn read_original(spool: &dyn Spool, record: &JobRecord) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut spool.open_original(record).await?, &mut bytes)?;
    Ok(bytes)
}

/// Whether the job's upload is among those that are listed.
pub(crate) async fn lists(spool: &dyn Spool, id: JobId) -> Result<bool, SpoolError> {
    let mut from = None;
    loop {
        let page = spool.uploads(from).await?;
        if page.uploads.iter().any(|upload| upload.id == id) {
            return Ok(true);
        }
        from = page.next;
        if from.is_none() {
            return Ok(false);
        }
    }
}

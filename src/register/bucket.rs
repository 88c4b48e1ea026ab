//! Records and secrets as objects in the bucket that many nodes share: `register/<access key>`, `register-secrets/<name>`.
//!
//! A list doesn't tell one text of an object from the next, but how long ago it was written, by the bucket's clock. So an
//! object is read again unless it was written when the last one was, and long enough before it was read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::RegisterError;
use super::records::{KnownVersions, RecordChanges, SealedRecord, SealedRecords, SealedVersion};
use super::secrets::{SealedSecrets, SecretsError};
use crate::bucket::{Bucket, BucketError, ListedObject, tried};
use crate::clock::{SharedClock, Timestamp};
use crate::job::SealedText;

const RECORDS: &str = "register/";
const SECRETS: &str = "register-secrets/";

/// Anything larger is no record.
const BYTES_MAX: u64 = 1 << 20;
/// Objects that are read at once.
const READS_MAX: usize = 16;

/// Two times of writing that differ by less are one: what a list tells is exact to a second, and took its time to come.
const SAME_TIME: Duration = Duration::from_secs(5);
/// Something that was written so shortly before it was read may have been written again since, at what looks like the same time.
const SETTLED: Duration = Duration::from_secs(15);

/// The records in the bucket.
#[derive(Clone, Debug)]
pub struct BucketRecords {
    bucket: Arc<Bucket>,
    clock: SharedClock,
}

impl BucketRecords {
    /// Nothing is asked of the bucket yet.
    #[must_use]
    pub fn new(bucket: Arc<Bucket>, clock: SharedClock) -> Self {
        Self { bucket, clock }
    }

    /// All objects, each with its access key.
    async fn list(&self) -> Result<Vec<(String, ListedObject)>, BucketError> {
        let (mut objects, mut after) = (Vec::new(), None);
        loop {
            let page = tried(|| self.bucket.list(RECORDS, after.as_deref())).await?;
            let named = |object: ListedObject| Some((object.key.strip_prefix(RECORDS)?.to_owned(), object));
            objects.extend(page.objects.into_iter().filter_map(named));
            after = page.next;
            if after.is_none() {
                return Ok(objects);
            }
        }
    }

    /// None if it has been removed meanwhile.
    async fn read(
        &self,
        access_key: String,
        object: ListedObject,
        written_at: Option<Timestamp>,
    ) -> Result<Option<SealedRecord>, BucketError> {
        // What is far too large was never sealed here, and is told like whatever else can't be unsealed.
        let text = if object.info.bytes > BYTES_MAX {
            String::new()
        } else {
            match tried(|| self.bucket.get(&object.key, BYTES_MAX)).await {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let text = SealedText(text);
        let version = SealedVersion { written_at, ..SealedVersion::of(&text) };
        Ok(Some(SealedRecord { access_key, version, text }))
    }
}

#[async_trait]
impl SealedRecords for BucketRecords {
    fn place(&self) -> String {
        format!("the bucket, below `{RECORDS}`")
    }

    async fn changes(&self, seen: &KnownVersions) -> Result<RecordChanges, RegisterError> {
        let objects = self.list().await.map_err(RegisterError::Bucket)?;
        let now = self.clock.now();
        let mut there: HashSet<_> = objects.iter().map(|(access_key, _)| access_key.clone()).collect();
        let to_read = objects.into_iter().filter_map(|(access_key, object)| {
            let listed = now.before(object.info.age);
            let before = seen.get(&access_key).and_then(|version| version.written_at);
            let is_same = before.is_some_and(|before| listed.since(before).max(before.since(listed)) < SAME_TIME);
            let written_at = (object.info.age >= SETTLED).then_some(listed);
            let read = async move {
                let read = self.read(access_key.clone(), object, written_at).await?;
                Ok((access_key, read))
            };
            (!is_same).then_some(read)
        });
        let read = stream::iter(to_read).buffer_unordered(READS_MAX).try_collect::<Vec<_>>();
        let mut written = Vec::new();
        for (access_key, record) in read.await.map_err(RegisterError::Bucket)? {
            match record {
                Some(record) => written.push(record),
                None => _ = there.remove(&access_key),
            }
        }
        let removed = seen.keys().filter(|key| !there.contains(*key)).cloned().collect();
        Ok(RecordChanges { written, removed })
    }

    async fn put(&self, access_key: &str, sealed: &SealedText) -> Result<SealedVersion, RegisterError> {
        put(&self.bucket, &format!("{RECORDS}{access_key}"), sealed).await.map_err(RegisterError::Bucket)?;
        Ok(SealedVersion::of(sealed))
    }

    async fn remove(&self, access_key: &str) -> Result<(), RegisterError> {
        let key = format!("{RECORDS}{access_key}");
        tried(|| self.bucket.delete(&key)).await.map_err(RegisterError::Bucket)
    }

    async fn close(&self) -> Result<(), RegisterError> {
        Ok(())
    }
}

/// The secrets in the bucket.
#[derive(Clone, Debug)]
pub struct BucketSecrets {
    bucket: Arc<Bucket>,
}

impl BucketSecrets {
    /// Nothing is asked of the bucket yet.
    #[must_use]
    pub fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket }
    }

    fn error(&self, verb: &'static str, name: &str, source: BucketError) -> SecretsError {
        SecretsError { verb, place: self.place(name), source: source.into() }
    }
}

#[async_trait]
impl SealedSecrets for BucketSecrets {
    fn place(&self, name: &str) -> String {
        format!("`{SECRETS}{name}` of the bucket")
    }

    async fn get(&self, name: &str) -> Result<Option<SealedText>, SecretsError> {
        let key = format!("{SECRETS}{name}");
        match tried(|| self.bucket.get(&key, BYTES_MAX)).await {
            Ok(bytes) => Ok(Some(SealedText(String::from_utf8_lossy(&bytes).into_owned()))),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(self.error("read", name, error)),
        }
    }

    async fn put(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError> {
        let put = put(&self.bucket, &format!("{SECRETS}{name}"), sealed).await;
        put.map_err(|error| self.error("write", name, error))
    }

    async fn create(&self, name: &str, sealed: &SealedText) -> Result<(), SecretsError> {
        // Whoever calls holds the nodes' lock: not every store refuses to write over what came meanwhile.
        match self.get(name).await? {
            Some(_) => Ok(()),
            None => self.put(name, sealed).await,
        }
    }
}

async fn put(bucket: &Bucket, key: &str, sealed: &SealedText) -> Result<(), BucketError> {
    let bytes = Bytes::copy_from_slice(sealed.0.as_bytes());
    tried(|| bucket.put(key, bytes.clone())).await
}

//! Bytes to a store and away from it, one kind of store a folder.

// Some of what all remote stores share is needed by one of them alone, or by none.
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod body;
#[cfg(feature = "s3")]
mod bucket_serve;
mod direct_serve;
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod failure;
mod gate;
mod gcs;
mod listed;
mod metrics;
mod object_bytes;
#[cfg_attr(not(any(feature = "s3", feature = "gcs")), allow(dead_code))]
mod probe;
mod retrying;
mod s3;
mod serve_kind;
#[cfg_attr(not(all(feature = "s3", feature = "gcs")), allow(dead_code))]
mod settings;
mod storage_settings;

#[cfg(feature = "s3")]
pub use bucket_serve::{BucketServe, ByteRange, GetCondition, ObjectVersion, OpenedObject, ServedObject};
pub use direct_serve::DirectServe;
use failure::Failure;
pub use gate::{Outage, StoreGate};
pub use gcs::GcsSettings;
pub use listed::{FileList, FoundFile, FoundFiles};
pub use metrics::{BACKENDS, StoreMetrics};
pub use object_bytes::ObjectBytes;
pub use probe::ProbeOutcome;
pub use retrying::{GiveUpTime, Retrying, WriteSignals};
pub use s3::S3Settings;
pub use serve_kind::{ServeKind, private_prefix, serve_prefix};
pub use settings::{KeyPrefix, PublicBase, StoreSettings, StoreTimeouts};
pub use storage_settings::StorageSettings;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::job::{BackendKind, ContentHash, FileName, ServedArea, ServedPath, Stored, SubDir, TraceContext};

/// What is served or stored under a name that is never written again may be kept for as long as anything may (RFC 9111).
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// One file to store.
#[derive(Clone, Debug)]
pub struct Object {
    /// To whom it is served, if the server serves it itself. Whoever reads what is in a registered store, is for that to say.
    pub area: ServedArea,
    /// The directories below the root or prefix.
    pub sub_dir: SubDir,
    /// Its name; one of ours, so `[A-Za-z0-9._-]+`.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
    /// Its SHA-256. Of bytes in memory it is believed, a file is hashed again as it is read.
    pub sha256: ContentHash,
    /// Its bytes.
    pub body: Body,
    /// What storing it is a part of; told to stores that are called.
    pub trace: Option<TraceContext>,
}

impl Object {
    /// Its key below a prefix: `prefix/subDir/name`, empty parts left out.
    #[must_use]
    pub fn key(&self, prefix: &KeyPrefix) -> String {
        prefix.join(&self.sub_dir.join(&self.name))
    }

    /// Where it is, if the server serves it itself.
    #[must_use]
    pub fn served_path(&self) -> ServedPath {
        ServedPath { area: self.area, sub_dir: self.sub_dir.clone(), name: self.name.clone() }
    }

    /// The `Cache-Control` that is stored beside it: of a name that is never written again, its own; of any other what is `registered`
    /// for its store, if anything is.
    #[must_use]
    pub fn cache_control<'a>(&self, registered: Option<&'a str>) -> Option<&'a str> {
        if FileName::is_unique(&self.name) { Some(IMMUTABLE) } else { registered }
    }
}

/// Where an object's bytes are.
#[derive(Clone, Debug)]
pub enum Body {
    /// In memory: a variant.
    Bytes(Bytes),
    /// In a file: an original, which may be large.
    File {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

impl Body {
    /// How many bytes there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What became of an object that was to be deleted. It is gone now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Whether it was there until then; also if the store doesn't say.
    pub was_there: bool,
    /// Whether the store says that it keeps what is deleted or replaced, for a while or for good: a bucket with versions.
    pub keeps_versions: bool,
}

/// Why something that was asked of a store failed, most often a write, and what may help.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct WriteError {
    /// What was attempted, on what: ``put `a/b.jpg` into bucket `shop` at `https://...` ``. No secret.
    pub what: String,
    /// What came of it: the store's own words where there are any. No secret.
    pub detail: String,
    /// What may help.
    pub kind: WriteErrorKind,
}

/// What may help against an error of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteErrorKind {
    /// Time: the store can't be reached, or says that it can't now (408, 429, 5xx); a full disk.
    Unavailable,
    /// Time, too, but the store is not to blame: this machine is short of descriptors or memory.
    Shortage,
    /// Somebody who changes something there: the store answered, and refuses (401, 403, no such bucket).
    Refused,
    /// Nothing: the store has no such object.
    Missing,
    /// Nothing: the same would fail for ever.
    Invalid,
    /// Other bytes: those at hand are not the ones that were promised.
    SourceDamaged,
    /// The write was given up from our side; nothing is known of the store.
    Cancelled,
}

impl WriteErrorKind {
    /// What a trace calls it.
    const fn word(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Shortage => "shortage",
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::SourceDamaged => "source_damaged",
            Self::Cancelled => "cancelled",
        }
    }
}

impl WriteError {
    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, WriteErrorKind::Unavailable | WriteErrorKind::Shortage | WriteErrorKind::Cancelled)
    }

    /// A write to a store of a kind that isn't compiled in.
    #[must_use]
    pub fn not_built_in(kind: BackendKind) -> Self {
        let detail = kind.why_missing().unwrap_or_default();
        Self { what: format!("use the {} store", kind.as_str()), detail, kind: WriteErrorKind::Invalid }
    }

    /// `what` was stopped from our side.
    fn cancelled(what: String) -> Self {
        Failure::cancelled().on(what)
    }
}

/// A store.
#[async_trait]
pub trait WriterBackend: Send + Sync {
    /// `directHost`, `s3` or `gcs`, as the claims call it.
    fn name(&self) -> &'static str;

    /// Stores `object` under its name, replacing what is there; once `Ok`, a reader sees all of it, durably. Writing it
    /// twice is harmless. One try: retrying is a wrapper's work.
    async fn put(&self, object: &Object) -> Result<Stored, WriteError>;

    /// The same, but cancelled when `stop` fires. This default closes the connection, which stops an object of which bytes
    /// are missing; one that the store has whole, but hasn't answered for, may still appear. A store that can do better, or
    /// must not be interrupted, overrides it.
    async fn put_until(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        let cancelled = || Err(WriteError::cancelled(format!("put `{}`", object.name)));
        stop.run_until_cancelled(self.put(object)).await.unwrap_or_else(cancelled)
    }

    /// Deletes what [`put`](Self::put) said is at `location`, durably. What is gone already is no error. One try.
    async fn delete(&self, location: &str) -> Result<Deletion, WriteError>;

    /// The same of each of these, and what came of it, in their order. This default takes one after the other; a store that can do
    /// many in one step overrides it. One try.
    async fn delete_all(&self, locations: &[String]) -> Vec<Result<Deletion, WriteError>> {
        let mut deleted = Vec::with_capacity(locations.len());
        for location in locations {
            deleted.push(self.delete(location).await);
        }
        deleted
    }

    /// The bytes of what is at `location`, as they come, at most `bytes_max` of them. Whose they are is for the caller to
    /// check: anyone who may write to the store may have replaced them. One try.
    ///
    /// An object that isn't there is [`WriteErrorKind::Missing`], a larger one [`WriteErrorKind::Invalid`].
    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError>;

    /// Every file below the root or prefix, a part at a time, as it is asked for. One that comes or goes meanwhile may be in it
    /// or not; every other is, once. One try: what fails ends it.
    async fn list(&self) -> Result<FileList, WriteError>;

    /// What is at `location` now; none if nothing is. One try.
    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError>;

    /// Writes and deletes a small object of a random name, to see what the credentials are good for. The error says which
    /// of the two failed.
    async fn probe(&self) -> Result<ProbeOutcome, WriteError>;
}

#[async_trait]
impl<W: WriterBackend + ?Sized> WriterBackend for Arc<W> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        (**self).put(object).await
    }

    async fn put_until(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        (**self).put_until(object, stop).await
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        (**self).delete(location).await
    }

    async fn delete_all(&self, locations: &[String]) -> Vec<Result<Deletion, WriteError>> {
        (**self).delete_all(locations).await
    }

    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        (**self).get(location, bytes_max).await
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        (**self).list().await
    }

    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        (**self).look(location).await
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        (**self).probe().await
    }
}

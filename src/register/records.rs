//! Where sealed records are kept, apart from what they say.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use async_trait::async_trait;

use super::record::Record;
use super::{RegisterError, Sealer};
use crate::clock::Timestamp;
use crate::job::{ContentHash, SealedText};

/// Which text of a record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedVersion {
    /// Of the text: another one has another.
    pub hash: ContentHash,
    /// When it was written, for a store that is asked for this more cheaply than for the text; none where that isn't known
    /// well enough to tell one text from the next.
    pub written_at: Option<Timestamp>,
}

/// The versions of records that are known, by access key.
pub type KnownVersions = HashMap<String, SealedVersion>;

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecord {
    /// Under which it is kept. It is bound to it: under another one it can't be unsealed.
    pub access_key: String,
    /// Which text it is.
    pub version: SealedVersion,
    /// The record, sealed.
    pub text: SealedText,
}

/// What a store of records has otherwise than somebody knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordChanges {
    /// New ones, those with another text, and those of which only their text says whether they have.
    pub written: Vec<SealedRecord>,
    /// Access keys of those that are gone.
    pub removed: Vec<String>,
}

impl SealedVersion {
    /// By the text's hash.
    pub(super) fn of(text: &SealedText) -> Self {
        Self { hash: ContentHash::of(text.0.as_bytes()), written_at: None }
    }
}

impl SealedRecord {
    /// Whether one of these keys has sealed it, for its access key.
    #[must_use]
    pub fn opens_with(&self, sealer: &Sealer) -> bool {
        Record::unseal(sealer, &self.access_key, &self.text).is_ok()
    }
}

impl RecordChanges {
    /// What `texts` have otherwise than `seen`.
    pub(super) fn between(seen: &KnownVersions, texts: &BTreeMap<String, SealedText>) -> Self {
        let all = texts.iter().map(|(access_key, text)| SealedRecord {
            access_key: access_key.clone(),
            version: SealedVersion::of(text),
            text: text.clone(),
        });
        let is_seen = |record: &SealedRecord| {
            seen.get(&record.access_key).is_some_and(|version| version.hash == record.version.hash)
        };
        let written = all.filter(|record| !is_seen(record)).collect();
        let removed = seen.keys().filter(|key| !texts.contains_key(*key)).cloned().collect();
        Self { written, removed }
    }
}

/// A store of sealed records by access key. It knows neither what they say nor the keys that they are sealed with.
///
/// Whoever calls sees to it that no two change it at once: within a process by a mutex, between nodes by
/// [`RegisterPeers::lock`](super::RegisterPeers::lock).
#[async_trait]
pub trait SealedRecords: fmt::Debug + Send + Sync {
    /// Where they are, for messages: a path, or a bucket and what its keys begin with.
    fn place(&self) -> String;

    /// What it has otherwise than `seen`; everything, if that is empty. Whatever was durable when this was called is in it.
    ///
    /// # Errors
    /// It can't be read, or not all of it: what there is must not look as if it had been removed.
    async fn changes(&self, seen: &KnownVersions) -> Result<RecordChanges, RegisterError>;

    /// Keeps `sealed` under `access_key`, in place of what was there. Durable once it has answered.
    ///
    /// # Errors
    /// It can't be written. Then either text may be there.
    async fn put(&self, access_key: &str, sealed: &SealedText) -> Result<SealedVersion, RegisterError>;

    /// Removes what is kept under `access_key`, if anything is. Durable once it has answered.
    ///
    /// # Errors
    /// It can't be removed. Then it may be there or not.
    async fn remove(&self, access_key: &str) -> Result<(), RegisterError>;

    /// Lets go of it. Nothing else is called after this.
    ///
    /// # Errors
    /// What can't be closed in order.
    async fn close(&self) -> Result<(), RegisterError>;
}

//! What is stored of one job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::job::{ContentHash, HashKey, JobId, JobRecord, Owner, StoredFile};

/// What is stored of one job, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Which.
    pub job_id: JobId,
    /// Whose it is.
    pub owner: Owner,
    /// The SHA-256 of its original.
    pub content: ContentHash,
    /// When it ended, or was about to.
    pub ended_at: Timestamp,
    /// When it is to be erased; none for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Its files.
    pub files: Vec<EntryFile>,
}

/// One file, and every place that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFile {
    /// Its name, the same in every place.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Where it is.
    pub places: Vec<Place>,
}

/// A place that holds a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// `directHost`, `s3` or `gcs`, as the claims call it.
    pub backend: String,
    /// What the store is registered under; none for what the server serves itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// `/files/...`, `/private/...`, `s3://bucket/key` or `gs://bucket/key`.
    pub location: String,
}

impl LedgerEntry {
    /// That `files` of the job are stored, which ends at `ended_at`; none if there are none.
    #[must_use]
    pub fn of(
        record: &JobRecord,
        files: &[StoredFile],
        ended_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Option<Self> {
        let access_key = |backend: &str| {
            let key = record.spec.storage.iter().find(|key| key.backend.as_str() == backend);
            key.map(|key| key.access_key.clone())
        };
        let files: Vec<_> = files
            .iter()
            .map(|file| EntryFile {
                name: file.name.clone(),
                bytes: file.bytes,
                places: file
                    .stored
                    .iter()
                    .map(|stored| Place {
                        backend: stored.backend.clone(),
                        access_key: access_key(&stored.backend),
                        location: stored.location.clone(),
                    })
                    .collect(),
            })
            .collect();
        let is_stored = files.iter().any(|file| !file.places.is_empty());
        is_stored.then(|| Self {
            job_id: record.id,
            owner: record.owner.clone(),
            content: record.original.sha256,
            ended_at,
            expires_at,
            files,
        })
    }

    /// What clients call `hash`.
    #[must_use]
    pub fn hash(&self) -> HashKey {
        HashKey::new(&self.content, &self.owner)
    }

    /// Every place that holds a file of it.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.files.iter().flat_map(|file| &file.places)
    }

    /// Whether it names this place. By its location alone: the same bucket may be registered twice, and what two jobs name is
    /// one object then.
    #[must_use]
    pub fn names(&self, place: &Place) -> bool {
        self.places().any(|other| other.backend == place.backend && other.location == place.location)
    }

    /// How many files each store holds.
    pub(super) fn files_by_store(&self) -> BTreeMap<(&str, Option<&str>), u64> {
        let mut files = BTreeMap::new();
        for place in self.places() {
            *files.entry((&*place.backend, place.access_key.as_deref())).or_default() += 1;
        }
        files
    }
}

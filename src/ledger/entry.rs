//! What is stored of one job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ErasureRecipient;
use crate::clock::Timestamp;
use crate::job::{ContentHash, HashKey, JobId, JobRecord, Owner, Stored, StoredFile};

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
    /// Who is to be told once it is erased, if somebody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<ErasureRecipient>,
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

impl Place {
    /// Where a file of this job is stored.
    #[must_use]
    pub fn of(record: &JobRecord, stored: &Stored) -> Self {
        let key = record.spec.storage.iter().find(|key| key.backend.as_str() == stored.backend);
        Self {
            backend: stored.backend.clone(),
            access_key: key.map(|key| key.access_key.clone()),
            location: stored.location.clone(),
        }
    }
}

impl LedgerEntry {
    /// That `files` of the job are stored, which ends at `ended_at`.
    #[must_use]
    pub fn of(record: &JobRecord, files: &[StoredFile], ended_at: Timestamp) -> Self {
        let stored = files;
        let files: Vec<_> = stored
            .iter()
            .map(|file| EntryFile {
                name: file.name.clone(),
                bytes: file.bytes,
                places: file.stored.iter().map(|stored| Place::of(record, stored)).collect(),
            })
            .collect();
        Self {
            job_id: record.id,
            owner: record.owner.clone(),
            content: record.original.sha256,
            ended_at,
            expires_at: record.spec.expires_after.map(|after| after.from_end(ended_at)),
            files,
            recipient: ErasureRecipient::of(record, stored),
        }
    }

    /// Whether there is anything to be known of it once its record is gone.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.places().next().is_some() || self.expires_at.is_some()
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

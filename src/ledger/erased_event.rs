//! What is told of a job that is erased: whom, from when it is stored until it is erased, and what, from then until it is taken.
//!
//! The queue forgets a job's record before its files are deleted, or long before its time is over, so whom to tell is noted in
//! its entry. What is told goes into the ledger in the step that takes the entry out, as one sealed text: nothing of a job
//! that is erased can be read in what is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LedgerEntry, LedgerError, Place};
use crate::clock::Timestamp;
use crate::job::{CallbackTarget, HashKey, JobId, JobRecord, JobRef, Owner, SealedText, Stored, StoredFile};

/// An event that nobody has taken by then is given up, and what it would have told is gone.
pub const EVENT_KEPT_FOR: Duration = Duration::from_hours(3 * 24);

/// Whom to tell that a job is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecipient {
    /// Where, and with which headers: sealed under the job's id.
    pub target: CallbackTarget,
    /// What the caller calls the job.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<JobRef>,
    /// When the job was accepted: by that it is known whose secrets sign.
    pub accepted_at: Timestamp,
    /// Where browsers got what was at a location in a store: caches are to be told by that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub urls: BTreeMap<String, String>,
}

impl ErasureRecipient {
    /// Whom the job's owner wants to be told of these files; nobody most of the time.
    #[must_use]
    pub fn of(record: &JobRecord, files: &[StoredFile]) -> Option<Self> {
        let target = record.callback.as_ref().filter(|target| target.tells_erasure())?;
        let stored = files.iter().flat_map(|file| &file.stored);
        let urls = stored.filter_map(|stored| Some((stored.location.clone(), stored.url.clone()?)));
        Some(Self {
            target: target.clone(),
            reference: record.reference.clone(),
            accepted_at: record.created_at,
            urls: urls.collect(),
        })
    }
}

/// Why a job was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErasureReason {
    /// Somebody asked for it.
    Erased,
    /// Its time was over.
    Expired,
}

impl ErasureReason {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Erased, Self::Expired];

    /// Its word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::Expired => "expired",
        }
    }
}

/// What is told of a job that is erased, whom, and how that is signed: everything that there is of it still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedJob {
    /// Whose it was.
    pub owner: Owner,
    /// What clients called `hash`.
    pub hash: HashKey,
    /// Whom to tell.
    pub recipient: ErasureRecipient,
    /// When the job had ended.
    pub ended_at: Timestamp,
    /// Why it was erased.
    pub reason: ErasureReason,
    /// What was deleted, but for what another job names still.
    pub files: Vec<ErasedFile>,
}

/// A file that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedFile {
    /// Its name, the same in every store.
    pub name: String,
    /// Every place that held it.
    pub stored: Vec<Stored>,
}

impl ErasedJob {
    /// What is to be told of the job of this entry, of whose places these are gone; nothing if nobody asked for that.
    #[must_use]
    pub fn of(entry: &LedgerEntry, gone: &[Place], reason: ErasureReason) -> Option<Self> {
        let recipient = entry.recipient.clone()?;
        let files = entry.files.iter().map(|file| {
            let stored = file.places.iter().filter(|place| gone.contains(place));
            let stored = stored.map(|Place { backend, location, .. }| {
                let url = recipient.urls.get(location).cloned();
                Stored { url, ..Stored::at(backend, location) }
            });
            ErasedFile { name: file.name.clone(), stored: stored.collect() }
        });
        let files: Vec<_> = files.filter(|file| !file.stored.is_empty()).collect();
        Some(Self {
            owner: entry.owner.clone(),
            hash: entry.hash(),
            recipient,
            ended_at: entry.ended_at,
            reason,
            files,
        })
    }
}

/// An event that nobody has taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedEvent {
    /// Which job is erased.
    pub job_id: JobId,
    /// Since when the event is owed.
    pub since: Timestamp,
    /// When it is to be tried next.
    pub due_at: Timestamp,
    /// Tries made.
    pub attempts: u32,
    /// An [`ErasedJob`], sealed.
    pub sealed: SealedText,
}

/// How many events nobody has taken yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwedEvents {
    /// So many.
    pub count: u64,
    /// Since when the oldest is owed.
    pub oldest: Option<Timestamp>,
}

/// Events that are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueEvents {
    /// The longest due first.
    pub events: Vec<ErasedEvent>,
    /// When the first of the others is due, if there are others.
    pub next_due: Option<Timestamp>,
}

/// The events that jobs are erased. Each is there from the step that takes its job's entry out ([`super::Erasures::settle`]) until
/// it is removed.
#[async_trait]
pub trait ErasedEvents: Send + Sync {
    /// Events that are due at `now`.
    async fn due_events(&self, now: Timestamp, limit: usize) -> Result<DueEvents, LedgerError>;

    /// How many are owed, due or not.
    async fn owed_events(&self) -> Result<OwedEvents, LedgerError>;

    /// This event is due at another time, after so many tries. Durable once it has answered. One that was removed stays so.
    async fn put_off_event(&self, event: &ErasedEvent, due_at: Timestamp, attempts: u32) -> Result<(), LedgerError>;

    /// This event is owed no more, durably. Its bytes may stay on the disk until the next [`super::Ledger::purge`].
    async fn remove_event(&self, event: &ErasedEvent) -> Result<(), LedgerError>;

    /// Events, those behind `after` in the order of their jobs' ids, each as if it had not been tried.
    async fn events(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<ErasedEvent>, LedgerError>;

    /// Takes in an event of another ledger, in place of what is here.
    async fn put_event(&self, event: &ErasedEvent) -> Result<(), LedgerError>;
}

//! Orders to erase jobs: written down before anything is erased, and carried out whatever happens.

use std::fmt::{self, Debug};
use std::str::FromStr;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::{NoContext, Uuid};

use super::{ErasureReason, LedgerError};
use crate::clock::Timestamp;
use crate::job::{HashKey, JobId, OwnerKey, SealedText};

/// A UUID of version 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErasureId(Uuid);

impl ErasureId {
    /// A new one for an order of `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let nanos = u32::try_from(now.as_millis() % 1000).unwrap_or(0) * 1_000_000;
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, now.as_secs(), nanos)))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for ErasureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl FromStr for ErasureId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What was asked for. Only a [`TargetKey`] of it is kept: an order must not be what a name outlives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureTarget {
    /// One job.
    Job(JobId),
    /// Every job of this hash.
    Hash(HashKey),
    /// Every job of a subject of this user; none for the keys of `jwt.json`.
    Subject {
        /// The user's name.
        user: Option<String>,
        /// The subject.
        sub: String,
    },
}

/// Stands for an [`ErasureTarget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetKey(pub(super) [u8; 32]);

impl ErasureTarget {
    /// What stands for it.
    #[must_use]
    pub fn key(&self) -> TargetKey {
        let mut hasher = Sha256::new();
        let mut add = |part: &str| {
            hasher.update(part);
            hasher.update([0]);
        };
        match self {
            Self::Job(id) => ["job", &id.to_string()].map(&mut add),
            Self::Hash(hash) => ["hash", hash.as_str()].map(&mut add),
            Self::Subject { user, sub } => {
                add(if user.is_some() { "user" } else { "keys" });
                [user.as_deref().unwrap_or_default(), sub].map(&mut add)
            }
        };
        TargetKey(hasher.finalize().into())
    }
}

/// An order that is to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewErasure {
    /// Its id.
    pub id: ErasureId,
    /// Of what was asked for; none if nobody did: the jobs' time is over.
    pub target: Option<TargetKey>,
    /// Whose jobs they are, if they are one owner's: who may ask what became of the order.
    pub owner: Option<OwnerKey>,
    /// Whose user that is.
    pub user: Option<OwnerKey>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The jobs that it is about, each once.
    pub jobs: Vec<JobId>,
}

/// What became of an order that was to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderedErasure {
    /// It is.
    New,
    /// One of the same target is being carried out.
    Running(ErasureId),
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasureState {
    /// It is being carried out.
    Running,
    /// All of it is gone.
    Done,
    /// Some of it is not, and isn't tried any more.
    Incomplete,
}

/// Files by what became of them, counted by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureTally {
    /// Deleted.
    pub deleted: u64,
    /// Gone before.
    pub missing: u64,
    /// Left, since another job names them.
    pub kept: u64,
}

/// An order, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Its id.
    pub id: ErasureId,
    /// Of what was asked for; none if nobody did.
    pub target: Option<TargetKey>,
    /// Whose jobs they are, if they are one owner's.
    pub owner: Option<OwnerKey>,
    /// Whose user that is.
    pub user: Option<OwnerKey>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// How far it is.
    pub state: ErasureState,
    /// Jobs in all.
    pub jobs: u64,
    /// Of those that are erased.
    pub tally: ErasureTally,
    /// Whether some store keeps what is deleted from it.
    pub is_versioned: bool,
    /// What other jobs keep. Without locations once it is done.
    pub kept: Vec<KeptPlace>,
    /// What could not be deleted so far. Empty once it is done.
    pub left: Vec<LeftPlace>,
    /// When it came to its end.
    pub done_at: Option<Timestamp>,
    /// Since when nothing of it is in the data directory any more.
    pub purged_at: Option<Timestamp>,
}

impl Erasure {
    /// Why its jobs are erased.
    #[must_use]
    pub fn reason(&self) -> ErasureReason {
        if self.target.is_some() { ErasureReason::Erased } else { ErasureReason::Expired }
    }
}

/// A place that another job names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptPlace {
    /// Where; none once the order is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub location: Option<String>,
    /// The other job.
    pub job_id: JobId,
}

/// A place from which a file could not be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeftPlace {
    /// `directHost`, `s3` or `gcs`.
    pub backend: String,
    /// Where.
    pub location: String,
    /// Why, in the store's words.
    pub error: String,
}

/// A job that an order is about, and that is not erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingJob {
    /// Which.
    pub job_id: JobId,
    /// How often it was tried.
    pub tries: u32,
    /// What its last try left.
    pub left: Vec<LeftPlace>,
}

/// What one try at a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErasureOutcome {
    /// Everything of it is gone.
    Erased {
        /// What became of its files.
        tally: ErasureTally,
        /// Whether a store keeps what is deleted from it.
        is_versioned: bool,
        /// What other jobs keep.
        kept: Vec<KeptPlace>,
        /// An [`ErasedJob`](super::ErasedJob), sealed, for whoever is to be told.
        event: Option<SealedText>,
    },
    /// Something is left.
    Left {
        /// What.
        left: Vec<LeftPlace>,
        /// When it is to be tried again.
        retry_at: Timestamp,
    },
}

/// Orders to erase. Whoever carries them out may be killed at any moment, and there may be two for a while: every step can be
/// done twice, and counts once.
#[async_trait]
pub trait Erasures: Debug + Send + Sync {
    /// Writes an order down, durably, unless one of the same target is being carried out.
    async fn order(&self, new: &NewErasure) -> Result<OrderedErasure, LedgerError>;

    /// An order, and how far it is.
    async fn erasure(&self, id: &ErasureId) -> Result<Option<Erasure>, LedgerError>;

    /// Orders that are being carried out, the oldest first.
    async fn running(&self) -> Result<Vec<ErasureId>, LedgerError>;

    /// Jobs of an order that are not erased and whose next try is due at `now`, in no order that means something.
    async fn pending(&self, id: &ErasureId, now: Timestamp, limit: usize) -> Result<Vec<PendingJob>, LedgerError>;

    /// When the next try of the order's is due; none if all its jobs are erased.
    async fn next_due(&self, id: &ErasureId) -> Result<Option<Timestamp>, LedgerError>;

    /// Notes, durably, what a try at a job came to. If it is erased, its entry leaves the ledger with that, the event that tells of
    /// it is owed, and that it was erased is known from then on; one that is erased stays so.
    async fn settle(
        &self,
        id: &ErasureId,
        job: &JobId,
        outcome: &ErasureOutcome,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Ends an order: it is done if all its jobs are erased, and else incomplete. Of what is done, no name is left.
    async fn finish(&self, id: &ErasureId, now: Timestamp) -> Result<ErasureState, LedgerError>;

    /// Orders that have ended, and of which something may be in the data directory.
    async fn unpurged(&self) -> Result<Vec<ErasureId>, LedgerError>;

    /// Notes that nothing of these orders is in the data directory any more.
    async fn mark_purged(&self, ids: &[ErasureId], now: Timestamp) -> Result<(), LedgerError>;

    /// When a job was erased, if it was.
    async fn erased_at(&self, job: &JobId) -> Result<Option<Timestamp>, LedgerError>;

    /// Removes orders that ended before `before`, and what is known of jobs that were erased before. Up to so many of each;
    /// answers whether there are more.
    async fn forget(&self, before: Timestamp, limit: usize) -> Result<bool, LedgerError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_differ_have_keys_that_differ() {
        let subject = |user: Option<&str>, sub: &str| ErasureTarget::Subject {
            user: user.map(str::to_owned),
            sub: sub.to_owned(),
        };
        let targets = [
            ErasureTarget::Job(JobId::from_bytes([0; 16])),
            subject(None, "a"),
            subject(Some(""), "a"),
            subject(Some("a"), ""),
            subject(Some("a"), "b"),
            subject(None, "ab"),
        ];
        let keys: std::collections::HashSet<_> = targets.iter().map(ErasureTarget::key).collect();
        assert_eq!(keys.len(), targets.len());
    }
}

//! The ledger: what lies where until it is erased, and the orders to erase it.
//!
//! It outlives the queue's records, which go after a while; what a store holds stays. So it is large, and apart from them:
//! [`SqliteLedger`] is a database of its own on this machine, [`BucketLedger`] is in the bucket that many nodes share. Both
//! pass one suite.
//!
//! An entry is written before its job's end is, so that nothing is ever stored that no one knows of. Whoever reads one may
//! therefore find a job that is live still.

#[cfg(feature = "s3")]
mod bucket;
mod entry;
mod erased_event;
mod erasure;
mod error;
mod gc;
mod gc_signals;
mod settings;
mod signals;
mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::job::{HashKey, JobId, JobRecord, Owner, StoredFile};

#[cfg(feature = "s3")]
pub use bucket::BucketLedger;
pub use entry::{EntryFile, LedgerEntry, Place};
pub use erased_event::{
    DueEvents, EVENT_KEPT_FOR, ErasedEvent, ErasedEvents, ErasedFile, ErasedJob, ErasureReason, ErasureRecipient,
    OwedEvents,
};
pub use erasure::{
    Erasure, ErasureId, ErasureOutcome, ErasureState, ErasureTally, ErasureTarget, Erasures, KeptPlace, LeftPlace,
    NewErasure, OrderedErasure, PendingJob, TargetKey,
};
pub use error::LedgerError;
pub use gc::{
    AdoptableCount, FileCount, GC_NOTED_EVERY, GcId, GcReport, GcRequest, GcRun, GcRuns, GcState, GcStore, MissingFile,
    MissingFiles, UnknownFile, UnknownFiles,
};
pub use gc_signals::GcSignals;
pub use settings::EraseSettings;
pub use signals::ErasureSignals;
pub use sqlite::{LEDGER_DATABASE, LedgerLook, OpenedLedger, SqliteLedger};

/// Which part of a list.
#[derive(Clone, Debug)]
pub struct LedgerPageRequest {
    /// Entries at most.
    pub limit: usize,
    /// Where the last page ended; none for the first.
    pub after: Option<LedgerCursor>,
}

impl LedgerPageRequest {
    /// The first `limit`.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { limit, after: None }
    }
}

/// An opaque place in a list of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerCursor(pub(crate) String);

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct LedgerPage {
    /// In no order that means something. A list that is read to its end has every entry that was there all the while, and
    /// none twice.
    pub entries: Vec<LedgerEntry>,
    /// Where the next page begins, if there is one.
    pub next: Option<LedgerCursor>,
}

/// A job that is to be erased at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueJob {
    /// From when on.
    pub expires_at: Timestamp,
    /// Which.
    pub job_id: JobId,
}

/// What lies where.
#[async_trait]
pub trait Ledger: Debug + Send + Sync {
    /// Writes down what is stored of a job, in place of what was known of it. Durable once it has answered.
    async fn record(&self, entry: &LedgerEntry) -> Result<(), LedgerError>;

    /// The same of many, no two of which are of one job. They share as few steps as they can; all are durable once it has answered,
    /// and some may be after an error.
    async fn record_all(&self, entries: &[LedgerEntry]) -> Result<(), LedgerError>;

    /// What is stored of a job.
    async fn entry(&self, job: &JobId) -> Result<Option<LedgerEntry>, LedgerError>;

    /// Every job of this hash. Whose files may be the same, too: only jobs of one hash name the same place.
    async fn of_hash(&self, hash: &HashKey) -> Result<Vec<LedgerEntry>, LedgerError>;

    /// Every job of any of these hashes, in no order that means something: what [`Ledger::of_hash`] says of each.
    async fn of_hashes(&self, hashes: &[HashKey]) -> Result<Vec<LedgerEntry>, LedgerError>;

    /// The owner that stands as `part` in hashes ([`HashKey::owner_part`]), if there is an entry of theirs. Without an access key:
    /// former and present holders of a user's name stand there alike.
    async fn owner_of(&self, part: &str) -> Result<Option<Owner>, LedgerError>;

    /// The jobs of a subject of this user (none: of the keys of `jwt.json`), of whoever has or had the user's name: the
    /// entries' owners tell those apart.
    async fn of_subject(
        &self,
        user: Option<&str>,
        sub: &str,
        page: &LedgerPageRequest,
    ) -> Result<LedgerPage, LedgerError>;

    /// Jobs whose time is over at `now`, those first that have been so for longest.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<DueJob>, LedgerError>;

    /// These are not due any more, durably: an order to erase them is written down.
    async fn unmark_due(&self, jobs: &[DueJob]) -> Result<(), LedgerError>;

    /// How many files the store that `access_key` stands for holds.
    async fn files_in(&self, access_key: &str) -> Result<u64, LedgerError>;

    /// All entries.
    async fn all(&self, page: &LedgerPageRequest) -> Result<LedgerPage, LedgerError>;

    /// Removes what is known of these jobs, durably, if anything is. Their bytes may stay on the disk until [`Ledger::purge`].
    async fn remove(&self, jobs: &[JobId]) -> Result<(), LedgerError>;

    /// Sees to it that nothing of what was removed before is left in any file of the ledger.
    async fn purge(&self) -> Result<(), LedgerError>;

    /// Lets go of it. Nothing else is called after this.
    async fn close(&self) -> Result<(), LedgerError>;
}

/// All of it: what lies where, the orders to erase it, what is told of that, and who compares it with what there is. One place keeps all, so that an entry goes in the
/// same step that notes its job as erased and the event that tells of it.
pub trait ErasableLedger: Ledger + Erasures + ErasedEvents + GcRuns {}

impl<L: Ledger + Erasures + ErasedEvents + GcRuns> ErasableLedger for L {}

/// Writes down what is stored of a job that is about to end, if anything is, and when it is to be erased, if ever.
///
/// # Errors
/// The ledger's. The job must not end before this has succeeded.
pub async fn record_stored(
    ledger: &dyn Ledger,
    record: &JobRecord,
    files: &[StoredFile],
    ended_at: Timestamp,
) -> Result<(), LedgerError> {
    let entry = LedgerEntry::of(record, files, ended_at);
    if entry.is_needed() { ledger.record(&entry).await } else { Ok(()) }
}

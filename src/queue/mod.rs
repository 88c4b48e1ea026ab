//! The queue: jobs from acceptance to their terminal record, and the callbacks they owe.
//!
//! It is as many traits as it has kinds of users: [`JobIntake`] for whoever uploads and cancels, [`IdempotentRequests`] for
//! whoever answers what may be repeated, [`JobWork`] for workers,
//! [`JobRecords`] for whoever looks jobs up, [`DeliveryOutbox`] for the webhook client, [`DeliveryRecords`] for whoever asks
//! what became of a callback, [`JobMaintenance`] for what runs now and then, [`QueueTransfer`] for whoever moves it; [`JobQueue`] is all of them, for who opens and closes it. Their calls are written so that Redis could
//! serve them: claim with a lease, renew, settle with a fence, cancel, look up, page, count. Every implementation passes
//! the one conformance suite in `tests/it/queue`. Those on one machine ([`MemoryQueue`], [`SledQueue`]) share all of it
//! but how their records are kept.
//!
//! `Ok` means that a change is as durable as the implementation can make it: with [`SledQueue`] it survives the loss of
//! power.

mod delivery;
mod error;
mod idempotency;
mod job;
mod lease;
mod listing;
mod local;
mod metrics;
mod record;
mod redis;
mod rules;
mod settings;
mod transfer;

use std::time::Duration;

use async_trait::async_trait;

pub use self::delivery::{
    CallbacksOf, Delivery, DeliveryContent, DeliveryOutcome, DeliveryPage, DeliveryRecord, DeliveryScope,
    DeliveryState, DeliveryTry, FileStored,
};
pub use self::error::QueueError;
pub use self::idempotency::{BegunRequest, RequestFate, RequestLease};
pub use self::job::{CancelOutcome, EndedJob, Enqueued, ErasedRecord, Job, KnownJob};
pub use self::lease::{Claim, ClaimRequest, Claimed, Lease, LeaseState, PASS_MAX, Place, Retry, Settled, Settlement};
pub use self::listing::{
    Backlog, Counts, Cursor, Filter, LaneCounts, OwedCallbacks, PAGE_MAX, Page, PageRequest, WaitReason,
};
pub use self::local::{MemoryQueue, QUEUE_DATABASE, SledQueue};
pub use self::metrics::QueueMetrics;
pub use self::redis::{RedisQueue, RedisQueueOptions, TimeSource};
pub use self::settings::{CrashAttribution, QueueSettings, RECORD_BYTES_MAX};
pub use self::transfer::{QueueTransfer, TransferCursor, TransferEntry, TransferPage, TransferredJob};
use crate::clock::Timestamp;
use crate::events::JobEvents;
use crate::job::{
    ContentHash, DeliveryId, HashKey, IdempotencyKey, JobId, JobRecord, JobRef, KeptAnswer, Owner, State, StoredFile,
};

/// How late whatever is due may be begun because a hint was missed.
const IDLE_POLL: Duration = Duration::from_secs(5);

/// What a job's owner asks for: to take it in, or to call it off.
#[async_trait]
pub trait JobIntake: Send + Sync + 'static {
    /// Takes a job in, unless its token is used, or the same bytes of the same owner are live and it is not to wait for those
    /// ([`JobRecord::waits_for`]). Of such jobs only the oldest is ever given out. Idempotent by id. That it has
    /// used its token is durable in the same moment, and so is the answer to its request, if that may be repeated
    /// ([`JobRecord::idempotency`]): one that was answered before, with another job, is no job again.
    async fn enqueue(&self, record: JobRecord) -> Result<Enqueued, QueueError>;

    /// The newest live job of this owner with this hash, if there is one: a cheap look before the disk is written to, which may
    /// miss one.
    async fn find_live(&self, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError>;

    /// The job that has used this token ([`OnceToken::digest`](crate::job::OnceToken)): a cheap look, like the one before.
    async fn user_of_token(&self, token: &ContentHash) -> Result<Option<JobId>, QueueError>;

    /// Cancels a job that has not ended. `files` is what is stored of it so far. No callback, unless the job
    /// asks to be told of this. One that another node works on is only [`CancelOutcome::Stopping`] from then on.
    async fn cancel(&self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError>;
}

/// What whoever answers requests asks that may be repeated: each is done once, and answered alike from then on.
#[async_trait]
pub trait IdempotentRequests: Send + Sync + 'static {
    /// Begins the request with this key, unless it has been answered or is under way. It is under way for `lease` from now,
    /// unless that is renewed.
    async fn begin_request(&self, key: IdempotencyKey, lease: Duration) -> Result<BegunRequest, QueueError>;

    /// Renews a request's lease, to `by` from now. With the job that it is about to become, that is what it is remembered
    /// by if nobody ends it. Answers whether it is this request's still: one whose lease has lapsed may have been begun again.
    async fn extend_request(&self, lease: &RequestLease, by: Duration, job: Option<JobId>) -> Result<bool, QueueError>;

    /// Ends a request that became no job, with what it is to be answered with for [`IdempotencyKey::KEPT_FOR`].
    /// [`JobIntake::enqueue`] ends one that did.
    async fn keep_answer(&self, lease: &RequestLease, answer: KeptAnswer) -> Result<(), QueueError>;

    /// Ends a request without an answer that is to be kept. Twice is harmless.
    async fn end_request(&self, lease: &RequestLease, fate: RequestFate) -> Result<(), QueueError>;
}

/// What a worker does, from claim to settlement.
#[async_trait]
pub trait JobWork: Send + Sync + 'static {
    /// Claims jobs: realtime before queued (but see [`QueueSettings::realtime_run_max`]), users in turn, inside a user its
    /// owners, each owner's first in first out, as long as they take no more memory than asked for.
    ///
    /// The first that takes more is passed by smaller jobs of other owners for [`PASS_MAX`]. Then it holds them, or it
    /// could wait for ever; but a tenant of whom something is being made does not hold one of whom nothing is.
    ///
    /// Under [`CrashAttribution::JobsInFlight`] a job that crashed before is claimed only while nothing else is being made,
    /// and halts other claims until it is made.
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError>;

    /// Returns when a claim for this place may find something, or after `at_most`. A hint: spurious and missed wake-ups are
    /// allowed. While the last claim for it was short of memory, only what takes no more than that had counts.
    async fn wait_ready(&self, place: Place, at_most: Duration);

    /// How long who has nothing to do waits before it asks again though nothing has woken it: as late a job is taken whose
    /// hint was missed, or given to a node that died.
    fn idle_poll(&self) -> Duration {
        IDLE_POLL
    }

    /// Notes that every variant of a claimed job is made: from now on it has no place, and counts as [`Counts::storing`].
    /// Its lease stays; an old lease changes nothing. Should it wait again, only [`JobWork::claim_made`] finds it, until an
    /// attempt fails or says that it is [`Settlement::Unmade`].
    async fn made(&self, lease: &Lease) -> Result<(), QueueError>;

    /// Claims at most `max` jobs of which everything is made, the oldest first. They take no place and no memory, so
    /// nothing else is waited for.
    async fn claim_made(&self, max: usize, lease: Duration) -> Result<Vec<Claim>, QueueError>;

    /// Returns when [`JobWork::claim_made`] may find something, or after `at_most`. A hint, like [`JobWork::wait_ready`].
    async fn wait_made(&self, at_most: Duration);

    /// Renews a lease, to `by` from now. One that [`JobMaintenance::expired_leases`] has listed is lost.
    async fn extend(&self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError>;

    /// Notes that a claimed job's expected file of this index is in all of its stores, for a callback that tells of it. One
    /// that was told before is not told again, and an old lease changes nothing. What is not noted is told of when the job
    /// ends.
    async fn file_stored(&self, lease: &Lease, index: u16, file: StoredFile) -> Result<(), QueueError>;

    /// Waits for a job that this node works on and that another was asked to cancel ([`CancelOutcome::Stopping`]). Never returns
    /// where there is one node.
    async fn next_stop(&self) -> JobId;

    /// Whether other nodes may be given this node's jobs when it can't renew their leases.
    fn is_shared(&self) -> bool;

    /// Ends an attempt. Whoever holds an old lease changes nothing.
    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<Settled, QueueError>;
}

/// Looking jobs up.
#[async_trait]
pub trait JobRecords: Send + Sync + 'static {
    /// The job, live or ended.
    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError>;

    /// The newest job, live or ended, with this hash.
    async fn newest(&self, hash: &HashKey) -> Result<Option<Job>, QueueError>;

    /// The newest job, live or ended, of this owner with this hash, which the owner shares with whoever had its user's name
    /// before.
    async fn newest_of(&self, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError>;

    /// The newest job, live or ended, of this owner with this `ref`.
    async fn newest_of_reference(&self, owner: &Owner, reference: &JobRef) -> Result<Option<Job>, QueueError>;

    /// Every job, live or ended, with this hash: the newest first.
    async fn of_hash(&self, hash: &HashKey) -> Result<Vec<Job>, QueueError>;

    /// Every job of any of these hashes, in no order that means something.
    async fn of_hashes(&self, hashes: &[HashKey]) -> Result<Vec<Job>, QueueError> {
        let mut jobs = Vec::new();
        for hash in hashes {
            jobs.extend(self.of_hash(hash).await?);
        }
        Ok(jobs)
    }

    /// A part of the list, newest upload first (by `seq`).
    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError>;

    /// The same, oldest upload first.
    async fn list_oldest_first(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError>;

    /// What each of these jobs waits for, in their order; nothing of one that is being made, has ended or is not known.
    async fn waiting_for(&self, ids: &[JobId]) -> Result<Vec<Option<WaitReason>>, QueueError>;

    /// How many live jobs have files for the store of this access key. Looks at each of them.
    async fn live_of_store(&self, access_key: &str) -> Result<u64, QueueError>;

    /// How many jobs there are. Never waits on the disk; an error while other calls would fail, so it tells a health
    /// check how the queue is.
    async fn counts(&self) -> Result<Counts, QueueError>;

    /// How much waits. Never waits itself.
    fn backlog(&self) -> Backlog;

    /// Where it tells that a job has changed, once that is durable.
    fn events(&self) -> &JobEvents;

    /// What it counts.
    fn metrics(&self) -> &QueueMetrics;
}

/// The callbacks that ended jobs owe, each in the outbox until it is settled.
#[async_trait]
pub trait DeliveryOutbox: Send + Sync + 'static {
    /// Deliveries that are due, at most `limit`, each hidden from further calls for `lease` (monotonic): users in turn,
    /// inside a user its owners, the longest due of each first.
    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// What a delivery tells of.
    async fn delivery_content(&self, id: &DeliveryId) -> Result<Option<DeliveryContent>, QueueError>;

    /// Settles one try of a delivery, durably. Once a job's end is delivered, what is still owed of its files is dropped.
    async fn settle_delivery(
        &self,
        id: &DeliveryId,
        tried: DeliveryTry,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError>;

    /// Returns when a delivery may be due, or after `at_most`. A hint, like [`JobWork::wait_ready`].
    async fn wait_delivery(&self, at_most: Duration);

    /// As [`JobWork::idle_poll`], of deliveries.
    fn idle_delivery_poll(&self) -> Duration {
        IDLE_POLL
    }
}

/// What became of callbacks. It is kept as long as their jobs' records.
#[async_trait]
pub trait DeliveryRecords: Send + Sync + 'static {
    /// One of them.
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>, QueueError>;

    /// Those of a job: of its end first, then of its files.
    async fn deliveries_of(&self, job: &JobId) -> Result<Vec<DeliveryRecord>, QueueError>;

    /// A part of the list of those in a state, of the newest job first.
    async fn list_deliveries(
        &self,
        scope: DeliveryScope,
        state: DeliveryState,
        page: PageRequest,
    ) -> Result<DeliveryPage, QueueError>;

    /// Makes these due at once, with no tries counted, whatever became of them before; answers how many of them are known.
    async fn redeliver(&self, ids: Vec<DeliveryId>) -> Result<usize, QueueError>;
}

/// What runs now and then: lapsed leases, old records, and what only the spool knows.
#[async_trait]
pub trait JobMaintenance: Send + Sync + 'static {
    /// The jobs whose lease has lapsed, the longest lapsed first, at most `limit`. From now on these can't be renewed: who
    /// stops their attempts can rely on it that nobody keeps them.
    async fn expired_leases(&self, limit: usize) -> Result<Vec<JobId>, QueueError>;

    /// Takes a job back whose lease has lapsed: to its place, the attempt counted, or failed for good if that was the last,
    /// with the callback it owes in the outbox in the same moment. `files` is what is stored of it, whoever did that.
    /// Answers where it is now; nothing, and nothing is changed, if its lease holds or nobody had it.
    async fn reap(&self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError>;

    /// What is known of each of `ids`, in their order. Reads no more than that takes: there may be as many as the spool has.
    async fn known(&self, ids: &[JobId]) -> Result<Vec<KnownJob>, QueueError>;

    /// Records what a failed or cancelled job has stored, if it ended without a worker that could say so. Of any other
    /// job nothing changes.
    async fn record_files(&self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError>;

    /// Removes ended jobs that finished before this and owe no callback any more, at most `limit`; answers how many.
    async fn purge(&self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError>;

    /// Notes that the originals of these ended jobs have left the spool for good: from now on their records may be purged. A queue
    /// whose spool lets go of originals as their jobs end needn't be told.
    async fn left_spool(&self, ids: &[JobId]) -> Result<(), QueueError>;

    /// Forgets used tokens that nobody takes any more, at most `limit`; answers how many.
    async fn forget_used_tokens(&self, limit: usize) -> Result<usize, QueueError>;

    /// Forgets answers that are given again no more, at most `limit`; answers how many.
    async fn forget_answers(&self, limit: usize) -> Result<usize, QueueError>;

    /// Removes a live job that had ended according to the spool: its terminal record was in a part of the database that
    /// is lost. Answers whether there was one.
    async fn drop_live(&self, id: &JobId) -> Result<bool, QueueError>;

    /// Forgets all of an ended job: its record, what became of its callbacks and those that it owes, its journal if it is kept
    /// here. The request that asked for it is answered [`KeptAnswer::erased`] from now on, for as long as it would have been
    /// answered otherwise. Of a live job nothing changes.
    async fn erase(&self, id: &JobId) -> Result<ErasedRecord, QueueError>;
}

/// The whole queue, for who opens it, hands its parts out and closes it.
#[async_trait]
pub trait JobQueue:
    JobIntake
    + IdempotentRequests
    + JobWork
    + JobRecords
    + DeliveryOutbox
    + DeliveryRecords
    + JobMaintenance
    + QueueTransfer
{
    /// Notes, durably, that the server is stopping: its death is attributed to no job from now on, whatever
    /// [`CrashAttribution`] says, until the queue is opened again.
    async fn mark_draining(&self) -> Result<(), QueueError>;

    /// Rewrites what is kept on this machine's disk, so that nothing of what was removed before is left in it, but for what was
    /// set aside as damaged. Other calls wait meanwhile. What is kept elsewhere is not this process' to rewrite.
    async fn rewrite(&self) -> Result<(), QueueError>;

    /// Settles what was asked for before, then closes; later calls fail.
    async fn shutdown(&self) -> Result<(), QueueError>;
}

//! The queue: jobs from acceptance to their terminal record, and the callbacks they owe.
//!
//! Calls are written so that Redis could serve them: claim with a lease, renew, settle with a fence, cancel, look up,
//! page, count. Every implementation passes the one conformance suite in `tests/it/queue`.

pub mod memory;
pub mod sled;

mod key;
mod machine;
mod outbox;
mod read;
mod record;
mod schedule;
mod signal;
mod store;

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::job::{ContentHash, HashKey, JobError, JobId, JobRecord, Owner, State, StoredFile};

/// A job as the queue knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What was accepted.
    pub record: JobRecord,
    /// Where it is.
    pub state: State,
    /// Its place: first in, first out inside a lane and an owner; kept across retries.
    pub seq: u64,
    /// Attempts begun and not refunded.
    pub attempts: u32,
    /// Times it took its worker down.
    pub crashes: u32,
    /// When it may be claimed, if not at once.
    pub not_before: Option<Timestamp>,
    /// When its first attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Why it failed, or why its last attempt did.
    pub error: Option<JobError>,
    /// What is stored where: all of it once completed, what there was if failed or cancelled.
    pub files: Vec<StoredFile>,
}

/// What became of an upload's job.
#[derive(Clone, Debug, PartialEq)]
pub enum Enqueued {
    /// It is queued.
    Created,
    /// It was queued already, under this very id.
    Known,
    /// The same bytes of the same owner are pending or processing: that job.
    Duplicate(Box<Job>),
}

/// The right to work on a job until `expires`, and the number that fences off whoever held it before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// Larger for every later claim of any job.
    pub token: u64,
    /// When it lapses, by [`crate::clock::Clock::elapsed`].
    pub expires: Duration,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The lease.
    pub lease: Lease,
    /// The job, this attempt counted.
    pub job: Job,
}

/// What a claim found.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The jobs whose turn it was.
    pub claims: Vec<Claim>,
    /// What the next job takes of memory, in bytes, if it stays where it is because that is more than was left.
    pub next_takes: Option<u64>,
}

/// What has become of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Still held, now until this time (by [`crate::clock::Clock::elapsed`]).
    Held(Duration),
    /// The job was cancelled: stop.
    Cancelled,
    /// Someone else has the job, or it ended: stop, and discard.
    Lost,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// Not before this has passed, if attempts are left.
    After(Duration),
}

/// What a settlement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The job is now in this state, durably.
    Applied(State),
    /// The lease was an old one; nothing changed.
    Stale,
}

/// What a cancellation did.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelOutcome {
    /// It was pending and will never start.
    CancelledPending,
    /// It was processing; its lease is void.
    CancelledProcessing,
    /// It had ended already, in this state.
    Ended(State),
    /// There is no such job.
    Unknown,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this owner.
    pub owner: Option<Owner>,
}

/// Which part of a list.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Entries at most; clamped to 1-200.
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

/// An opaque place in a list: printable, safe in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// A part of a list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// How many jobs are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the states'")]
pub struct Counts {
    pub pending: u64,
    pub processing: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// A callback that is owed.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The ended job.
    pub job: Job,
    /// Tries made before this one.
    pub attempts: u32,
}

/// What became of a try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Delivered, or given up: it leaves the outbox.
    Done,
    /// To be tried again after this has passed.
    Retry(Duration),
}

/// What an acknowledged call survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: memory.
    None,
    /// The death of the process.
    ProcessCrash,
    /// The loss of power.
    PowerLoss,
}

/// What a queue is told when it is opened.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// Live jobs (pending and processing) in all.
    pub depth_max: usize,
    /// Live jobs of one owner.
    pub owner_depth_max: usize,
    /// Attempts of one job.
    pub attempts_max: u32,
    /// Crashes of one job.
    pub crashes_max: u32,
    /// Bytes of a serialized job record.
    pub record_bytes_max: usize,
    /// After this many claims from the realtime lane in a row, one comes from the queued lane if it waits.
    pub realtime_run_max: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            depth_max: 10_000,
            owner_depth_max: 1_000,
            attempts_max: 5,
            crashes_max: 3,
            record_bytes_max: 64 * 1024,
            realtime_run_max: 8,
        }
    }
}

/// Whom to blame when the server died while jobs were processing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody: a job's pixels are worked on in a child process, whose death is counted by [`JobQueue::crashed`].
    /// A job that crashed takes nobody along, and runs among the others.
    Nobody,
    /// Every job that was processing: they run in the server's own process. A job that crashed then runs alone:
    /// it waits until nothing else is processing, and halts other claims until it has run.
    InFlight,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The queue holds as many live jobs as it may.
    #[error("the queue is full: {depth} jobs are waiting or being worked on")]
    Full {
        /// How many those are.
        depth: usize,
    },
    /// The owner has as many live jobs as they may.
    #[error("this owner has {depth} jobs waiting or being worked on, as many as are allowed")]
    OwnerFull {
        /// How many those are.
        depth: usize,
    },
    /// The record is larger than the queue takes.
    #[error("the job's record has {bytes} bytes; the queue takes {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A cursor that this queue didn't make.
    #[error("the cursor is not one that an earlier page gave")]
    BadCursor,
    /// Another process has the data directory.
    #[error("another process is using {path}")]
    AlreadyRunning {
        /// The directory.
        path: String,
    },
    /// The database was written by a newer Pixerve.
    #[error("the queue's database has schema {found}; this version knows up to {known}: use the newer Pixerve")]
    SchemaTooNew {
        /// The database's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The disk is full. The queue recovers by itself once there is space.
    #[error("no space left for the queue's database")]
    StorageFull,
    /// Anything else.
    #[error("the queue can't be used now: {what}")]
    Unavailable {
        /// What was attempted.
        what: String,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl QueueError {
    fn closed() -> Self {
        Self::Unavailable { what: "it is shut down".to_owned(), source: None }
    }
}

/// The queue. `Ok` means that the change survives what [`JobQueue::durability`] says.
#[async_trait]
pub trait JobQueue: Send + Sync + 'static {
    /// Takes a job in, unless the same bytes of the same owner are live. Idempotent by id.
    async fn enqueue(&self, record: JobRecord) -> Result<Enqueued, QueueError>;

    /// The live job of this owner with these bytes, if there is one: a cheap look before the disk is written to.
    async fn live(&self, owner: &Owner, content: &ContentHash) -> Result<Option<Job>, QueueError>;

    /// Claims up to `max` jobs: realtime before queued (but see [`QueueSettings::realtime_run_max`]), owners in turn,
    /// each owner's first in first out. Under [`Blame::InFlight`] a job that crashed before is claimed only while
    /// nothing else is processing, and halts other claims until it has run.
    async fn claim(&self, max: usize, lease: Duration) -> Result<Vec<Claim>, QueueError> {
        Ok(self.claim_within(u64::MAX, max, lease).await?.claims)
    }

    /// Claims like [`JobQueue::claim`], as long as the jobs together take at most `memory` bytes ([`JobRecord::memory`]).
    /// The first for which that is too little ends it: it is not overtaken, or it could wait for ever.
    async fn claim_within(&self, memory: u64, max: usize, lease: Duration) -> Result<Claimed, QueueError>;

    /// Returns when a claim may find something, or after `at_most`. A hint: spurious and missed wake-ups are allowed.
    async fn wait_ready(&self, at_most: Duration);

    /// Renews a lease, to `by` from now.
    async fn extend(&self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError>;

    /// Ends a job well. The callback it owes, if any, is in the outbox in the same moment.
    async fn complete(&self, lease: &Lease, files: Vec<StoredFile>) -> Result<Settled, QueueError>;

    /// Ends an attempt badly: back to its place after a while if `retry` and the attempts allow it, else failed for
    /// good, with the callback it owes in the outbox in the same moment. `files` is what was stored all the same.
    async fn fail(
        &self,
        lease: &Lease,
        error: JobError,
        files: Vec<StoredFile>,
        retry: Retry,
    ) -> Result<Settled, QueueError>;

    /// Counts a crash of the job's own child process, durably: back to its place as a suspect, or failed (`poison`).
    /// `files` is what was stored all the same.
    async fn crashed(&self, lease: &Lease, error: JobError, files: Vec<StoredFile>) -> Result<Settled, QueueError>;

    /// Gives a job back unharmed, the attempt refunded.
    async fn release(&self, lease: &Lease) -> Result<Settled, QueueError>;

    /// Cancels a job that has not ended. `files` is what is stored of it so far. No callback.
    async fn cancel(&self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError>;

    /// Names what a failed or cancelled job has stored, if it ended without a worker that could say so. Of any other
    /// job nothing changes.
    async fn name_files(&self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError>;

    /// The job, live or ended.
    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError>;

    /// The newest job, live or ended, with this hash.
    async fn newest(&self, hash: &HashKey) -> Result<Option<Job>, QueueError>;

    /// A part of the list, newest upload first (by `seq`).
    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError>;

    /// How many jobs there are. Never waits on the disk; an error while other calls would fail, so it tells a health
    /// check how the queue is.
    async fn counts(&self) -> Result<Counts, QueueError>;

    /// The jobs whose lease has lapsed, the longest lapsed first, at most `limit`.
    async fn expired(&self, limit: usize) -> Result<Vec<JobId>, QueueError>;

    /// Takes a job back whose lease has lapsed: to its place, the attempt counted, or failed for good if that was the last,
    /// with the callback it owes in the outbox in the same moment. `files` is what is stored of it, whoever did that.
    /// Answers where it is now; nothing, and nothing is changed, if its lease holds or nobody had it.
    async fn reap(&self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError>;

    /// Forgets ended jobs that finished before this and owe no callback any more, at most `limit`; answers how many.
    async fn purge(&self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError>;

    /// Forgets a live job, which had ended according to the spool: its end was in a part of the store that is lost.
    /// Answers whether there was one.
    async fn forget_live(&self, id: &JobId) -> Result<bool, QueueError>;

    /// Deliveries that are due, at most `limit`, each hidden from further calls for `lease` (monotonic).
    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// Settles one try of a delivery, durably.
    async fn settle_delivery(&self, id: &JobId, outcome: DeliveryOutcome) -> Result<(), QueueError>;

    /// Returns when a delivery may be due, or after `at_most`. A hint, like [`JobQueue::wait_ready`].
    async fn wait_delivery(&self, at_most: Duration);

    /// Says, as durably as anything, that the server is stopping: from now on its death blames nobody, whatever
    /// [`Blame`] says, until the queue was opened again.
    async fn drain_begins(&self) -> Result<(), QueueError>;

    /// Settles what was asked for before, then closes; later calls fail.
    async fn shutdown(&self) -> Result<(), QueueError>;

    /// What `Ok` survives.
    fn durability(&self) -> Durability;
}

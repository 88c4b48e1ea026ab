//! The right to work on a job: how it is got, held and given back.

use std::time::Duration;

use super::Job;
use crate::job::{JobError, JobId, Placeholder, State, StoredFile};

/// The right to work on a job until `expires`, and the number that fences off whoever held it before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// No other claim of any job has it.
    pub token: u64,
    /// When it lapses, by [`crate::clock::Clock::elapsed`].
    pub expires: Duration,
}

/// For how long smaller jobs of others pass one whose turn it is and for which memory is missing. Then it holds them.
pub const PASS_MAX: Duration = Duration::from_secs(10);

/// A place for making a job's variants. A job has it from its claim until its variants are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// For whoever's turn it is.
    Regular,
    /// Only for a tenant ([`TenantKey`](crate::job::TenantKey)) of whom nothing is being made, so that nobody waits until
    /// another's long job is done.
    Spare,
}

impl Place {
    /// Both, each where its number says.
    pub(in crate::queue) const ALL: [Self; 2] = [Self::Regular, Self::Spare];
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Jobs at most.
    pub max: usize,
    /// The place that each will have.
    pub place: Place,
    /// Bytes of memory that the jobs together may take ([`JobRecord::memory`](crate::job::JobRecord::memory)).
    pub memory: u64,
    /// How long each is held unless it is renewed.
    pub lease: Duration,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What renews and settles it.
    pub lease: Lease,
    /// The job, this attempt counted.
    pub job: Job,
}

/// What a claim found.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The jobs whose turn it was.
    pub claims: Vec<Claim>,
    /// Bytes of memory with which a claim would give out another job, if there is one and it takes more than was left: the
    /// least that any of those takes that may be given out now. Less may do once another job comes in.
    pub next_takes: Option<u64>,
}

/// What has become of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Still held, now until this time (by [`crate::clock::Clock::elapsed`]).
    Held(Duration),
    /// The job was cancelled: stop.
    Cancelled,
    /// Held, but another node was asked to cancel the job: stop, and settle it as [`Settlement::Stopped`].
    CalledOff,
    /// Someone else has the job, or it ended: stop, and discard.
    Lost,
}

/// How an attempt ended. `files` is what is stored of the job, whichever attempt stored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Every file is stored everywhere. The callback the job owes, if any, is in the outbox in the same moment.
    Completed {
        /// All of its files.
        files: Vec<StoredFile>,
        /// What stands in the picture's place, if the job asked for it.
        placeholder: Option<Placeholder>,
    },
    /// It failed: the job waits in its old place if `retry` and the attempts left allow it, else it has failed for good,
    /// with the callback it owes in the outbox in the same moment.
    Failed {
        /// Why.
        error: JobError,
        /// What was stored all the same.
        files: Vec<StoredFile>,
        /// Whether another attempt may fare better.
        retry: Retry,
    },
    /// The job's own child process died. The crash is counted: the job waits in its old place, or has failed for good if
    /// that was one crash ([`QueueSettings::crashes_max`](super::QueueSettings::crashes_max)) or one attempt too many.
    Crashed {
        /// How it died.
        error: JobError,
        /// What was stored all the same.
        files: Vec<StoredFile>,
    },
    /// The job was called off while it was worked on ([`JobWork::next_stop`](super::JobWork::next_stop)): it ends cancelled.
    Stopped {
        /// What was stored until then.
        files: Vec<StoredFile>,
    },
    /// The worker gives the job back unharmed; the attempt doesn't count.
    Released,
    /// It failed for want of something that is the server's and not the job's: the job waits in its old place, and the
    /// attempt doesn't count.
    Postponed {
        /// What was wanting; on the job's record until it ends.
        error: JobError,
        /// What was stored all the same.
        files: Vec<StoredFile>,
        /// Before the next attempt.
        wait: Duration,
    },
    /// It was claimed as made, and some of what was made is gone: it waits in its old place to be made again, and the
    /// attempt doesn't count.
    Unmade {
        /// What is stored of it.
        files: Vec<StoredFile>,
    },
    /// It takes more memory than its record says: it waits in its old place until there is so much, and the attempt doesn't
    /// count.
    Outgrown {
        /// Bytes.
        memory: u64,
    },
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

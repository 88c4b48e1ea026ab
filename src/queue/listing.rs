//! Lists of jobs, page by page, and how many there are.

use std::time::Duration;

use super::{Job, QueueError};
use crate::clock::Timestamp;
use crate::job::{Owner, State, UserKey};

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this owner.
    pub owner: Option<Owner>,
    /// Only of the owners of this user; says nothing beside an owner.
    pub user: Option<UserKey>,
    /// Only what was accepted then, or later.
    pub since: Option<Timestamp>,
    /// Only what was accepted before.
    pub until: Option<Timestamp>,
}

/// How far two clocks of one installation, or one clock before and after it was set, may be apart for lists by time to miss
/// nothing.
pub(in crate::queue) const CLOCK_SLACK: Duration = Duration::from_mins(1);

impl Filter {
    /// All in this state.
    #[must_use]
    pub fn in_state(state: State) -> Self {
        Self { state: Some(state), ..Self::default() }
    }

    /// The least place that a job may have which was accepted in time: places are those of the moment at which a job was queued,
    /// in microseconds, or higher.
    pub(in crate::queue) fn least_place(&self) -> Option<u64> {
        self.since.map(|since| since.before(CLOCK_SLACK).as_millis().saturating_mul(1000))
    }

    /// When an upload must have begun for its job to be accepted in time. Ids tell that, without the record.
    pub(in crate::queue) fn begun_before(&self) -> Option<Timestamp> {
        self.until.map(|until| until.after(CLOCK_SLACK))
    }

    /// Whether a job of any place was accepted in time.
    pub(in crate::queue) fn covers(&self, accepted: Timestamp) -> bool {
        self.since.is_none_or(|since| accepted >= since) && self.until.is_none_or(|until| accepted < until)
    }
}

/// Which jobs come first in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue) enum ListOrder {
    NewestFirst,
    OldestFirst,
}

/// What a live job waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// All of it is made, and not stored everywhere.
    Store,
    /// It is its turn, and it takes more memory than is free.
    Memory,
    /// Others come first, its next attempt is not due, or an older job of the same bytes lives.
    Turn,
}

/// Entries of a list that one page has at most.
pub const PAGE_MAX: usize = 200;

/// Which part of a list.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Entries at most; clamped to 1 to [`PAGE_MAX`].
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// Entries at most.
    pub(in crate::queue) fn entries(&self) -> usize {
        self.limit.clamp(1, PAGE_MAX)
    }
}

/// An opaque place in a list: printable, safe in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

impl Cursor {
    /// Behind the job of this place, in any list of jobs.
    #[must_use]
    pub fn behind(place: u64) -> Self {
        Self(format!("{place:016x}"))
    }

    /// The place of the job that it is behind.
    ///
    /// # Errors
    /// [`QueueError::BadCursor`] if no list of jobs gave it.
    pub fn place(&self) -> Result<u64, QueueError> {
        let Self(text) = self;
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(QueueError::BadCursor);
        }
        u64::from_str_radix(text, 16).map_err(|_| QueueError::BadCursor)
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most as many as were asked for; fewer, or none, also where much had to be passed over.
    pub jobs: Vec<Job>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// The live jobs of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounts {
    /// Those that wait.
    pub pending: u64,
    /// Those of which variants are being made.
    pub making: u64,
    /// Those that are being stored.
    pub storing: u64,
    /// When the oldest of those that wait was accepted.
    pub oldest_pending: Option<Timestamp>,
}

/// The callbacks that are owed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwedCallbacks {
    /// How many.
    pub count: u64,
    /// When the job ended that the oldest of them tells about.
    pub oldest: Option<Timestamp>,
}

/// How much waits, as of the last change: nobody waits for the queue to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// By priority, in the order of [`Priority::ALL`](crate::job::Priority::ALL).
    pub lanes: [LaneCounts; 2],
    /// In the outbox.
    pub callbacks: OwedCallbacks,
}

/// How many jobs are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the states'")]
pub struct Counts {
    pub pending: u64,
    /// Both stages together.
    pub processing: u64,
    /// How many of those that are processing have their variants made, and are being stored.
    pub storing: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
}

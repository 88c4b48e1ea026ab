//! Lists of jobs, page by page, and how many there are.

use super::Job;
use crate::clock::Timestamp;
use crate::job::{Owner, State};

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only in this state.
    pub state: Option<State>,
    /// Only of this owner.
    pub owner: Option<Owner>,
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

/// A part of a list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most as many as were asked for.
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

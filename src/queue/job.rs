//! A job on its way through the queue, and how it comes in and is called off.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::job::{JobError, JobId, JobRecord, KeptAnswer, Placeholder, State, StoredFile};

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
    /// What stands in the picture's place; none until it has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<Placeholder>,
    /// How often it has changed, from its acceptance to this record. Grows, but is no exact count where a server died.
    #[serde(default)]
    pub changes: u64,
    /// The job that runs it again, if it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<JobId>,
}

impl Job {
    /// When it is to be erased; none until it has ended, and if it never is.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ended_at = self.finished_at.filter(|_| self.state.is_terminal())?;
        Some(self.record.spec.expires_after?.from_end(ended_at))
    }
}

/// What became of an upload's job.
#[derive(Clone, Debug, PartialEq)]
pub enum Enqueued {
    /// It is queued.
    Created,
    /// It was queued already, under this very id.
    Known,
    /// The same bytes of the same owner are pending or processing: the newest such job.
    Duplicate(Box<Job>),
    /// Its token is good for one upload, and this other job was that.
    TokenUsed(JobId),
    /// Its request was answered before, with another job or none.
    Repeated(KeptAnswer),
    /// The job that it was to run again is run again by this other one.
    RetriedAlready(JobId),
}

/// What the queue knows of a job that the spool has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownJob {
    /// Nothing: it never came in, or its record is gone.
    Unknown,
    /// It has not ended.
    Live,
    /// It has ended.
    Ended(EndedJob),
}

/// What counts of a job's end for whoever keeps its original.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// How it ended.
    pub state: State,
    /// How long ago, by the queue's clock.
    pub ago: Duration,
    /// Whether a callback is still in the outbox.
    pub owes_callback: bool,
}

/// What a cancellation did.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelOutcome {
    /// It was pending and will never start.
    CancelledPending,
    /// It was processing; its lease is void.
    CancelledProcessing,
    /// Another node works on it, and has been asked to stop: it ends cancelled once that has, unless it ends first.
    Stopping,
    /// It had ended already, in this state.
    Ended(State),
    /// There is no such job.
    Unknown,
}

/// What became of a record that was to be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasedRecord {
    /// It is gone.
    Gone,
    /// Its job has not ended; nothing has changed.
    Live,
    /// There is none.
    Unknown,
}

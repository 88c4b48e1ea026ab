//! Moving everything that a queue has to another one, whatever kind either is.

use async_trait::async_trait;

use super::record::{StoredAnswer, StoredDelivery, StoredJob};
use super::{DeliveryState, Job, QueueError};
use crate::job::{DeliveryId, JobId, OnceToken, State};

/// Taking all out of a queue, and putting it into another. Only while nobody else uses either: what is listed page by page must
/// stay as it is.
#[async_trait]
pub trait QueueTransfer: Send + Sync + 'static {
    /// Takes every job back that somebody has a lease on, who is dead: the attempt doesn't count.
    async fn void_leases(&self) -> Result<(), QueueError>;

    /// A part of all there is, without leases: jobs with their callbacks and what their requests are answered with, by place, then used
    /// tokens, by their end.
    async fn export(&self, from: Option<TransferCursor>) -> Result<TransferPage, QueueError>;

    /// Takes in what another queue has exported, as it was: places, counts, times and callbacks. What is here already stays as it is, so
    /// that the same entries may come again. Jobs come by place, or owners' turns are others.
    async fn import(&self, entries: Vec<TransferEntry>) -> Result<(), QueueError>;

    /// Returns once all that was imported is as durable as this queue can make it.
    async fn persist(&self) -> Result<(), QueueError>;
}

/// One thing that a queue keeps.
#[derive(Clone, Debug, PartialEq)]
pub enum TransferEntry {
    /// A job, live or ended.
    Job(Box<TransferredJob>),
    /// A token that is good for one upload, and the job that was it.
    UsedToken {
        /// The token.
        token: OnceToken,
        /// Who used it. Its record may be gone.
        job: JobId,
    },
}

/// A job with all that a queue knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferredJob {
    pub(in crate::queue) stored: StoredJob,
    /// Of its end first, then of its files.
    pub(in crate::queue) deliveries: Vec<(DeliveryId, StoredDelivery)>,
    /// What its request is answered with when it is repeated.
    pub(in crate::queue) answer: Option<StoredAnswer>,
}

/// A part of what a queue has.
#[derive(Clone, Debug, Default)]
pub struct TransferPage {
    /// In order.
    pub entries: Vec<TransferEntry>,
    /// Records that can't be read, and so can't be moved. Each is in the log.
    pub unreadable: usize,
    /// Where the next page begins, if there is one.
    pub next: Option<TransferCursor>,
}

/// The last thing of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferCursor {
    /// The job at this place.
    Job(u64),
    /// Every job, and this token; none if no token has been exported.
    Token(Option<OnceToken>),
}

/// Entries of a page.
pub(in crate::queue) const TRANSFERRED_AT_ONCE: usize = 100;

impl TransferredJob {
    /// One as it is kept; its callbacks in any order.
    ///
    /// # Errors
    /// If somebody has a lease on it.
    pub(in crate::queue) fn new(
        mut stored: StoredJob,
        mut deliveries: Vec<(DeliveryId, StoredDelivery)>,
        answer: Option<StoredAnswer>,
    ) -> Result<Self, QueueError> {
        if stored.job.state == State::Processing {
            let what = format!("job {} is being worked on, and can't be moved", stored.job.record.id);
            return Err(QueueError::Unavailable { what, source: None });
        }
        // Of a lease that is over; the other queue has numbers of its own.
        stored.token = 0;
        deliveries.sort_by_key(|(id, _)| *id);
        // A later request may have its key.
        let answer = answer.filter(|answer| answer.job == Some(stored.job.record.id));
        Ok(Self { stored, deliveries, answer })
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.stored.job
    }

    /// How many of its callbacks are owed.
    #[must_use]
    pub fn owed_callbacks(&self) -> usize {
        self.deliveries.iter().filter(|(_, delivery)| delivery.state == DeliveryState::Pending).count()
    }
}

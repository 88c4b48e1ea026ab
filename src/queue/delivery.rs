//! Callbacks on their way out of the queue.

use std::time::Duration;

use crate::job::{JobId, Owner};

/// A callback that is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The job that ended.
    pub id: JobId,
    /// Whose job that is.
    pub owner: Owner,
    /// The host that is to be called.
    pub host: String,
    /// Tries made before this one.
    pub attempts: u32,
}

/// What became of a try to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Delivered, or not to be retried: it leaves the outbox, and its job's record forgets where it went.
    Done,
    /// Nothing came of it, and nothing will before the queue is opened again: then it is due. It counts as no try.
    Held,
    /// To be retried after this has passed.
    Retry(Duration),
}

//! Callbacks as tests settle them.

use pixerve::clock::Timestamp;
use pixerve::job::{DeliveryId, JobId, State};
use pixerve::queue::{DeliveryOutbox, DeliveryOutcome, DeliveryTry, QueueError};

/// The callback that tells that a job completed or failed.
pub(crate) fn end_of(job: JobId) -> DeliveryId {
    DeliveryId::of_end(job, State::Completed).expect("it has ended")
}

/// A try that took no time.
pub(crate) fn tried(status: Option<u16>, error: Option<&str>) -> DeliveryTry {
    DeliveryTry { at: Timestamp::from_millis(1), number: 0, status, duration_ms: 0, error: error.map(str::to_owned) }
}

/// Settles the callback about a job's end with a try of which nothing is told.
pub(crate) async fn settle(
    queue: &(impl DeliveryOutbox + ?Sized),
    job: JobId,
    outcome: DeliveryOutcome,
) -> Result<(), QueueError> {
    queue.settle_delivery(&end_of(job), tried(None, None), outcome).await
}

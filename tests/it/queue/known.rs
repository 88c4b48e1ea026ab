//! What the queue tells whoever compares it with the spool.

use pixerve::clock::Timestamp;
use pixerve::job::{JobId, State};
use pixerve::queue::{DeliveryOutcome, EndedJob, KnownJob, Retry, Settled};

use super::fixture::{QueueFixture, SECOND, TestResult, calling_back, claim, complete, enqueue, failure, queued};
use crate::harness::deliveries::settle;

every_queue! {
    each_job_is_unknown_live_or_ended_with_or_without_a_callback,
}

async fn each_job_is_unknown_live_or_ended_with_or_without_a_callback(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let completed = enqueue(&queue, &queued("a", 1)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    let owing = enqueue(&queue, &calling_back(queued("a", 2))).await?;
    let held = claim(&queue).await?;
    assert_eq!(queue.settle(&held.lease, failure(Retry::Never)).await?, Settled::Applied(State::Failed));
    fixture.clock.advance(SECOND);
    let cancelled = enqueue(&queue, &queued("a", 3)).await?;
    queue.cancel(&cancelled, Vec::new()).await?;
    let processing = enqueue(&queue, &queued("a", 4)).await?;
    claim(&queue).await?;
    let pending = enqueue(&queue, &queued("a", 5)).await?;
    let unknown = JobId::new(Timestamp::from_millis(1));
    fixture.clock.advance(SECOND);

    let ended = |state, ago, owes_callback| KnownJob::Ended(EndedJob { state, ago, owes_callback });
    let known = queue.known(&[unknown, pending, processing, cancelled, owing, completed, pending]).await?;
    let expected = [
        KnownJob::Unknown,
        KnownJob::Live,
        KnownJob::Live,
        ended(State::Cancelled, SECOND, false),
        ended(State::Failed, 2 * SECOND, true),
        ended(State::Completed, 2 * SECOND, false),
        KnownJob::Live,
    ];
    assert_eq!(known, expected);

    settle(&*queue, owing, DeliveryOutcome::Delivered).await?;
    assert_eq!(queue.known(&[owing]).await?, [ended(State::Failed, 2 * SECOND, false)]);
    assert_eq!(queue.known(&[]).await?, []);
    Ok(())
}

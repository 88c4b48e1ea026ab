//! Jobs called off.

use pixerve::clock::Timestamp;
use pixerve::job::{JobId, State};
use pixerve::queue::{CancelOutcome, LeaseState, Retry, Settled, Settlement};

use super::fixture::{
    LEASE, QueueFixture, SECOND, TestResult, broken_disk, calling_back, claim, complete, completion, enqueue, failure,
    nothing_to_claim, queued,
};
use super::settle::file;

every_queue! {
    cancelled_pending_job_never_starts,
    cancelled_delayed_job_never_starts,
    worker_of_a_cancelled_job_is_told_to_stop,
    cancelling_what_has_ended_changes_nothing,
    cancelled_job_owes_no_callback,
}

async fn cancelled_pending_job_never_starts(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    assert_eq!(queue.cancel(&id, Vec::new()).await?, CancelOutcome::CancelledPending);
    nothing_to_claim(&queue).await?;
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.finished_at), (State::Cancelled, Some(fixture.now())));
    Ok(())
}

async fn cancelled_delayed_job_never_starts(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    queue
        .settle(
            &held.lease,
            Settlement::Failed { error: broken_disk(), files: vec![file("one.jpg")], retry: Retry::After(SECOND) },
        )
        .await?;
    assert_eq!(queue.cancel(&id, Vec::new()).await?, CancelOutcome::CancelledPending);
    fixture.clock.advance(SECOND);
    nothing_to_claim(&queue).await?;
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.not_before, job.files.len()), (None, 1), "what was stored stays listed");
    Ok(())
}

async fn worker_of_a_cancelled_job_is_told_to_stop(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    let cancelled = queue.cancel(&id, vec![file("one.jpg")]).await?;
    assert_eq!(cancelled, CancelOutcome::CancelledProcessing);
    assert_eq!(queue.extend(&held.lease, LEASE).await?, LeaseState::Cancelled);
    assert_eq!(queue.settle(&held.lease, completion()).await?, Settled::Stale);
    assert_eq!(queue.settle(&held.lease, failure(Retry::Never)).await?, Settled::Stale);
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.files), (State::Cancelled, vec![file("one.jpg")]));
    Ok(())
}

async fn cancelling_what_has_ended_changes_nothing(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    let before = queue.get(&id).await?;
    assert_eq!(queue.cancel(&id, Vec::new()).await?, CancelOutcome::Ended(State::Completed));
    assert_eq!(queue.get(&id).await?, before);
    let nobody = JobId::new(Timestamp::from_millis(1));
    assert_eq!(queue.cancel(&nobody, Vec::new()).await?, CancelOutcome::Unknown);
    Ok(())
}

async fn cancelled_job_owes_no_callback(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    queue.cancel(&id, Vec::new()).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    Ok(())
}

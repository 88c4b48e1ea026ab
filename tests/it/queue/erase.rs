//! Jobs of which the queue forgets all.

use pixerve::job::{IdempotencyKey, JobRecord, KeptAnswer, State};
use pixerve::queue::{BegunRequest, DeliveryScope, DeliveryState, Enqueued, ErasedRecord, Filter, PageRequest};

use super::fixture::{LEASE, QueueFixture, TestResult, calling_back, claim, complete, enqueue, owner, queued};
use super::idempotency::answered_with;

every_queue! {
    an_erased_job_is_in_no_list_and_owes_nothing,
    a_live_job_is_not_erased,
    the_request_of_an_erased_job_is_answered_so_and_its_upload_is_no_job_again,
    all_jobs_of_a_hash_are_found_newest_first,
    a_queue_that_is_rewritten_goes_on,
}

async fn an_erased_job_is_in_no_list_and_owes_nothing(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (gone, stays) = (calling_back(queued("me", 1)), calling_back(queued("me", 2)));
    for record in [&gone, &stays] {
        enqueue(&queue, record).await?;
        let claimed = claim(&queue).await?;
        complete(&queue, &claimed).await?;
    }
    assert_eq!(queue.erase(&gone.id).await?, ErasedRecord::Gone);
    assert_eq!(queue.erase(&gone.id).await?, ErasedRecord::Unknown, "twice is harmless");
    assert_eq!(queue.get(&gone.id).await?, None);
    assert_eq!(queue.newest(&gone.hash).await?, None);
    for filter in [
        Filter::default(),
        Filter::in_state(State::Completed),
        Filter { owner: Some(owner("me")), ..Filter::default() },
    ] {
        let listed = queue.list(&filter, PageRequest { limit: 10, cursor: None }).await?.jobs;
        assert_eq!(listed.iter().map(|job| job.record.id).collect::<Vec<_>>(), [stays.id]);
    }
    let owed = queue.due_deliveries(10, LEASE).await?;
    assert_eq!(owed.iter().map(|delivery| delivery.id.job).collect::<Vec<_>>(), [stays.id]);
    assert!(queue.deliveries_of(&gone.id).await?.is_empty());
    let page = PageRequest { limit: 10, cursor: None };
    let pending = queue.list_deliveries(DeliveryScope::All, DeliveryState::Pending, page).await?.deliveries;
    assert_eq!(pending.len(), 1);
    assert_eq!(queue.counts().await?.completed, 1);
    // The same bytes are a new job.
    enqueue(&queue, &queued("me", 1)).await?;
    Ok(())
}

async fn a_live_job_is_not_erased(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = queued("me", 1);
    enqueue(&queue, &record).await?;
    assert_eq!(queue.erase(&record.id).await?, ErasedRecord::Live);
    claim(&queue).await?;
    assert_eq!(queue.erase(&record.id).await?, ErasedRecord::Live);
    assert_eq!(queue.get(&record.id).await?.ok_or("known")?.state, State::Processing);
    Ok(())
}

async fn the_request_of_an_erased_job_is_answered_so_and_its_upload_is_no_job_again(
    fixture: QueueFixture,
) -> TestResult {
    let queue = fixture.open()?;
    let key = IdempotencyKey::new(&owner("me"), "/upload", "a");
    let record = JobRecord { idempotency: Some(answered_with(key, "what names it")), ..queued("me", 1) };
    enqueue(&queue, &record).await?;
    let claimed = claim(&queue).await?;
    complete(&queue, &claimed).await?;
    assert_eq!(queue.erase(&record.id).await?, ErasedRecord::Gone);
    assert_eq!(queue.begin_request(key, LEASE).await?, BegunRequest::Answered(KeptAnswer::erased()));
    // As the comparison would find it, if its original had stayed.
    assert_eq!(queue.enqueue(record).await?, Enqueued::Repeated(KeptAnswer::erased()));
    fixture.clock.advance(IdempotencyKey::KEPT_FOR);
    assert!(matches!(queue.begin_request(key, LEASE).await?, BegunRequest::Begun { .. }), "until its day is over");
    Ok(())
}

async fn all_jobs_of_a_hash_are_found_newest_first(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let mut ids = Vec::new();
    for _ in 0..6 {
        let record = queued("me", 1);
        enqueue(&queue, &record).await?;
        let claimed = claim(&queue).await?;
        complete(&queue, &claimed).await?;
        ids.insert(0, record.id);
    }
    enqueue(&queue, &queued("me", 2)).await?;
    let found = queue.of_hash(&queued("me", 1).hash).await?;
    assert_eq!(found.iter().map(|job| job.record.id).collect::<Vec<_>>(), ids);
    Ok(())
}

async fn a_queue_that_is_rewritten_goes_on(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (held, waits, ended) = (queued("me", 1), queued("me", 2), queued("me", 3));
    enqueue(&queue, &ended).await?;
    let claimed = claim(&queue).await?;
    complete(&queue, &claimed).await?;
    enqueue(&queue, &held).await?;
    let claimed = claim(&queue).await?;
    enqueue(&queue, &waits).await?;
    queue.rewrite().await?;
    complete(&queue, &claimed).await?;
    assert_eq!(claim(&queue).await?.job.record.id, waits.id);
    assert_eq!(queue.get(&ended.id).await?.ok_or("known")?.state, State::Completed);
    assert_eq!(queue.get(&held.id).await?.ok_or("known")?.state, State::Completed);
    Ok(())
}

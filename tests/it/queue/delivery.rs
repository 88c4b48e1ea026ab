//! The callbacks that are owed.

use std::collections::HashSet;
use std::sync::Arc;

use pixerve::job::{JobId, Owner, Priority, State};
use pixerve::queue::{Delivery, DeliveryOutcome, Retry};

use super::fixture::{
    LEASE, QueueFixture, SECOND, TestResult, calling_back, claim, claim_up_to, complete, enqueue, failure, queued,
    record,
};

every_queue! {
    ended_job_owes_its_callback,
    job_without_callback_owes_none,
    delivery_is_hidden_while_it_is_tried,
    delivery_is_tried_again_later,
    delivered_callback_is_owed_no_more,
    purge_keeps_what_owes_a_callback,
    waiting_for_deliveries_ends_when_one_is_owed,
    deliveries_of_one_user_do_not_hide_those_of_another,
    where_a_callback_went_is_forgotten_once_none_is_owed,
    held_delivery_is_neither_due_nor_forgotten,
}

async fn ended_job_owes_its_callback(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &calling_back(queued("a", 1))).await?;
    enqueue(&queue, &calling_back(queued("a", 2))).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    complete(&queue, &claim(&queue).await?).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;
    let mut states = Vec::new();
    for Delivery { id, host, attempts, .. } in queue.due_deliveries(10, LEASE).await? {
        let job = queue.delivery_job(&id).await?.ok_or("it is unknown")?;
        states.push((job.state, host, attempts));
    }
    states.sort();
    let host = "app.example".to_owned();
    assert_eq!(states, [(State::Completed, host.clone(), 0), (State::Failed, host, 0)]);
    Ok(())
}

async fn job_without_callback_owes_none(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    Ok(())
}

async fn delivery_is_hidden_while_it_is_tried(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    for n in 0..3 {
        enqueue(&queue, &calling_back(queued("a", n))).await?;
        complete(&queue, &claim(&queue).await?).await?;
    }
    assert_eq!(queue.due_deliveries(2, LEASE).await?.len(), 2);
    assert_eq!(queue.due_deliveries(10, 2 * LEASE).await?.len(), 1);
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    fixture.clock.advance(LEASE);
    assert_eq!(queue.due_deliveries(10, LEASE).await?.len(), 2, "the lease of those has lapsed");
    Ok(())
}

async fn delivery_is_tried_again_later(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    for attempts in 0..3 {
        let due = queue.due_deliveries(10, LEASE).await?;
        assert_eq!(due.iter().map(|delivery| delivery.attempts).collect::<Vec<_>>(), [attempts]);
        queue.settle_delivery(&id, DeliveryOutcome::Retry(300 * SECOND)).await?;
        fixture.clock.advance(299 * SECOND);
        assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
        fixture.clock.advance(SECOND);
    }
    Ok(())
}

async fn delivered_callback_is_owed_no_more(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.due_deliveries(10, LEASE).await?;
    queue.settle_delivery(&id, DeliveryOutcome::Done).await?;
    queue.settle_delivery(&id, DeliveryOutcome::Retry(SECOND)).await?;
    fixture.clock.advance(LEASE);
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    Ok(())
}

async fn purge_keeps_what_owes_a_callback(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let owing = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    let done = enqueue(&queue, &queued("a", 2)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(queue.purge(fixture.now(), 10).await?, 1);
    assert_eq!((queue.get(&owing).await?.is_some(), queue.get(&done).await?), (true, None));
    queue.settle_delivery(&owing, DeliveryOutcome::Done).await?;
    assert_eq!(queue.purge(fixture.now(), 10).await?, 1);
    Ok(())
}

async fn waiting_for_deliveries_ends_when_one_is_owed(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &calling_back(queued("a", 1))).await?;
    let held = claim(&queue).await?;
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.wait_delivery(3600 * SECOND).await }
    });
    complete(&queue, &held).await?;
    waiting.await?;
    assert_eq!(queue.due_deliveries(10, LEASE).await?.len(), 1);
    Ok(())
}

async fn deliveries_of_one_user_do_not_hide_those_of_another(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let greedy = |n: u32| Owner { user: Some("greedy".to_owned()), access_key: None, sub: format!("sub-{}", n % 10) };
    for n in 0..40 {
        enqueue(&queue, &calling_back(record(&greedy(n), n, Priority::Queued))).await?;
    }
    for claim in claim_up_to(&queue, 40).await? {
        complete(&queue, &claim).await?;
    }
    fixture.clock.advance(SECOND);
    for (n, sub) in ["a", "b", "a"].into_iter().enumerate() {
        enqueue(&queue, &calling_back(queued(sub, u32::try_from(n)?))).await?;
        complete(&queue, &claim(&queue).await?).await?;
    }
    let due = queue.due_deliveries(6, LEASE).await?;
    let (greedy, ours): (Vec<_>, Vec<_>) = due.iter().map(|due| &due.owner).partition(|owner| owner.user.is_some());
    assert!(due.iter().step_by(2).all(|due| due.owner.user.is_some()), "users in turn: {due:?}");
    assert_eq!(greedy.into_iter().collect::<HashSet<_>>().len(), 3, "and inside them owners");
    assert_eq!((ours.len(), ours[0] == ours[1], ours[2].sub.as_str()), (3, false, "a"));
    assert_eq!(queue.due_deliveries(100, LEASE).await?.len(), 37, "what is left");
    Ok(())
}

async fn where_a_callback_went_is_forgotten_once_none_is_owed(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let known = async |id: &JobId| queue.get(id).await.map(|job| job.is_some_and(|job| job.record.callback.is_some()));
    let delivered = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    let given_up = enqueue(&queue, &calling_back(queued("a", 2))).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;
    for id in [&delivered, &given_up] {
        queue.settle_delivery(id, DeliveryOutcome::Retry(SECOND)).await?;
        assert!(known(id).await?, "it is owed still");
        queue.settle_delivery(id, DeliveryOutcome::Done).await?;
        assert!(!known(id).await?);
    }
    let cancelled = enqueue(&queue, &calling_back(queued("a", 3))).await?;
    assert!(known(&cancelled).await?);
    queue.cancel(&cancelled, Vec::new()).await?;
    assert!(!known(&cancelled).await?);
    Ok(())
}

async fn held_delivery_is_neither_due_nor_forgotten(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.due_deliveries(1, LEASE).await?;
    queue.settle_delivery(&id, DeliveryOutcome::Held).await?;
    fixture.clock.advance(1_000_000 * SECOND);
    assert_eq!(queue.due_deliveries(1, LEASE).await?, []);
    assert_eq!(queue.purge(fixture.now(), 10).await?, 0, "it is owed");
    assert!(queue.delivery_job(&id).await?.is_some_and(|job| job.record.callback.is_some()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_delivery_is_due_when_the_queue_is_opened_again_and_no_try_was_counted() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.settle_delivery(&id, DeliveryOutcome::Held).await?;
    fixture.crash(queue)?;
    let queue = fixture.open()?;
    let due = queue.due_deliveries(1, LEASE).await?;
    assert_eq!(due.iter().map(|due| (due.id, due.attempts)).collect::<Vec<_>>(), [(id, 0)]);
    Ok(())
}

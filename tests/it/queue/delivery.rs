//! The callbacks that are owed.

use std::collections::HashSet;
use std::sync::Arc;

use pixerve::job::{
    CallbackEvent, CallbackEvents, DeliveryId, JobId, JobRecord, Owner, Priority, State, Stored, StoredFile,
};
use pixerve::queue::{
    Delivery, DeliveryOutcome, DeliveryRecord, DeliveryScope, DeliveryState, DeliveryTry, PageRequest, Retry,
    Settlement,
};

use super::fixture::{
    LEASE, QueueFixture, SECOND, TestResult, calling_back, claim, claim_up_to, complete, enqueue, failure, purge,
    queued, record,
};
use super::settle::file;
use crate::harness::deliveries::{end_of, settle, tried};

every_queue! {
    ended_job_owes_its_callback,
    job_without_callback_owes_none,
    delivery_is_hidden_while_it_is_tried,
    delivery_is_tried_again_later,
    delivered_callback_is_owed_no_more,
    purge_keeps_what_owes_a_callback,
    waiting_for_deliveries_ends_when_one_is_owed,
    deliveries_of_one_user_do_not_hide_those_of_another,
    where_a_callback_goes_is_known_as_long_as_its_job_unless_there_is_nothing_to_tell,
    held_delivery_is_neither_due_nor_forgotten,
    what_became_of_a_callback_is_on_record_as_long_as_its_job,
    callbacks_are_listed_by_whose_they_are_and_where_they_are_newest_first,
    a_callback_is_made_again_whatever_became_of_it,
    each_stored_file_is_told_of_once,
    files_that_were_stored_at_once_have_an_order_too,
    files_that_nobody_noted_are_told_of_when_the_job_ends,
    what_is_owed_of_files_is_dropped_once_the_end_is_delivered,
    files_that_are_asked_for_again_are_not_dropped_with_the_end,
    what_is_asked_for_again_during_a_try_is_due_however_that_ends,
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
        let job = queue.delivery_content(&id).await?.ok_or("it is unknown")?.job;
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
        settle(&*queue, id, DeliveryOutcome::Retry(300 * SECOND)).await?;
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
    settle(&*queue, id, DeliveryOutcome::Delivered).await?;
    settle(&*queue, id, DeliveryOutcome::Retry(SECOND)).await?;
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
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
    assert_eq!((queue.get(&owing).await?.is_some(), queue.get(&done).await?), (true, None));
    settle(&*queue, owing, DeliveryOutcome::Delivered).await?;
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
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

async fn where_a_callback_goes_is_known_as_long_as_its_job_unless_there_is_nothing_to_tell(
    fixture: QueueFixture,
) -> TestResult {
    let queue = fixture.open()?;
    let known = async |id: &JobId| queue.get(id).await.map(|job| job.is_some_and(|job| job.record.callback.is_some()));
    let delivered = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    settle(&*queue, delivered, DeliveryOutcome::Delivered).await?;
    let given_up = enqueue(&queue, &calling_back(queued("a", 2))).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;
    settle(&*queue, given_up, DeliveryOutcome::GivenUp).await?;
    assert!(known(&delivered).await? && known(&given_up).await?, "they may be made again");

    let cancelled = enqueue(&queue, &calling_back(queued("a", 3))).await?;
    assert!(known(&cancelled).await?);
    queue.cancel(&cancelled, Vec::new()).await?;
    assert!(!known(&cancelled).await?, "it doesn't ask to be told of this");

    let mut clear = calling_back(queued("a", 4));
    clear.callback.as_mut().expect("a callback").sealed_url = None;
    let clear = enqueue(&queue, &clear).await?;
    complete(&queue, &claim(&queue).await?).await?;
    settle(&*queue, clear, DeliveryOutcome::Retry(SECOND)).await?;
    assert!(known(&clear).await?, "it is owed still");
    settle(&*queue, clear, DeliveryOutcome::Delivered).await?;
    assert!(!known(&clear).await?, "a URL that is not sealed is not kept");
    assert_eq!(queue.redeliver(vec![end_of(clear)]).await?, 0, "so it can't be called again");
    Ok(())
}

async fn what_became_of_a_callback_is_on_record_as_long_as_its_job(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    assert_eq!(queue.deliveries_of(&id).await?, []);
    let ended = fixture.now();
    complete(&queue, &claim(&queue).await?).await?;
    let pending = DeliveryRecord {
        id: end_of(id),
        state: DeliveryState::Pending,
        host: "app.example".to_owned(),
        attempts: 0,
        since: ended,
        next_attempt_at: Some(ended),
        last: None,
    };
    assert_eq!(queue.deliveries_of(&id).await?, std::slice::from_ref(&pending));

    let refused = tried(Some(503), Some("the receiver answered 503"));
    queue.settle_delivery(&end_of(id), refused.clone(), DeliveryOutcome::Retry(10 * SECOND)).await?;
    let next_attempt_at = Some(ended.after(10 * SECOND));
    let retried = DeliveryRecord { attempts: 1, next_attempt_at, last: Some(refused), ..pending };
    assert_eq!(queue.deliveries_of(&id).await?, std::slice::from_ref(&retried));

    let delivered = tried(Some(204), None);
    queue.settle_delivery(&end_of(id), delivered.clone(), DeliveryOutcome::Delivered).await?;
    let state = DeliveryState::Delivered;
    let told = DeliveryRecord { state, attempts: 2, next_attempt_at: None, last: Some(delivered), ..retried };
    assert_eq!(queue.deliveries_of(&id).await?, [told]);

    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
    assert_eq!(queue.deliveries_of(&id).await?, []);
    let page = PageRequest { limit: 10, cursor: None };
    assert_eq!(queue.list_deliveries(DeliveryScope::All, state, page).await?.deliveries, []);
    Ok(())
}

async fn callbacks_are_listed_by_whose_they_are_and_where_they_are_newest_first(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let of = |user: Option<&str>, sub: &str| Owner {
        user: user.map(str::to_owned),
        access_key: user.map(|user| format!("key of {user}")),
        sub: sub.to_owned(),
    };
    let owners = [of(Some("shop"), "a"), of(Some("shop"), "b"), of(None, "a"), of(Some("shop"), "a")];
    let mut ids = Vec::new();
    for (n, owner) in (0..).zip(&owners) {
        ids.push(enqueue(&queue, &calling_back(record(owner, n, Priority::Queued))).await?);
        complete(&queue, &claim(&queue).await?).await?;
    }
    settle(&*queue, ids[1], DeliveryOutcome::GivenUp).await?;
    let listed = async |scope: DeliveryScope, state: DeliveryState| -> Result<Vec<JobId>, Box<dyn std::error::Error>> {
        let (mut listed, mut cursor) = (Vec::new(), None);
        loop {
            let page = queue.list_deliveries(scope.clone(), state, PageRequest { limit: 1, cursor }).await?;
            assert!(page.deliveries.len() <= 1);
            listed.extend(page.deliveries.iter().map(|delivery| delivery.id.job));
            cursor = page.next;
            if cursor.is_none() {
                return Ok(listed);
            }
        }
    };
    let (pending, given_up) = (DeliveryState::Pending, DeliveryState::GivenUp);
    let user = || DeliveryScope::User(owners[0].user_key());
    assert_eq!(listed(DeliveryScope::All, pending).await?, [ids[3], ids[2], ids[0]]);
    assert_eq!(listed(user(), pending).await?, [ids[3], ids[0]]);
    assert_eq!(listed(DeliveryScope::Owner(owners[2].clone()), pending).await?, [ids[2]]);
    assert_eq!(listed(user(), given_up).await?, [ids[1]]);
    assert_eq!(listed(DeliveryScope::Owner(owners[0].clone()), given_up).await?, []);
    Ok(())
}

async fn a_callback_is_made_again_whatever_became_of_it(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let mut ids = Vec::new();
    for (n, outcome) in
        (0..).zip([DeliveryOutcome::Delivered, DeliveryOutcome::GivenUp, DeliveryOutcome::Retry(1000 * SECOND)])
    {
        let id = enqueue(&queue, &calling_back(queued("a", n))).await?;
        complete(&queue, &claim(&queue).await?).await?;
        queue.due_deliveries(10, LEASE).await?;
        settle(&*queue, id, outcome).await?;
        ids.push(end_of(id));
    }
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    let unknown = end_of(JobId::new(fixture.now()));
    let untold = DeliveryId::of_file(ids[0].job, 0);
    assert_eq!(queue.redeliver([ids.clone(), vec![unknown, untold]].concat()).await?, 3);
    let mut due: Vec<_> = queue.due_deliveries(10, LEASE).await?.iter().map(|due| (due.id, due.attempts)).collect();
    due.sort();
    ids.sort();
    assert_eq!(due, ids.iter().map(|id| (*id, 0)).collect::<Vec<_>>());
    for id in &ids {
        queue.settle_delivery(id, tried(Some(200), None), DeliveryOutcome::Delivered).await?;
    }
    fixture.clock.advance(LEASE);
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    Ok(())
}

/// A job that tells of its end, and of one file.
fn telling_files(n: u32) -> JobRecord {
    let mut record = calling_back(queued("a", n));
    record.spec.keep_original = true;
    let target = record.callback.as_mut().expect("a callback");
    target.events = CallbackEvents::new(&[CallbackEvent::Completed, CallbackEvent::FileStored]);
    record
}

fn stored_original(record: &JobRecord) -> StoredFile {
    let name = record.original_name();
    let stored = vec![Stored::at("directHost", format!("/files/{name}"))];
    StoredFile { name, sha256: record.original.sha256, stored, ..file("") }
}

async fn each_stored_file_is_told_of_once(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = telling_files(1);
    let (id, file) = (enqueue(&queue, &record).await?, stored_original(&record));
    let held = claim(&queue).await?;
    queue.file_stored(&held.lease, 0, file.clone()).await?;
    let due = queue.due_deliveries(10, LEASE).await?;
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [DeliveryId::of_file(id, 0)]);
    let content = queue.delivery_content(&due[0].id).await?.ok_or("it is unknown")?;
    assert_eq!((content.job.state, content.file.map(|told| told.file)), (State::Processing, Some(file.clone())));
    queue.settle_delivery(&due[0].id, tried(Some(200), None), DeliveryOutcome::Delivered).await?;

    queue.file_stored(&held.lease, 0, file.clone()).await?;
    queue.settle(&held.lease, Settlement::Completed { files: vec![file.clone()], placeholder: None }).await?;
    queue.file_stored(&held.lease, 0, file).await?;
    let due = queue.due_deliveries(10, LEASE).await?;
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [end_of(id)]);
    Ok(())
}

async fn files_that_were_stored_at_once_have_an_order_too(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = telling_files(1);
    let (id, file) = (enqueue(&queue, &record).await?, stored_original(&record));
    let held = claim(&queue).await?;
    let mut told = Vec::new();
    for index in [2, 0, 1] {
        queue.file_stored(&held.lease, index, file.clone()).await?;
        let content = queue.delivery_content(&DeliveryId::of_file(id, index)).await?.ok_or("it is unknown")?;
        told.push(content.file.ok_or("it tells of a file")?.sequence);
    }
    assert!(told.is_sorted_by(|one, next| one < next), "{told:?}");
    Ok(())
}

async fn files_that_nobody_noted_are_told_of_when_the_job_ends(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (whole, half) = (telling_files(1), telling_files(2));
    let ids = [enqueue(&queue, &whole).await?, enqueue(&queue, &half).await?];
    queue
        .settle(
            &claim(&queue).await?.lease,
            Settlement::Completed { files: vec![stored_original(&whole)], placeholder: None },
        )
        .await?;
    let mut nowhere = stored_original(&half);
    nowhere.stored.clear();
    queue
        .settle(&claim(&queue).await?.lease, Settlement::Completed { files: vec![nowhere], placeholder: None })
        .await?;
    let mut due: Vec<_> = queue.due_deliveries(10, LEASE).await?.iter().map(|due| due.id).collect();
    due.sort();
    let mut expected = vec![end_of(ids[0]), DeliveryId::of_file(ids[0], 0), end_of(ids[1])];
    expected.sort();
    assert_eq!(due, expected);
    Ok(())
}

async fn what_is_owed_of_files_is_dropped_once_the_end_is_delivered(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = telling_files(1);
    let id = enqueue(&queue, &record).await?;
    queue
        .settle(
            &claim(&queue).await?.lease,
            Settlement::Completed { files: vec![stored_original(&record)], placeholder: None },
        )
        .await?;
    let of_file = DeliveryId::of_file(id, 0);
    queue.settle_delivery(&of_file, tried(Some(500), Some("refused")), DeliveryOutcome::Retry(SECOND)).await?;
    settle(&*queue, id, DeliveryOutcome::Delivered).await?;
    fixture.clock.advance(LEASE);
    assert_eq!(queue.due_deliveries(10, LEASE).await?, []);
    let known: Vec<_> = queue.deliveries_of(&id).await?.iter().map(|delivery| delivery.id).collect();
    assert_eq!(known, [end_of(id)]);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
    Ok(())
}

async fn held_delivery_is_neither_due_nor_forgotten(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.due_deliveries(1, LEASE).await?;
    settle(&*queue, id, DeliveryOutcome::Held).await?;
    fixture.clock.advance(1_000_000 * SECOND);
    assert_eq!(queue.due_deliveries(1, LEASE).await?, []);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 0, "it is owed");
    assert!(queue.get(&id).await?.is_some_and(|job| job.record.callback.is_some()));
    Ok(())
}

async fn files_that_are_asked_for_again_are_not_dropped_with_the_end(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = telling_files(1);
    let id = enqueue(&queue, &record).await?;
    queue
        .settle(
            &claim(&queue).await?.lease,
            Settlement::Completed { files: vec![stored_original(&record)], placeholder: None },
        )
        .await?;
    let both = [end_of(id), DeliveryId::of_file(id, 0)];
    for id in both.iter().rev() {
        queue.settle_delivery(id, tried(Some(200), None), DeliveryOutcome::Delivered).await?;
    }
    assert_eq!(queue.redeliver(both.to_vec()).await?, 2);
    settle(&*queue, id, DeliveryOutcome::Delivered).await?;
    let due = queue.due_deliveries(10, LEASE).await?;
    assert_eq!(due.iter().map(|due| due.id).collect::<Vec<_>>(), [both[1]]);
    Ok(())
}

async fn what_is_asked_for_again_during_a_try_is_due_however_that_ends(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    for number in 1..=2 {
        let failed = DeliveryTry { number, ..tried(Some(500), Some("refused")) };
        queue.due_deliveries(1, LEASE).await?;
        if number == 2 {
            assert_eq!(queue.redeliver(vec![end_of(id)]).await?, 1);
        }
        let outcome = if number == 2 { DeliveryOutcome::GivenUp } else { DeliveryOutcome::Retry(SECOND) };
        queue.settle_delivery(&end_of(id), failed, outcome).await?;
        fixture.clock.advance(SECOND);
    }
    let due = queue.due_deliveries(1, LEASE).await?;
    assert_eq!(due.iter().map(|due| (due.id, due.attempts)).collect::<Vec<_>>(), [(end_of(id), 0)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_delivery_is_due_when_the_queue_is_opened_again_and_no_try_was_counted() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    settle(&*queue, id, DeliveryOutcome::Held).await?;
    fixture.crash(queue)?;
    let queue = fixture.open()?;
    let due = queue.due_deliveries(1, LEASE).await?;
    assert_eq!(due.iter().map(|due| (due.id, due.attempts)).collect::<Vec<_>>(), [(end_of(id), 0)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_that_is_made_again_survives_a_crash() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let queue = fixture.open()?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    complete(&queue, &claim(&queue).await?).await?;
    settle(&*queue, id, DeliveryOutcome::GivenUp).await?;
    assert_eq!(queue.redeliver(vec![end_of(id)]).await?, 1);
    fixture.crash(queue)?;
    let queue = fixture.open()?;
    let due = queue.due_deliveries(1, LEASE).await?;
    assert_eq!(due.iter().map(|due| (due.id, due.attempts)).collect::<Vec<_>>(), [(end_of(id), 0)]);
    Ok(())
}

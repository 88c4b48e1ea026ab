//! Everything that a queue has, moved to another: there it is as it was.

use std::error::Error;
use std::num::NonZero;

use pixerve::job::{
    CallbackEvent, CallbackEvents, ContentHash, JobFingerprint, JobId, JobRecord, JobRef, OnDuplicate, OnceToken,
    Placeholder, State,
};
use pixerve::queue::{
    CancelOutcome, Counts, DeliveryOutcome, DeliveryScope, DeliveryState, Enqueued, Filter, PageRequest, QueueError,
    Retry, Settled, Settlement, TransferEntry, TransferPage,
};

use super::fixture::{
    LEASE, Queue, QueueFixture, SECOND, TestResult, calling_back, claim, claim_order, complete, enqueue, failure,
    purge, queued, realtime,
};
use super::random::{Requests, Step, after_any_steps, listed, nobody_is_lost, take};
use super::settle::file;
use crate::harness::deliveries::{end_of, tried};

every_queue! {
    what_is_moved_is_as_it_was,
    jobs_come_out_in_the_order_in_which_the_other_would_have_given_them,
    what_comes_twice_is_there_once_and_what_has_happened_since_stays,
    a_job_that_is_accepted_after_the_move_comes_behind_those_before,
    a_lease_of_whoever_is_dead_is_void_and_costs_no_attempt,
    a_job_that_is_worked_on_is_not_moved,
    more_than_a_page_is_moved_in_order,
}

/// Everything, page by page.
async fn exported(queue: &Queue) -> Result<Vec<TransferEntry>, Box<dyn Error>> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let TransferPage { entries, unreadable, next } = queue.export(from).await?;
        assert_eq!(unreadable, 0);
        all.extend(entries);
        from = next;
        if from.is_none() {
            return Ok(all);
        }
    }
}

/// Everything of one queue in another, which is empty.
async fn moved(from: &Queue, to: &Queue) -> Result<Vec<TransferEntry>, Box<dyn Error>> {
    let entries = exported(from).await?;
    to.import(entries.clone()).await?;
    to.persist().await?;
    Ok(entries)
}

fn of(entries: &[TransferEntry], id: JobId) -> &TransferEntry {
    let is_it = |entry: &&TransferEntry| matches!(entry, TransferEntry::Job(job) if job.job().record.id == id);
    entries.iter().find(is_it).expect("it was moved")
}

/// A job in every situation that jobs get into, and tokens of jobs with records and without.
async fn filled(fixture: &QueueFixture, queue: &Queue) -> Result<Vec<JobId>, Box<dyn Error>> {
    let until = fixture.now().after(600 * SECOND);
    let mut ids = Vec::new();
    // A record that is gone, and whose token is used.
    let gone = queued("gone", 6);
    enqueue(queue, &JobRecord { once: Some(OnceToken::new(&gone.owner, "gone", until)), ..gone }).await?;
    complete(queue, &claim(queue).await?).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(purge(queue, fixture.now(), 1).await?, 1);

    // Ended in each way, with callbacks in each state.
    let told = calling_back(queued("told", 1));
    let mut of_files = calling_back(queued("told", 2));
    of_files.callback.as_mut().ok_or("it has one")?.events =
        CallbackEvents::new(&[CallbackEvent::Completed, CallbackEvent::FileStored]);
    let (failed, cancelled) = (calling_back(queued("told", 3)), queued("told", 4));
    let owing =
        JobRecord { once: Some(OnceToken::new(&told.owner, "owing", until)), ..calling_back(queued("told", 5)) };
    let placeholder = Some(Placeholder::new(&[7; 21], [1, 2, 3]));
    let completed = Settlement::Completed { files: vec![file("a.jpg")], placeholder };
    for record in [&told, &of_files, &failed, &owing] {
        ids.push(enqueue(queue, record).await?);
        let held = claim(queue).await?;
        if record.id == of_files.id {
            queue.file_stored(&held.lease, 0, file("a.jpg")).await?;
        }
        if record.id == failed.id {
            queue.settle(&held.lease, failure(Retry::Never)).await?;
        } else {
            queue.settle(&held.lease, completed.clone()).await?;
        }
    }
    queue.settle_delivery(&end_of(told.id), tried(Some(200), None), DeliveryOutcome::Delivered).await?;
    queue.settle_delivery(&end_of(failed.id), tried(None, Some("refused")), DeliveryOutcome::GivenUp).await?;
    queue.settle_delivery(&end_of(owing.id), tried(Some(503), None), DeliveryOutcome::Retry(30 * SECOND)).await?;
    ids.push(enqueue(queue, &cancelled).await?);
    assert_eq!(queue.cancel(&cancelled.id, vec![file("left.jpg")]).await?, CancelOutcome::CancelledPending);

    // Alive in each way.
    let fingerprint = |what: &str| OnDuplicate::Queue(JobFingerprint(ContentHash::of(what.as_bytes())));
    let first = JobRecord { on_duplicate: fingerprint("small"), ..queued("me", 10) };
    let waits = JobRecord { on_duplicate: fingerprint("large"), ..queued("me", 10) };
    let named = JobRecord { reference: Some(JobRef::parse("order-7").ok_or("a ref")?), ..realtime("me", 11) };
    let heavy = JobRecord { memory: NonZero::new(7_000_000).map(u64::from), ..queued("you", 12) };
    let tokened =
        JobRecord { once: Some(OnceToken::new(&heavy.owner, "live", until)), ..calling_back(queued("you", 13)) };
    for record in [&queued("late", 14), &queued("made", 15), &first, &waits, &named, &heavy, &tokened] {
        ids.push(enqueue(queue, record).await?);
    }
    // Claimed in turns: whoever comes first is put off, and whoever comes next is made.
    let delayed = claim(queue).await?;
    queue
        .settle(
            &delayed.lease,
            Settlement::Failed {
                error: super::fixture::broken_disk(),
                files: vec![file("some.jpg")],
                retry: Retry::After(60 * SECOND),
            },
        )
        .await?;
    let made = claim(queue).await?;
    queue.made(&made.lease).await?;
    queue.settle(&made.lease, Settlement::Released).await?;
    let crashed = claim(queue).await?;
    queue.settle(&crashed.lease, super::fixture::crash()).await?;
    Ok(ids)
}

async fn what_is_moved_is_as_it_was(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = Box::pin(filled(&fixture, &queue)).await?;
    let (memory, like) = (fixture.another_in_memory()?, fixture.another()?);
    let (memory, like) = (memory.open()?, like.open()?);
    let entries = moved(&queue, &memory).await?;
    assert_eq!(moved(&memory, &like).await?, entries);
    assert_eq!(exported(&like).await?, entries);
    for id in &ids {
        of(&entries, *id);
    }
    assert_eq!(entries.iter().filter(|entry| matches!(entry, TransferEntry::UsedToken { .. })).count(), 3);

    for other in [&memory, &like] {
        let counts = queue.counts().await?;
        assert_eq!((other.counts().await?, listed(other).await?), (counts, Counts { storing: 0, ..counts }));
        for id in &ids {
            let job = queue.get(id).await?.ok_or("known")?;
            assert_eq!(other.get(id).await?.as_ref(), Some(&job));
            assert_eq!(other.deliveries_of(id).await?, queue.deliveries_of(id).await?);
            let (hash, owner) = (&job.record.hash, &job.record.owner);
            assert_eq!(other.newest(hash).await?, queue.newest(hash).await?);
            assert_eq!(other.find_live(hash, owner).await?, queue.find_live(hash, owner).await?);
            if let Some(reference) = &job.record.reference {
                assert_eq!(other.newest_of_reference(owner, reference).await?.as_ref(), Some(&job));
            }
            if let Some(token) = &job.record.once {
                assert_eq!(other.user_of_token(&token.digest).await?, Some(*id));
                let again = JobRecord { id: JobId::new(fixture.now()), ..job.record.clone() };
                assert_eq!(other.enqueue(again).await?, Enqueued::TokenUsed(*id));
            }
        }
        for state in DeliveryState::ALL {
            let page = async |queue: &Queue| {
                let request = PageRequest { limit: 100, cursor: None };
                Ok::<_, QueueError>(queue.list_deliveries(DeliveryScope::All, state, request).await?.deliveries)
            };
            assert_eq!(page(other).await?, page(&queue).await?);
        }
        assert_eq!(other.backlog().callbacks.oldest, queue.backlog().callbacks.oldest);
    }
    // What is due then is due there, too.
    fixture.clock.advance(60 * SECOND);
    let due = queue.due_deliveries(100, LEASE).await?;
    assert_eq!((memory.due_deliveries(100, LEASE).await?, like.due_deliveries(100, LEASE).await?), (due.clone(), due));
    Ok(())
}

async fn jobs_come_out_in_the_order_in_which_the_other_would_have_given_them(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    for n in 0..4 {
        for sub in ["a", "b", "c"] {
            enqueue(&queue, &queued(sub, n)).await?;
            if n % 2 == 0 {
                enqueue(&queue, &realtime(sub, 100 + n)).await?;
            }
        }
    }
    let (memory, like) = (fixture.another_in_memory()?, fixture.another()?);
    let (memory, like) = (memory.open()?, like.open()?);
    moved(&queue, &memory).await?;
    moved(&memory, &like).await?;
    let order = claim_order(&queue).await?;
    assert_eq!(order.len(), 18);
    assert_eq!((claim_order(&memory).await?, claim_order(&like).await?), (order.clone(), order));
    Ok(())
}

async fn what_comes_twice_is_there_once_and_what_has_happened_since_stays(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = Box::pin(filled(&fixture, &queue)).await?;
    let other = fixture.another()?;
    let other = other.open()?;
    let entries = exported(&queue).await?;
    // As if the first run had been killed.
    other.import(entries[..entries.len() / 2].to_vec()).await?;
    other.import(entries.clone()).await?;
    assert_eq!(exported(&other).await?, entries);
    assert_eq!(other.counts().await?, queue.counts().await?);
    fixture.clock.advance(100 * SECOND);
    let held = claim(&other).await?;
    complete(&other, &held).await?;
    other.import(entries).await?;
    assert_eq!(other.get(&held.lease.id).await?.ok_or("known")?.state, State::Completed);
    let all = other.list(&Filter::default(), PageRequest { limit: 200, cursor: None }).await?;
    assert!(all.jobs.len() >= ids.len());
    Ok(())
}

async fn a_job_that_is_accepted_after_the_move_comes_behind_those_before(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    for n in 0..3 {
        enqueue(&queue, &queued("a", n)).await?;
    }
    let (memory, like) = (fixture.another_in_memory()?, fixture.another()?);
    let (memory, like) = (memory.open()?, like.open()?);
    moved(&queue, &memory).await?;
    moved(&memory, &like).await?;
    for other in [&memory, &like] {
        let before = other.list(&Filter::default(), PageRequest { limit: 1, cursor: None }).await?.jobs.remove(0);
        let late = queued("a", 9);
        enqueue(other, &late).await?;
        assert!(other.get(&late.id).await?.ok_or("known")?.seq > before.seq);
        assert_eq!(claim_order(other).await?.last(), Some(&late.id));
        let seqs: Vec<_> = other.list(&Filter::default(), PageRequest { limit: 9, cursor: None }).await?.jobs;
        assert_eq!(seqs.len(), 4);
    }
    Ok(())
}

async fn a_lease_of_whoever_is_dead_is_void_and_costs_no_attempt(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    queue.void_leases().await?;
    let job = queue.get(&id).await?.ok_or("known")?;
    assert_eq!((job.state, job.attempts, job.started_at), (State::Pending, 0, None));
    let other = fixture.another()?;
    let other = other.open()?;
    moved(&queue, &other).await?;
    let again = claim(&other).await?;
    assert_eq!((again.job.record.id, again.job.attempts), (id, 1));
    assert_eq!(queue.settle(&held.lease, Settlement::Released).await?, Settled::Stale);
    Ok(())
}

async fn a_job_that_is_worked_on_is_not_moved(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    let error = queue.export(None).await.expect_err("it is leased").to_string();
    assert!(error.contains(&id.to_string()), "{error}");
    Ok(())
}

async fn more_than_a_page_is_moved_in_order(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let until = fixture.now().after(600 * SECOND);
    for n in 0..250 {
        let record = queued(&format!("owner-{}", n % 7), n);
        let once = Some(OnceToken::new(&record.owner, &n.to_string(), until));
        enqueue(&queue, &JobRecord { once, ..record }).await?;
    }
    let other = fixture.another()?;
    let other = other.open()?;
    let entries = moved(&queue, &other).await?;
    assert_eq!(entries.len(), 500);
    let places: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            TransferEntry::Job(job) => Some(job.job().seq),
            TransferEntry::UsedToken { .. } => None,
        })
        .collect();
    assert!(places.is_sorted() && places.len() == 250);
    assert_eq!(exported(&other).await?, entries);
    Ok(())
}

/// Through another kind of queue, and back.
async fn survives_a_move(fixture: &QueueFixture, steps: &[Step]) -> TestResult {
    let queue = fixture.open()?;
    let (mut claims, mut requests) = (Vec::new(), Requests::default());
    for step in steps {
        take(*step, fixture, &queue, &mut claims, &mut requests).await?;
    }
    queue.void_leases().await?;
    let (memory, like) = (fixture.another_in_memory()?, fixture.another()?);
    let (between, other) = (memory.open()?, like.open()?);
    let entries = moved(&queue, &between).await?;
    moved(&between, &other).await?;
    assert_eq!(exported(&other).await?, entries);
    let counts = queue.counts().await?;
    for moved in [&between, &other] {
        assert_eq!((moved.counts().await?, listed(moved).await?), (counts, counts));
    }
    for (fixture, moved) in [(&memory, &between), (&like, &other)] {
        nobody_is_lost(fixture, moved, counts.pending).await?;
    }
    Ok(())
}

#[test]
fn whatever_has_happened_in_memory_is_moved() -> TestResult {
    after_any_steps(48, || QueueFixture::memory().map(Some), &survives_a_move)
}

#[test]
fn whatever_has_happened_in_sled_is_moved() -> TestResult {
    after_any_steps(8, || QueueFixture::sled().map(Some), &survives_a_move)
}

#[test]
fn whatever_has_happened_in_redis_is_moved() -> TestResult {
    after_any_steps(24, QueueFixture::redis, &survives_a_move)
}

#[test]
fn whatever_has_happened_in_valkey_is_moved() -> TestResult {
    after_any_steps(24, QueueFixture::valkey, &survives_a_move)
}

//! Lists, pages and purging.

use std::error::Error;

use std::time::Duration;

use pixerve::job::{BackendKind, JobId, JobRecord, JobRef, Owner, Priority, State, StorageKey};
use pixerve::queue::{
    CancelOutcome, ClaimRequest, Cursor, Enqueued, Filter, PageRequest, Place, QueueError, Retry, Settlement,
    WaitReason,
};

use super::fixture::{
    LEASE, Queue, QueueFixture, SECOND, TestResult, claim, claim_up_to, complete, enqueue, enqueue_all, failure, owner,
    purge, queued, record,
};

every_queue! {
    list_is_newest_first,
    pages_neither_skip_nor_repeat_while_jobs_come_in,
    page_is_never_empty_before_the_last,
    owner_filter_never_leaks,
    user_filter_lists_every_sub_of_a_user_and_nobody_else,
    the_oldest_come_first_where_that_is_asked_for,
    time_bounds_are_those_of_acceptance_whenever_a_job_was_queued,
    what_a_job_waits_for_is_told_while_it_lives,
    live_jobs_of_a_store_are_counted_wherever_they_are,
    state_filter_follows_the_job,
    foreign_cursor_is_refused,
    purge_removes_the_job_everywhere,
    purge_takes_no_more_than_its_limit,
}

/// Every page of a list, `limit` jobs each.
async fn pages(queue: &Queue, filter: &Filter, limit: usize) -> Result<Vec<Vec<JobId>>, Box<dyn Error>> {
    let (mut pages, mut cursor) = (Vec::new(), None);
    loop {
        let page = queue.list(filter, PageRequest { limit, cursor }).await?;
        pages.push(page.jobs.iter().map(|job| job.record.id).collect());
        cursor = page.next;
        if cursor.is_none() {
            return Ok(pages);
        }
    }
}

fn by(state: Option<State>, owner: Option<Owner>) -> Filter {
    Filter { state, owner, ..Filter::default() }
}

async fn list_is_newest_first(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let mut ids = enqueue_all(&queue, &(0..5).map(|n| queued("a", n)).collect::<Vec<_>>()).await?;
    ids.reverse();
    assert_eq!(pages(&queue, &Filter::default(), 200).await?.concat(), ids);
    assert_eq!(pages(&queue, &by(None, Some(owner("a"))), 200).await?.concat(), ids);
    Ok(())
}

async fn pages_neither_skip_nor_repeat_while_jobs_come_in(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let mut ids = enqueue_all(&queue, &(0..7).map(|n| queued("a", n)).collect::<Vec<_>>()).await?;
    ids.reverse();
    for filter in [Filter::default(), by(Some(State::Pending), None), by(None, Some(owner("a")))] {
        let (mut seen, mut cursor, mut n) = (Vec::new(), None, 100);
        loop {
            let page = queue.list(&filter, PageRequest { limit: 2, cursor }).await?;
            seen.extend(page.jobs.iter().map(|job| job.record.id));
            // One comes in between any two pages.
            n += 1;
            let id = enqueue(&queue, &queued("late", n)).await?;
            queue.cancel(&id, Vec::new()).await?;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        seen.retain(|id| ids.contains(id));
        assert_eq!(seen, ids, "{filter:?}");
    }
    Ok(())
}

async fn page_is_never_empty_before_the_last(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue_all(&queue, &(0..6).map(|n| queued("a", n)).collect::<Vec<_>>()).await?;
    let pages = pages(&queue, &Filter::default(), 3).await?;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(queue.list(&Filter::default(), PageRequest::default()).await?.jobs.len(), 1, "a limit of 0 means 1");
    Ok(())
}

async fn owner_filter_never_leaks(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let owners = [
        owner("a"),
        owner("a\0"),
        owner("b"),
        Owner { user: Some("a".to_owned()), access_key: None, sub: String::new() },
    ];
    for n in 0..3 {
        for owner in &owners {
            enqueue(&queue, &record(owner, n, Priority::Queued)).await?;
        }
    }
    for owner in owners {
        for state in [None, Some(State::Pending)] {
            let page = queue.list(&by(state, Some(owner.clone())), PageRequest { limit: 200, cursor: None }).await?;
            assert_eq!(page.jobs.len(), 3);
            assert!(page.jobs.iter().all(|job| job.record.owner == owner));
        }
    }
    Ok(())
}

fn of_user(user: &str, sub: &str) -> Owner {
    Owner { user: Some(user.to_owned()), access_key: Some(format!("pxu_{user}")), sub: sub.to_owned() }
}

async fn user_filter_lists_every_sub_of_a_user_and_nobody_else(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (shop, other) = (of_user("shop", "a"), of_user("other", "a"));
    let anew = Owner { access_key: Some("pxu_anew".to_owned()), ..shop.clone() };
    let mut ids = Vec::new();
    for (n, owner) in (0..).zip([&shop, &of_user("shop", "b"), &other, &anew, &owner("shop"), &shop]) {
        ids.push(enqueue(&queue, &record(owner, n, Priority::Queued)).await?);
    }
    queue.cancel(&ids[1], Vec::new()).await?;
    let user = |state, owner: &Owner| Filter { state, user: Some(owner.user_key()), ..Filter::default() };
    assert_eq!(pages(&queue, &user(None, &shop), 2).await?.concat(), [ids[5], ids[1], ids[0]]);
    assert_eq!(pages(&queue, &user(Some(State::Pending), &shop), 200).await?.concat(), [ids[5], ids[0]]);
    assert_eq!(pages(&queue, &user(Some(State::Cancelled), &shop), 200).await?.concat(), [ids[1]]);
    assert_eq!(pages(&queue, &user(None, &anew), 200).await?.concat(), [ids[3]], "who had the name before is another");
    assert_eq!(pages(&queue, &user(None, &owner("x")), 200).await?.concat(), [ids[4]], "all keys of jwt.json");
    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
    assert_eq!(pages(&queue, &user(None, &shop), 200).await?.concat(), [ids[5], ids[0]]);
    assert_eq!(pages(&queue, &user(Some(State::Cancelled), &shop), 200).await?.concat(), []);
    Ok(())
}

async fn the_oldest_come_first_where_that_is_asked_for(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &(0..7).map(|n| queued("a", n)).collect::<Vec<_>>()).await?;
    for filter in [Filter::default(), by(Some(State::Pending), Some(owner("a")))] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = queue.list_oldest_first(&filter, PageRequest { limit: 3, cursor }).await?;
            seen.push(page.jobs.iter().map(|job| job.record.id).collect::<Vec<_>>());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, [&ids[..3], &ids[3..6], &ids[6..]]);
    }
    Ok(())
}

async fn time_bounds_are_those_of_acceptance_whenever_a_job_was_queued(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let hour = Duration::from_hours(1);
    let begin = fixture.now();
    let at = |hours: u32| begin.after(hours * hour);
    let accepted =
        |n: u32, hours: u32| JobRecord { id: JobId::new(at(hours)), created_at: at(hours), ..queued("a", n) };
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(enqueue(&queue, &accepted(n, n)).await?);
        fixture.clock.advance(hour);
    }
    // The comparison of spool and queue finds it long after it was accepted; the upload of the next took long.
    let late = enqueue(&queue, &accepted(10, 1)).await?;
    let long = JobRecord { id: JobId::new(at(1)), created_at: at(4), ..queued("a", 11) };
    let long = enqueue(&queue, &long).await?;
    let between = |since: Option<u32>, until: Option<u32>| Filter {
        since: since.map(at),
        until: until.map(at),
        owner: Some(owner("a")),
        ..Filter::default()
    };
    for (filter, expected) in [
        (between(None, None), vec![long, late, ids[3], ids[2], ids[1], ids[0]]),
        (between(Some(2), None), vec![long, ids[3], ids[2]]),
        (between(None, Some(2)), vec![late, ids[1], ids[0]]),
        (between(Some(1), Some(2)), vec![late, ids[1]]),
        (between(Some(4), Some(5)), vec![long]),
        (between(Some(5), None), vec![]),
        (between(None, Some(0)), vec![]),
    ] {
        for limit in [1, 200] {
            assert_eq!(pages(&queue, &filter, limit).await?.concat(), expected, "{filter:?}");
        }
        let oldest_first = queue.list_oldest_first(&filter, PageRequest { limit: 200, cursor: None }).await?;
        let mut found: Vec<_> = oldest_first.jobs.iter().map(|job| job.record.id).collect();
        found.reverse();
        assert_eq!(found, expected, "{filter:?}");
    }
    Ok(())
}

async fn what_a_job_waits_for_is_told_while_it_lives(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let large = JobRecord { memory: Some(100), ..queued("a", 0) };
    let ids = enqueue_all(&queue, &[large, queued("b", 1), queued("c", 2), queued("d", 3), queued("d", 4)]).await?;
    let request = ClaimRequest { max: 2, place: Place::Regular, memory: 10, lease: LEASE };
    let claims = queue.claim(request).await?.claims;
    assert_eq!(claims.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), ids[1..3]);
    queue.made(&claims[1].lease).await?;
    queue.cancel(&ids[3], Vec::new()).await?;
    let unknown = JobId::new(fixture.now());
    let asked = [&ids[..], &[unknown]].concat();
    let (store, memory, turn) = (Some(WaitReason::Store), Some(WaitReason::Memory), Some(WaitReason::Turn));
    assert_eq!(queue.waiting_for(&asked).await?, [memory, None, store, None, turn, None]);

    queue.settle(&claims[1].lease, Settlement::Released).await?;
    queue.settle(&claims[0].lease, failure(Retry::After(SECOND))).await?;
    assert_eq!(queue.waiting_for(&ids[1..3]).await?, [turn, store], "it is made still");
    Ok(())
}

async fn state_filter_follows_the_job(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &(0..5).map(|n| queued("a", n)).collect::<Vec<_>>()).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;
    claim(&queue).await?;
    queue.cancel(&ids[3], Vec::new()).await?;
    let states = [State::Completed, State::Failed, State::Processing, State::Cancelled, State::Pending];
    for (id, state) in ids.into_iter().zip(states) {
        for owner in [None, Some(owner("a"))] {
            assert_eq!(pages(&queue, &by(Some(state), owner), 200).await?.concat(), [id], "{state}");
        }
    }
    Ok(())
}

async fn foreign_cursor_is_refused(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    for text in ["", "x", "000000000000000g", "+000000000000001", "00000000000000001"] {
        let request = PageRequest { limit: 1, cursor: Some(Cursor(text.to_owned())) };
        let page = queue.list(&Filter::default(), request).await;
        assert!(matches!(page, Err(QueueError::BadCursor)), "{text:?}: {page:?}");
    }
    Ok(())
}

async fn purge_removes_the_job_everywhere(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let records: Vec<_> = (0..4).map(|n| queued("a", n)).collect();
    let ids = enqueue_all(&queue, &records).await?;
    complete(&queue, &claim(&queue).await?).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;
    queue.cancel(&ids[2], Vec::new()).await?;
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 0, "nothing finished before now");
    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 3);
    for (id, record) in ids[..3].iter().zip(&records) {
        assert_eq!(queue.get(id).await?, None);
        assert_eq!(queue.newest(&record.hash).await?, None);
        assert_eq!(queue.cancel(id, Vec::new()).await?, CancelOutcome::Unknown);
        assert_eq!(queue.enqueue(record.clone()).await?, Enqueued::Created, "its id is free again");
    }
    let counts = queue.counts().await?;
    assert_eq!((counts.pending, counts.completed, counts.failed, counts.cancelled), (4, 0, 0, 0));
    for filter in [Filter::default(), by(None, Some(owner("a"))), by(Some(State::Pending), None)] {
        assert_eq!(pages(&queue, &filter, 200).await?.concat().len(), 4);
    }
    Ok(())
}

async fn purge_takes_no_more_than_its_limit(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    for id in enqueue_all(&queue, &(0..70).map(|n| queued("a", n)).collect::<Vec<_>>()).await? {
        queue.cancel(&id, Vec::new()).await?;
    }
    fixture.clock.advance(SECOND);
    for expected in [40, 30, 0] {
        assert_eq!(purge(&queue, fixture.now(), 40).await?, expected);
    }
    Ok(())
}

async fn live_jobs_of_a_store_are_counted_wherever_they_are(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let for_stores = |owner_name: &str, n: u32, keys: &[&str]| -> JobRecord {
        let mut record = record(&owner(owner_name), n, Priority::Queued);
        let kinds = [BackendKind::S3, BackendKind::Gcs];
        let keys = keys.iter().zip(kinds);
        record.spec.storage =
            keys.map(|(key, backend)| StorageKey { backend, access_key: (*key).to_owned() }).collect();
        record
    };
    // Of a `ref` that looks like a store's, nothing is said.
    let mut named = for_stores("a", 0, &["pxs_other"]);
    named.reference = JobRef::parse("\"access_key\":\"pxs_one\"");
    assert!(named.reference.is_some());
    enqueue(&queue, &named).await?;
    for n in 1..=450 {
        enqueue(&queue, &for_stores("a", n, &["pxs_one", "pxs_two"])).await?;
    }
    enqueue(&queue, &for_stores("b", 451, &["pxs_one"])).await?;
    let claimed = claim_up_to(&queue, 3).await?;
    assert_eq!(claimed.len(), 3);
    assert_eq!(queue.live_of_store("pxs_one").await?, 451, "those that wait, and those that are worked on");
    assert_eq!(queue.live_of_store("pxs_two").await?, 450);
    assert_eq!(queue.live_of_store("pxs_on").await?, 0);
    let ends = claimed.iter().find(|claim| claim.job.record.spec.storage.len() == 2).ok_or("none claimed")?;
    complete(&queue, ends).await?;
    assert_eq!((queue.live_of_store("pxs_one").await?, queue.live_of_store("pxs_two").await?), (450, 449));
    Ok(())
}

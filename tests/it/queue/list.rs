//! Lists, pages and purging.

use std::error::Error;

use pixerve::job::{JobId, Owner, Priority, State};
use pixerve::queue::{CancelOutcome, Cursor, Enqueued, Filter, PageRequest, QueueError, Retry};

use super::fixture::{
    Queue, QueueFixture, SECOND, TestResult, claim, complete, enqueue, enqueue_all, failure, owner, purge, queued,
    record,
};

every_queue! {
    list_is_newest_first,
    pages_neither_skip_nor_repeat_while_jobs_come_in,
    page_is_never_empty_before_the_last,
    owner_filter_never_leaks,
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
    Filter { state, owner }
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

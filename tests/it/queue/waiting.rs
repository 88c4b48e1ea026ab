//! Jobs that wait for a live one of the same bytes and owner.

use pixerve::clock::Timestamp;
use pixerve::job::{ContentHash, JobFingerprint, JobId, JobRecord, OnDuplicate, State};
use pixerve::queue::{CrashAttribution, Enqueued, QueueError, QueueSettings, Retry};

use super::fixture::{
    LEASE, Queue, QueueFixture, SECOND, TestResult, claim, claim_order, claim_up_to, complete, enqueue, failure,
    nothing_to_claim, queued, reap_expired,
};

every_queue! {
    a_job_that_asks_for_something_else_waits_for_the_live_one_and_then_runs,
    an_equal_job_is_the_newest_live_one,
    a_job_that_refuses_to_wait_is_a_duplicate_of_whatever_lives,
    a_job_waits_over_every_retry_of_the_live_one,
    a_job_waits_while_the_live_one_is_being_stored,
    a_job_waits_over_a_lost_lease_of_the_live_one,
    the_cancellation_of_the_live_one_frees_the_next,
    the_cancellation_of_a_waiting_one_frees_nobody,
    a_waiting_job_holds_up_no_other,
    a_waiting_job_counts_as_live,
}

/// The same bytes of the same owner, asking for `what`.
fn asking(what: &str) -> JobRecord {
    let on_duplicate = OnDuplicate::Queue(JobFingerprint(ContentHash::of(what.as_bytes())));
    JobRecord { id: JobId::new(Timestamp::from_millis(1)), on_duplicate, ..queued("me", 1) }
}

async fn is_duplicate_of(queue: &Queue, record: JobRecord, live: &JobRecord) -> TestResult {
    let enqueued = queue.enqueue(record).await?;
    let Enqueued::Duplicate(job) = enqueued else { panic!("it is {enqueued:?}") };
    assert_eq!(job.record.id, live.id);
    Ok(())
}

async fn a_job_that_asks_for_something_else_waits_for_the_live_one_and_then_runs(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let jobs = [queued("me", 1), asking("b"), asking("c")];
    for job in &jobs {
        enqueue(&queue, job).await?;
    }
    for (nth, job) in jobs.iter().enumerate() {
        let attempt = claim(&queue).await?;
        assert_eq!(attempt.job.record.id, job.id);
        nothing_to_claim(&queue).await?;
        for other in &jobs[nth + 1..] {
            assert_eq!(queue.get(&other.id).await?.ok_or("it is known")?.state, State::Pending);
        }
        assert_eq!(queue.newest(&job.hash).await?.map(|job| job.record.id), Some(jobs[2].id));
        complete(&queue, &attempt).await?;
    }
    assert_eq!(queue.counts().await?.completed, 3);
    Ok(())
}

async fn an_equal_job_is_the_newest_live_one(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (a, b) = (asking("a"), asking("b"));
    enqueue(&queue, &a).await?;
    is_duplicate_of(&queue, asking("a"), &a).await?;
    enqueue(&queue, &b).await?;
    is_duplicate_of(&queue, asking("b"), &b).await?;
    // Behind the other one it asks for something else than will be there.
    let again = asking("a");
    enqueue(&queue, &again).await?;
    assert_eq!(queue.enqueue(again.clone()).await?, Enqueued::Known);
    for job in [&a, &b, &again] {
        let attempt = claim(&queue).await?;
        assert_eq!(attempt.job.record.id, job.id);
        complete(&queue, &attempt).await?;
    }
    Ok(())
}

async fn a_job_that_refuses_to_wait_is_a_duplicate_of_whatever_lives(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (first, second) = (asking("a"), asking("b"));
    enqueue(&queue, &first).await?;
    enqueue(&queue, &second).await?;
    is_duplicate_of(&queue, queued("me", 1), &second).await?;
    // The newest of all has ended, and an older one lives.
    queue.cancel(&second.id, Vec::new()).await?;
    is_duplicate_of(&queue, queued("me", 1), &first).await
}

async fn a_job_waits_over_every_retry_of_the_live_one(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (first, second) = (queued("me", 1), asking("b"));
    enqueue(&queue, &first).await?;
    enqueue(&queue, &second).await?;
    for _ in 1..QueueSettings::default().attempts_max {
        queue.settle(&claim(&queue).await?.lease, failure(Retry::After(SECOND))).await?;
        nothing_to_claim(&queue).await?;
        fixture.clock.advance(SECOND);
    }
    queue.settle(&claim(&queue).await?.lease, failure(Retry::After(SECOND))).await?;
    assert_eq!(queue.get(&first.id).await?.ok_or("it is known")?.state, State::Failed);
    assert_eq!(claim_order(&queue).await?, [second.id]);
    Ok(())
}

async fn a_job_waits_while_the_live_one_is_being_stored(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (first, second) = (queued("me", 1), asking("b"));
    enqueue(&queue, &first).await?;
    enqueue(&queue, &second).await?;
    let attempt = claim(&queue).await?;
    queue.made(&attempt.lease).await?;
    nothing_to_claim(&queue).await?;
    queue.settle(&attempt.lease, pixerve::queue::Settlement::Released).await?;
    nothing_to_claim(&queue).await?;
    let made = queue.claim_made(10, LEASE).await?;
    assert_eq!(made.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), [first.id]);
    complete(&queue, &made[0]).await?;
    assert_eq!(claim_order(&queue).await?, [second.id]);
    Ok(())
}

async fn a_job_waits_over_a_lost_lease_of_the_live_one(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (first, second) = (queued("me", 1), asking("b"));
    enqueue(&queue, &first).await?;
    enqueue(&queue, &second).await?;
    claim(&queue).await?;
    fixture.clock.advance(LEASE);
    nothing_to_claim(&queue).await?;
    assert_eq!(reap_expired(&queue, 10).await?.requeued, [first.id]);
    assert_eq!(claim_order(&queue).await?, [first.id]);
    Ok(())
}

async fn the_cancellation_of_the_live_one_frees_the_next(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let jobs = [queued("me", 1), asking("b"), asking("c")];
    for job in &jobs {
        enqueue(&queue, job).await?;
    }
    queue.cancel(&jobs[0].id, Vec::new()).await?;
    assert_eq!(claim_order(&queue).await?, [jobs[1].id]);
    queue.cancel(&jobs[1].id, Vec::new()).await?;
    assert_eq!(claim_order(&queue).await?, [jobs[2].id]);
    Ok(())
}

async fn the_cancellation_of_a_waiting_one_frees_nobody(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let jobs = [queued("me", 1), asking("b"), asking("c")];
    for job in &jobs {
        enqueue(&queue, job).await?;
    }
    queue.cancel(&jobs[1].id, Vec::new()).await?;
    let attempt = claim(&queue).await?;
    assert_eq!(attempt.job.record.id, jobs[0].id);
    nothing_to_claim(&queue).await?;
    complete(&queue, &attempt).await?;
    assert_eq!(claim_order(&queue).await?, [jobs[2].id]);
    assert!(queue.drop_live(&jobs[2].id).await?);
    enqueue(&queue, &queued("me", 1)).await?;
    Ok(())
}

async fn a_waiting_job_holds_up_no_other(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (live, other_bytes, other_owner) = (queued("me", 1), queued("me", 2), queued("you", 1));
    for job in [&live, &asking("b"), &other_bytes, &other_owner] {
        enqueue(&queue, job).await?;
    }
    let mut claimed: Vec<_> = claim_up_to(&queue, 10).await?.iter().map(|claim| claim.job.record.id).collect();
    let mut expected = [live.id, other_bytes.id, other_owner.id];
    claimed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(claimed, expected);
    Ok(())
}

async fn a_waiting_job_counts_as_live(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { owner_depth_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let first = queued("me", 1);
    enqueue(&queue, &first).await?;
    enqueue(&queue, &asking("b")).await?;
    let refused = queue.enqueue(asking("c")).await;
    assert!(matches!(refused, Err(QueueError::OwnerFull { depth: 2 })), "{refused:?}");
    assert_eq!(queue.counts().await?.pending, 2);
    queue.cancel(&first.id, Vec::new()).await?;
    enqueue(&queue, &asking("c")).await?;
    Ok(())
}

#[tokio::test]
async fn jobs_that_wait_outlive_the_server_in_their_order() -> TestResult {
    let fixture = QueueFixture::sled()?;
    let mut queue = fixture.open()?;
    let jobs = [queued("me", 1), asking("b"), asking("c")];
    for job in &jobs {
        enqueue(&queue, job).await?;
    }
    for job in &jobs {
        // It dies before the claim, and after it.
        for is_claimed in [false, true] {
            if is_claimed {
                assert_eq!(claim_order(&queue).await?, [job.id]);
            }
            fixture.crash(queue)?;
            queue = fixture.open()?;
        }
        let attempt = claim(&queue).await?;
        assert_eq!(attempt.job.record.id, job.id);
        nothing_to_claim(&queue).await?;
        complete(&queue, &attempt).await?;
    }
    Ok(())
}

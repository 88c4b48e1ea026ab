//! A claim is a lease with a fencing number.

use pixerve::job::State;
use pixerve::queue::{Claim, CrashAttribution, LeaseState, QueueSettings, Retry, Settled, Settlement};

use super::fixture::{
    LEASE, Queue, QueueFixture, Reaped, SECOND, TestResult, calling_back, claim, claim_up_to, complete, completion,
    crash, enqueue, enqueue_all, failure, nothing_to_claim, queued, reap_expired,
};
use super::settle::file;
use crate::harness::deliveries::end_of;

every_queue! {
    each_claim_counts_an_attempt,
    first_attempt_sets_when_it_started,
    expired_lease_is_requeued_with_its_attempt_counted,
    lease_that_expires_on_the_last_attempt_fails_the_job,
    reaping_takes_no_more_than_its_limit,
    reaping_names_what_is_stored_in_the_same_moment,
    a_lease_that_holds_is_not_reaped,
    a_lease_that_was_listed_as_lapsed_is_not_renewed,
    extended_lease_is_kept,
    extending_a_lost_lease_reports_it_lost,
    stale_token_cannot_complete,
    stale_token_cannot_fail,
    stale_token_can_neither_release_nor_crash,
    second_completion_is_stale,
    wall_clock_has_no_say_in_leases,
}

/// One job whose first lease was lost to a second claim.
async fn lost_and_taken(fixture: &QueueFixture, queue: &Queue) -> Result<[Claim; 2], Box<dyn std::error::Error>> {
    enqueue(queue, &queued("a", 1)).await?;
    let lost = claim(queue).await?;
    fixture.clock.advance(LEASE);
    reap_expired(queue, 10).await?;
    let taken = claim(queue).await?;
    assert_ne!(taken.lease.token, lost.lease.token);
    Ok([lost, taken])
}

async fn each_claim_counts_an_attempt(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    for attempt in 1..=3 {
        let held = claim(&queue).await?;
        assert_eq!((held.job.attempts, held.job.state), (attempt, State::Processing));
        queue.settle(&held.lease, failure(Retry::After(SECOND))).await?;
        fixture.clock.advance(SECOND);
    }
    Ok(())
}

async fn first_attempt_sets_when_it_started(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let started = fixture.now();
    let held = claim(&queue).await?;
    queue.settle(&held.lease, failure(Retry::After(SECOND))).await?;
    fixture.clock.advance(SECOND);
    let held = claim(&queue).await?;
    fixture.clock.advance(SECOND);
    complete(&queue, &held).await?;
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.started_at, job.finished_at), (Some(started), Some(fixture.now())));
    Ok(())
}

async fn expired_lease_is_requeued_with_its_attempt_counted(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    fixture.clock.advance(LEASE.saturating_sub(SECOND));
    assert_eq!(reap_expired(&queue, 10).await?, Reaped::default());
    fixture.clock.advance(SECOND);
    assert_eq!(reap_expired(&queue, 10).await?, Reaped { requeued: vec![id], failed: vec![] });
    assert_eq!(claim(&queue).await?.job.attempts, 2);
    Ok(())
}

async fn lease_that_expires_on_the_last_attempt_fails_the_job(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { attempts_max: 1, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    fixture.clock.advance(LEASE);
    assert_eq!(reap_expired(&queue, 10).await?, Reaped { requeued: vec![], failed: vec![id] });
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.error.map(|e| e.code)), (State::Failed, Some("lease_expired".to_owned())));
    Ok(())
}

async fn reaping_takes_no_more_than_its_limit(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    for n in 0..3 {
        enqueue(&queue, &queued("a", n)).await?;
    }
    claim_up_to(&queue, 3).await?;
    fixture.clock.advance(LEASE);
    assert_eq!(reap_expired(&queue, 2).await?.requeued.len(), 2);
    assert_eq!(reap_expired(&queue, 2).await?.requeued.len(), 1);
    Ok(())
}

async fn reaping_names_what_is_stored_in_the_same_moment(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { attempts_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    let stored = vec![file("stored.jpg")];
    for (files, state) in [(stored.clone(), State::Pending), (Vec::new(), State::Failed)] {
        claim(&queue).await?;
        fixture.clock.advance(LEASE);
        assert_eq!(queue.reap(&id, files).await?, Some(state));
        assert_eq!(queue.get(&id).await?.map(|job| job.files), Some(stored.clone()), "what is known is kept");
    }
    let due = queue.due_deliveries(1, LEASE).await?;
    assert_eq!(due.first().map(|delivery| delivery.id), Some(end_of(id)));
    let content = queue.delivery_content(&end_of(id)).await?;
    assert_eq!(content.map(|content| content.job.files), Some(stored));
    Ok(())
}

async fn a_lease_that_holds_is_not_reaped(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    assert_eq!(queue.reap(&id, Vec::new()).await?, None);
    let held = claim(&queue).await?;
    fixture.clock.advance(LEASE);
    // It had lapsed, and was renewed before anyone looked.
    queue.extend(&held.lease, LEASE).await?;
    assert_eq!(queue.expired_leases(10).await?, []);
    assert_eq!(queue.reap(&id, Vec::new()).await?, None);
    complete(&queue, &held).await
}

async fn a_lease_that_was_listed_as_lapsed_is_not_renewed(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("b", 2)]).await?;
    let (lapsed, ended) = (claim(&queue).await?, claim(&queue).await?);
    fixture.clock.advance(LEASE);
    assert_eq!(queue.expired_leases(10).await?.len(), 2);
    assert_eq!(queue.extend(&lapsed.lease, LEASE).await?, LeaseState::Lost);
    // Its attempt is being stopped; what it came to before that counts.
    complete(&queue, &ended).await?;
    assert_eq!(queue.expired_leases(10).await?, [ids[0]], "until it is reaped");
    assert_eq!(queue.reap(&ids[0], Vec::new()).await?, Some(State::Pending));
    let next = claim(&queue).await?;
    fixture.clock.advance(LEASE.saturating_sub(SECOND));
    assert!(matches!(queue.extend(&next.lease, LEASE).await?, LeaseState::Held(_)));
    Ok(())
}

async fn extended_lease_is_kept(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    for _ in 0..3 {
        fixture.clock.advance(LEASE.saturating_sub(SECOND));
        let extended = queue.extend(&held.lease, LEASE).await?;
        assert!(matches!(extended, LeaseState::Held(until) if until > held.lease.expires), "{extended:?}");
    }
    assert_eq!(reap_expired(&queue, 10).await?, Reaped::default());
    nothing_to_claim(&queue).await?;
    complete(&queue, &held).await
}

async fn extending_a_lost_lease_reports_it_lost(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [lost, taken] = lost_and_taken(&fixture, &queue).await?;
    assert_eq!(queue.extend(&lost.lease, LEASE).await?, LeaseState::Lost);
    complete(&queue, &taken).await?;
    assert_eq!(queue.extend(&taken.lease, LEASE).await?, LeaseState::Lost);
    Ok(())
}

async fn stale_token_cannot_complete(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [lost, taken] = lost_and_taken(&fixture, &queue).await?;
    assert_eq!(queue.settle(&lost.lease, completion()).await?, Settled::Stale);
    let job = queue.get(&taken.lease.id).await?.ok_or("it is unknown")?;
    assert_eq!(job.state, State::Processing);
    complete(&queue, &taken).await
}

async fn stale_token_cannot_fail(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [lost, taken] = lost_and_taken(&fixture, &queue).await?;
    for retry in [Retry::Never, Retry::After(SECOND)] {
        assert_eq!(queue.settle(&lost.lease, failure(retry)).await?, Settled::Stale);
    }
    complete(&queue, &taken).await
}

async fn stale_token_can_neither_release_nor_crash(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [lost, taken] = lost_and_taken(&fixture, &queue).await?;
    assert_eq!(queue.settle(&lost.lease, Settlement::Released).await?, Settled::Stale);
    assert_eq!(queue.settle(&lost.lease, crash()).await?, Settled::Stale);
    nothing_to_claim(&queue).await?;
    complete(&queue, &taken).await
}

async fn second_completion_is_stale(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    complete(&queue, &held).await?;
    assert_eq!(queue.settle(&held.lease, completion()).await?, Settled::Stale);
    assert_eq!(queue.counts().await?.completed, 1);
    Ok(())
}

async fn wall_clock_has_no_say_in_leases(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    fixture.clock.set_wall(fixture.now().after(86_400 * SECOND));
    assert_eq!(reap_expired(&queue, 10).await?, Reaped::default());
    queue.settle(&held.lease, failure(Retry::After(10 * SECOND))).await?;
    fixture.clock.set_wall(fixture.now().before(90_000 * SECOND));
    fixture.clock.advance(10 * SECOND);
    claim(&queue).await?;
    Ok(())
}

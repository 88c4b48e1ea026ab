//! A claim is a lease with a fencing number.

use pixerve::job::State;
use pixerve::queue::{Blame, Claim, LeaseState, QueueSettings, Retry, Settled};

use super::bench::{
    Bench, Checked, LEASE, Queue, Reaped, SECOND, broken_disk, calling_back, claim, complete, enqueue,
    nothing_to_claim, queued, reap_expired,
};
use super::settle::file;

every_queue! {
    each_claim_counts_an_attempt,
    first_attempt_sets_when_it_started,
    expired_lease_is_requeued_with_its_attempt_counted,
    lease_that_expires_on_the_last_attempt_fails_the_job,
    reaping_takes_no_more_than_its_limit,
    reaping_names_what_is_stored_in_the_same_moment,
    a_lease_that_holds_is_not_reaped,
    extended_lease_is_kept,
    extend_after_loss_says_lost,
    stale_token_cannot_complete,
    stale_token_cannot_fail,
    stale_token_can_neither_release_nor_crash,
    second_completion_is_stale,
    wall_clock_has_no_say_in_leases,
}

/// One job whose first lease was lost to a second claim.
async fn lost_and_taken(bench: &Bench, queue: &Queue) -> Result<[Claim; 2], Box<dyn std::error::Error>> {
    enqueue(queue, &queued("a", 1)).await?;
    let lost = claim(queue).await?;
    bench.clock.advance(LEASE);
    reap_expired(queue, 10).await?;
    let taken = claim(queue).await?;
    assert!(taken.lease.token > lost.lease.token);
    Ok([lost, taken])
}

async fn each_claim_counts_an_attempt(bench: Bench) -> Checked {
    let queue = bench.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    for attempt in 1..=3 {
        let held = claim(&queue).await?;
        assert_eq!((held.job.attempts, held.job.state), (attempt, State::Processing));
        queue.fail(&held.lease, broken_disk(), Vec::new(), Retry::After(SECOND)).await?;
        bench.clock.advance(SECOND);
    }
    Ok(())
}

async fn first_attempt_sets_when_it_started(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let started = bench.now();
    let held = claim(&queue).await?;
    queue.fail(&held.lease, broken_disk(), Vec::new(), Retry::After(SECOND)).await?;
    bench.clock.advance(SECOND);
    let held = claim(&queue).await?;
    bench.clock.advance(SECOND);
    complete(&queue, &held).await?;
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.started_at, job.finished_at), (Some(started), Some(bench.now())));
    Ok(())
}

async fn expired_lease_is_requeued_with_its_attempt_counted(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    bench.clock.advance(LEASE.saturating_sub(SECOND));
    assert_eq!(reap_expired(&queue, 10).await?, Reaped::default());
    bench.clock.advance(SECOND);
    assert_eq!(reap_expired(&queue, 10).await?, Reaped { requeued: vec![id], failed: vec![] });
    assert_eq!(claim(&queue).await?.job.attempts, 2);
    Ok(())
}

async fn lease_that_expires_on_the_last_attempt_fails_the_job(bench: Bench) -> Checked {
    let settings = QueueSettings { attempts_max: 1, ..QueueSettings::default() };
    let queue = bench.open_with(settings, Blame::Nobody)?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    claim(&queue).await?;
    bench.clock.advance(LEASE);
    assert_eq!(reap_expired(&queue, 10).await?, Reaped { requeued: vec![], failed: vec![id] });
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.error.map(|e| e.code)), (State::Failed, Some("lease_expired".to_owned())));
    Ok(())
}

async fn reaping_takes_no_more_than_its_limit(bench: Bench) -> Checked {
    let queue = bench.open()?;
    for n in 0..3 {
        enqueue(&queue, &queued("a", n)).await?;
    }
    queue.claim(3, LEASE).await?;
    bench.clock.advance(LEASE);
    assert_eq!(reap_expired(&queue, 2).await?.requeued.len(), 2);
    assert_eq!(reap_expired(&queue, 2).await?.requeued.len(), 1);
    Ok(())
}

async fn reaping_names_what_is_stored_in_the_same_moment(bench: Bench) -> Checked {
    let settings = QueueSettings { attempts_max: 2, ..QueueSettings::default() };
    let queue = bench.open_with(settings, Blame::Nobody)?;
    let id = enqueue(&queue, &calling_back(queued("a", 1))).await?;
    let stored = vec![file("stored.jpg")];
    for (files, state) in [(stored.clone(), State::Pending), (Vec::new(), State::Failed)] {
        claim(&queue).await?;
        bench.clock.advance(LEASE);
        assert_eq!(queue.reap(&id, files).await?, Some(state));
        assert_eq!(queue.get(&id).await?.map(|job| job.files), Some(stored.clone()), "what is known is not forgotten");
    }
    let due = queue.due_deliveries(1, LEASE).await?;
    assert_eq!(due.first().map(|delivery| &delivery.job.files), Some(&stored));
    Ok(())
}

async fn a_lease_that_holds_is_not_reaped(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    assert_eq!(queue.reap(&id, Vec::new()).await?, None);
    let held = claim(&queue).await?;
    bench.clock.advance(LEASE);
    assert_eq!(queue.expired(10).await?, [id]);
    // Between the look and the deed its worker was heard of.
    queue.extend(&held.lease, LEASE).await?;
    assert_eq!(queue.reap(&id, Vec::new()).await?, None);
    complete(&queue, &held).await
}

async fn extended_lease_is_kept(bench: Bench) -> Checked {
    let queue = bench.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    for _ in 0..3 {
        bench.clock.advance(LEASE.saturating_sub(SECOND));
        let extended = queue.extend(&held.lease, LEASE).await?;
        assert!(matches!(extended, LeaseState::Held(until) if until > held.lease.expires), "{extended:?}");
    }
    assert_eq!(reap_expired(&queue, 10).await?, Reaped::default());
    nothing_to_claim(&queue).await?;
    complete(&queue, &held).await
}

async fn extend_after_loss_says_lost(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let [lost, taken] = lost_and_taken(&bench, &queue).await?;
    assert_eq!(queue.extend(&lost.lease, LEASE).await?, LeaseState::Lost);
    complete(&queue, &taken).await?;
    assert_eq!(queue.extend(&taken.lease, LEASE).await?, LeaseState::Lost);
    Ok(())
}

async fn stale_token_cannot_complete(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let [lost, taken] = lost_and_taken(&bench, &queue).await?;
    assert_eq!(queue.complete(&lost.lease, Vec::new()).await?, Settled::Stale);
    let job = queue.get(&taken.lease.id).await?.ok_or("it is unknown")?;
    assert_eq!(job.state, State::Processing);
    complete(&queue, &taken).await
}

async fn stale_token_cannot_fail(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let [lost, taken] = lost_and_taken(&bench, &queue).await?;
    for retry in [Retry::Never, Retry::After(SECOND)] {
        assert_eq!(queue.fail(&lost.lease, broken_disk(), Vec::new(), retry).await?, Settled::Stale);
    }
    complete(&queue, &taken).await
}

async fn stale_token_can_neither_release_nor_crash(bench: Bench) -> Checked {
    let queue = bench.open()?;
    let [lost, taken] = lost_and_taken(&bench, &queue).await?;
    assert_eq!(queue.release(&lost.lease).await?, Settled::Stale);
    assert_eq!(queue.crashed(&lost.lease, broken_disk(), Vec::new()).await?, Settled::Stale);
    nothing_to_claim(&queue).await?;
    complete(&queue, &taken).await
}

async fn second_completion_is_stale(bench: Bench) -> Checked {
    let queue = bench.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    complete(&queue, &held).await?;
    assert_eq!(queue.complete(&held.lease, Vec::new()).await?, Settled::Stale);
    assert_eq!(queue.counts().await?.completed, 1);
    Ok(())
}

async fn wall_clock_has_no_say_in_leases(bench: Bench) -> Checked {
    let queue = bench.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    bench.clock.set_wall(bench.now().after(86_400 * SECOND));
    assert_eq!(reap_expired(&queue, 10).await?, Reaped::default());
    queue.fail(&held.lease, broken_disk(), Vec::new(), Retry::After(10 * SECOND)).await?;
    bench.clock.set_wall(bench.now().before(90_000 * SECOND));
    bench.clock.advance(10 * SECOND);
    claim(&queue).await?;
    Ok(())
}

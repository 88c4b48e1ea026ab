//! Who may have a place: turns by user, the spare place, and jobs that wait for memory.

use std::sync::Arc;
use std::time::Duration;

use pixerve::job::{ErrorCode, JobError, JobId, JobRecord, Owner, Priority, State};
use pixerve::queue::{
    Claim, ClaimRequest, Claimed, CrashAttribution, LeaseState, PASS_MAX, Place, QueueError, QueueSettings, Retry,
    Settled, Settlement,
};

use super::fixture::{
    LEASE, Queue, QueueFixture, SECOND, TestResult, claim, claim_order, complete, completion, crash, enqueue,
    enqueue_all, failure, nothing_to_claim, queued, record,
};
use super::settle::file;

every_queue! {
    users_take_turns_and_inside_them_their_subs,
    limits_of_a_registered_user_go_over_all_its_subs,
    spare_place_is_only_for_who_has_nothing_under_way,
    inventing_subs_gains_a_registered_user_no_spare_place,
    spare_place_goes_to_another_user_before_another_sub,
    a_job_that_is_made_has_no_place_and_keeps_its_lease,
    a_lease_that_lapses_while_a_job_is_being_stored_costs_no_attempt,
    a_job_whose_made_files_are_gone_waits_for_a_place_again,
    a_job_that_takes_more_than_was_known_waits_for_that,
    an_old_lease_can_not_say_that_a_job_is_made,
    smaller_jobs_of_others_pass_one_that_waits_for_memory_then_it_holds_them,
    a_tenant_who_is_served_does_not_hold_one_who_is_not,
    spare_place_waits_for_no_flood,
    waiting_for_work_ends_when_a_job_comes_that_fits_what_was_left,
}

mod one_machine {
    use super::{
        a_job_that_is_being_stored_does_not_hold_one_that_crashed,
        a_made_job_that_waits_again_needs_no_place_and_holds_nobody,
    };

    every_local_queue! {
        a_made_job_that_waits_again_needs_no_place_and_holds_nobody,
        a_job_that_is_being_stored_does_not_hold_one_that_crashed,
    }
}

fn shop(sub: &str) -> Owner {
    Owner { user: Some("shop".to_owned()), access_key: None, sub: sub.to_owned() }
}

fn of_shop(sub: &str, n: u32) -> JobRecord {
    record(&shop(sub), n, Priority::Queued)
}

fn taking(memory: u64, record: JobRecord) -> JobRecord {
    JobRecord { memory: Some(memory), ..record }
}

async fn claim_for(queue: &Queue, place: Place, memory: u64) -> Result<Claimed, QueueError> {
    queue.claim(ClaimRequest { max: 1, place, memory, lease: LEASE }).await
}

async fn spare(queue: &Queue) -> Result<Option<Claim>, QueueError> {
    Ok(claim_for(queue, Place::Spare, u64::MAX).await?.claims.pop())
}

async fn claim_made(queue: &Queue) -> Result<Option<Claim>, QueueError> {
    Ok(queue.claim_made(1, LEASE).await?.pop())
}

fn postponement() -> Settlement {
    let error = JobError::new(ErrorCode::Spool, "no descriptors");
    Settlement::Postponed { error, files: Vec::new(), wait: SECOND }
}

/// What a claim with so much memory gives: a job, or how much the next takes.
async fn claim_within(queue: &Queue, memory: u64) -> Result<(Option<JobId>, Option<u64>), QueueError> {
    let Claimed { claims, next_takes } = claim_for(queue, Place::Regular, memory).await?;
    Ok((claims.first().map(|claim| claim.job.record.id), next_takes))
}

async fn users_take_turns_and_inside_them_their_subs(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    // Ten subs with a job each are one user: what waits of another's has every second turn.
    let of_ten: Vec<_> = (0..10).map(|n| of_shop(&format!("sub-{n}"), n)).collect();
    let ours: Vec<_> = (0..5).map(|n| queued(["a", "b"][n as usize % 2], n)).collect();
    let theirs = enqueue_all(&queue, &of_ten).await?;
    let ours = enqueue_all(&queue, &ours).await?;
    let order = claim_order(&queue).await?;
    let expected: Vec<_> = theirs.iter().zip(&ours).flat_map(|(their, our)| [*their, *our]).collect();
    assert_eq!(order[..10], expected);
    assert_eq!(order[10..], theirs[5..]);
    Ok(())
}

async fn limits_of_a_registered_user_go_over_all_its_subs(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { owner_depth_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    enqueue_all(&queue, &[of_shop("a", 1), of_shop("b", 2)]).await?;
    let refused = queue.enqueue(of_shop("c", 3)).await;
    assert!(matches!(refused, Err(QueueError::OwnerFull { depth: 2 })), "{refused:?}");
    // Of the keys of `jwt.json` each sub has its own.
    enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("b", 3), queued("b", 4)]).await?;
    let refused = queue.enqueue(queued("a", 5)).await;
    assert!(matches!(refused, Err(QueueError::OwnerFull { depth: 2 })), "{refused:?}");
    Ok(())
}

async fn spare_place_is_only_for_who_has_nothing_under_way(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue_all(&queue, &[queued("flood", 1), queued("flood", 2), queued("flood", 3)]).await?;
    claim(&queue).await?;
    assert!(spare(&queue).await?.is_none());
    let other = enqueue(&queue, &queued("other", 1)).await?;
    assert_eq!(spare(&queue).await?.map(|claim| claim.job.record.id), Some(other));
    enqueue(&queue, &queued("other", 2)).await?;
    assert!(spare(&queue).await?.is_none(), "now both have something under way");
    Ok(())
}

async fn inventing_subs_gains_a_registered_user_no_spare_place(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let invented: Vec<_> = (0..120).map(|n| of_shop(&format!("sub-{n}"), n)).collect();
    enqueue_all(&queue, &invented).await?;
    let held = claim(&queue).await?;
    assert!(spare(&queue).await?.is_none());
    complete(&queue, &held).await?;
    assert!(spare(&queue).await?.is_some(), "with nothing under way the user may have it like any other");
    Ok(())
}

async fn spare_place_goes_to_another_user_before_another_sub(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("b", 2), of_shop("c", 3)]).await?;
    assert_eq!(claim(&queue).await?.job.record.id, ids[0]);
    let taken = [spare(&queue).await?, spare(&queue).await?].map(|claim| claim.map(|claim| claim.job.record.id));
    assert_eq!(taken, [Some(ids[2]), Some(ids[1])]);
    Ok(())
}

async fn a_job_that_is_made_has_no_place_and_keeps_its_lease(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue_all(&queue, &[queued("a", 1), queued("a", 2)]).await?;
    let held = claim(&queue).await?;
    assert!(spare(&queue).await?.is_none());
    queue.made(&held.lease).await?;
    queue.made(&held.lease).await?;
    let counts = queue.counts().await?;
    assert_eq!((counts.pending, counts.processing, counts.storing), (1, 1, 1));
    assert!(spare(&queue).await?.is_some(), "nothing is being made of its owner");
    fixture.clock.advance(LEASE.saturating_sub(SECOND));
    assert!(matches!(queue.extend(&held.lease, LEASE).await?, LeaseState::Held(_)));
    assert_eq!(queue.counts().await?.storing, 1, "a renewed lease changes nothing about it");
    complete(&queue, &held).await?;
    assert_eq!(queue.counts().await?.storing, 0);
    Ok(())
}

async fn a_lease_that_lapses_while_a_job_is_being_stored_costs_no_attempt(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { attempts_max: 1, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let mut held = claim(&queue).await?;
    queue.made(&held.lease).await?;
    for _ in 0..3 {
        assert_eq!(held.job.attempts, 1);
        fixture.clock.advance(LEASE);
        assert_eq!(queue.reap(&id, Vec::new()).await?, Some(State::Pending));
        held = claim_made(&queue).await?.ok_or("it waits")?;
    }
    Ok(())
}

async fn a_made_job_that_waits_again_needs_no_place_and_holds_nobody(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
    let ids = enqueue_all(&queue, &[taking(60, queued("a", 1)), taking(60, queued("b", 2))]).await?;
    let made = [claim(&queue).await?, claim(&queue).await?];
    for claim in &made {
        queue.made(&claim.lease).await?;
    }
    // The later one first.
    queue.settle(&made[1].lease, Settlement::Released).await?;
    queue.settle(&made[0].lease, postponement()).await?;
    let third = enqueue(&queue, &taking(60, queued("c", 3))).await?;
    assert_eq!(claim_within(&queue, 60).await?, (Some(third), None), "what is made isn't in its way");
    assert_eq!(claim_within(&queue, 0).await?, (None, None));
    assert_eq!(claim_made(&queue).await?.map(|claim| claim.job.record.id), Some(ids[1]));
    assert!(claim_made(&queue).await?.is_none(), "the other has to wait");
    fixture.clock.advance(SECOND);
    queue.wait_made(3600 * SECOND).await;
    let claim = claim_made(&queue).await?.ok_or("now it is due")?;
    assert_eq!((claim.job.record.id, claim.job.attempts), (ids[0], 1));
    assert_eq!(queue.counts().await?.storing, 2);
    complete(&queue, &claim).await
}

async fn a_job_whose_made_files_are_gone_waits_for_a_place_again(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &taking(60, queued("a", 1))).await?;
    let unmade = Settlement::Unmade { files: vec![file("stored.jpg")] };
    for (settlement, attempts) in [(unmade, 1), (failure(Retry::After(Duration::ZERO)), 2), (crash(), 3)] {
        let held = claim(&queue).await?;
        queue.made(&held.lease).await?;
        queue.settle(&held.lease, Settlement::Released).await?;
        let held = claim_made(&queue).await?.ok_or("it waits")?;
        queue.settle(&held.lease, settlement).await?;
        assert!(claim_made(&queue).await?.is_none());
        assert_eq!(claim_within(&queue, 59).await?, (None, Some(60)));
        let held = claim(&queue).await?;
        assert_eq!((held.job.record.id, held.job.attempts), (id, attempts));
        assert_eq!(held.job.files, [file("stored.jpg")], "what is stored is known still");
        queue.settle(&held.lease, Settlement::Released).await?;
    }
    Ok(())
}

async fn a_job_that_takes_more_than_was_known_waits_for_that(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &taking(10, queued("a", 1))).await?;
    let held = claim(&queue).await?;
    queue.settle(&held.lease, Settlement::Outgrown { memory: 60 }).await?;
    assert_eq!(claim_within(&queue, 40).await?, (None, Some(60)));
    assert_eq!(claim_within(&queue, 60).await?, (Some(id), None));
    assert_eq!(queue.get(&id).await?.map(|job| job.attempts), Some(1), "the first doesn't count");
    Ok(())
}

async fn an_old_lease_can_not_say_that_a_job_is_made(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let lost = claim(&queue).await?;
    queue.settle(&lost.lease, Settlement::Released).await?;
    queue.made(&lost.lease).await?;
    let held = claim(&queue).await?;
    queue.made(&lost.lease).await?;
    assert_eq!(queue.counts().await?.storing, 0);
    complete(&queue, &held).await?;
    queue.made(&held.lease).await?;
    assert_eq!(queue.counts().await?.storing, 0);
    Ok(())
}

async fn a_job_that_is_being_stored_does_not_hold_one_that_crashed(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("b", 2), queued("b", 3)]).await?;
    let (crashed, other) = (claim(&queue).await?, claim(&queue).await?);
    queue.settle(&crashed.lease, crash()).await?;
    nothing_to_claim(&queue).await?;
    queue.made(&other.lease).await?;
    let alone = claim(&queue).await?;
    assert_eq!(alone.job.record.id, ids[0]);
    nothing_to_claim(&queue).await?;
    queue.made(&alone.lease).await?;
    assert_eq!(claim(&queue).await?.job.record.id, ids[2]);
    assert_eq!(queue.settle(&other.lease, completion()).await?, Settled::Applied(pixerve::job::State::Completed));
    Ok(())
}

async fn smaller_jobs_of_others_pass_one_that_waits_for_memory_then_it_holds_them(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [large, behind] = [taking(60, queued("a", 1)), taking(1, queued("a", 2))];
    let small: Vec<_> = (0..4).map(|n| taking(10, queued("b", n))).collect();
    let [large, _] = [enqueue(&queue, &large).await?, enqueue(&queue, &behind).await?];
    let small = enqueue_all(&queue, &small).await?;
    assert_eq!(claim_within(&queue, 5).await?, (None, Some(10)), "the least that would do");
    assert_eq!(claim_within(&queue, 40).await?, (Some(small[0]), None));
    fixture.clock.advance(PASS_MAX.saturating_sub(SECOND));
    assert_eq!(claim_within(&queue, 40).await?, (Some(small[1]), None));
    fixture.clock.advance(SECOND);
    // Of `b` something is being made, and of `a` nothing.
    assert_eq!(claim_within(&queue, 40).await?, (None, Some(60)));
    assert!(claim_for(&queue, Place::Spare, 40).await?.claims.is_empty());
    assert_eq!(claim_within(&queue, 60).await?, (Some(large), None));
    assert_eq!(claim_within(&queue, 40).await?, (Some(small[2]), None), "then everything goes on");
    Ok(())
}

async fn a_tenant_who_is_served_does_not_hold_one_who_is_not(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let heavy: Vec<_> = (0..3).map(|n| taking(60, queued("heavy", n))).collect();
    let heavy = enqueue_all(&queue, &heavy).await?;
    let first = claim(&queue).await?;
    // The other has had its turn.
    enqueue(&queue, &queued("other", 0)).await?;
    complete(&queue, &claim(&queue).await?).await?;
    assert_eq!(claim_within(&queue, 40).await?, (None, Some(60)));
    fixture.clock.advance(2 * PASS_MAX);
    let other = enqueue_all(&queue, &[taking(10, queued("other", 1)), taking(10, queued("other", 2))]).await?;
    assert_eq!(claim_within(&queue, 40).await?, (Some(other[0]), None));
    assert_eq!(claim_within(&queue, 30).await?, (None, Some(60)), "one at a time");
    queue.made(&first.lease).await?;
    assert_eq!(claim_within(&queue, 50).await?, (None, Some(60)), "now it is the turn of the one that waited");
    assert_eq!(claim_within(&queue, 90).await?, (Some(heavy[1]), None));
    Ok(())
}

async fn spare_place_waits_for_no_flood(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue_all(&queue, &[queued("flood", 1), queued("flood", 2)]).await?;
    claim(&queue).await?;
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.wait_ready(Place::Spare, 3600 * SECOND).await }
    });
    queue.wait_ready(Place::Regular, 3600 * SECOND).await;
    enqueue(&queue, &queued("flood", 3)).await?;
    assert!(!waiting.is_finished());
    enqueue(&queue, &queued("other", 1)).await?;
    waiting.await?;
    Ok(())
}

async fn waiting_for_work_ends_when_a_job_comes_that_fits_what_was_left(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &taking(60, queued("a", 1))).await?;
    assert_eq!(claim_within(&queue, 40).await?, (None, Some(60)));
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.wait_ready(Place::Regular, 3600 * SECOND).await }
    });
    enqueue(&queue, &taking(50, queued("b", 2))).await?;
    assert!(!waiting.is_finished());
    let small = enqueue(&queue, &taking(40, queued("c", 3))).await?;
    waiting.await?;
    assert_eq!(claim_within(&queue, 40).await?, (Some(small), None));
    Ok(())
}

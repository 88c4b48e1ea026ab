//! Whose turn it is.

use std::collections::HashSet;
use std::sync::Arc;

use pixerve::job::{JobRecord, State};
use pixerve::queue::{ClaimRequest, Claimed, CrashAttribution, Place, QueueSettings, Retry};

use super::fixture::{
    LEASE, QueueFixture, SECOND, TestResult, claim, claim_order, claim_up_to, complete, crash, enqueue, enqueue_all,
    failure, nothing_to_claim, queued, realtime,
};

every_queue! {
    realtime_comes_first_then_first_in_first_out,
    equal_timestamps_are_still_first_in_first_out,
    retried_job_keeps_its_place,
    delayed_job_is_invisible_until_due,
    due_delayed_job_honours_priority,
    owners_take_turns,
    an_owner_who_floods_delays_another_by_no_further_job,
    newcomers_overtake_an_owner_once_a_turn,
    queued_lane_is_not_starved,
    concurrent_claims_neither_duplicate_nor_lose,
    claim_on_empty_finds_nothing,
    one_claim_may_take_many,
    a_job_for_which_memory_is_missing_stays_and_is_not_overtaken,
    job_that_crashed_its_own_child_halts_nobody,
    waiting_for_work_ends_when_there_is_some,
    waiting_for_work_ends_when_a_delay_is_over,
}

mod one_machine {
    use super::crashed_job_runs_alone_where_jobs_run_in_process;

    every_local_queue! {
        crashed_job_runs_alone_where_jobs_run_in_process,
    }
}

async fn realtime_comes_first_then_first_in_first_out(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [q1, q2] = [queued("a", 1), queued("a", 2)];
    let [r1, r2] = [realtime("a", 3), realtime("a", 4)];
    enqueue_all(&queue, &[q1.clone(), r1.clone(), q2.clone(), r2.clone()]).await?;
    assert_eq!(claim_order(&queue).await?, [r1.id, r2.id, q1.id, q2.id]);
    Ok(())
}

async fn equal_timestamps_are_still_first_in_first_out(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let records: Vec<_> = (0..50).map(|n| queued("a", n)).collect();
    let mut by_id: Vec<_> = records.iter().map(|record| record.id).collect();
    let ids = enqueue_all(&queue, &records).await?;
    assert_eq!(claim_order(&queue).await?, ids);
    by_id.sort();
    assert_ne!(by_id, ids, "ids made at one moment don't sort, so it wasn't they that kept the order");
    Ok(())
}

async fn retried_job_keeps_its_place(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("a", 3)]).await?;
    let first = claim(&queue).await?;
    queue.settle(&first.lease, failure(Retry::After(SECOND))).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(claim_order(&queue).await?, ids);
    Ok(())
}

async fn delayed_job_is_invisible_until_due(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let first = claim(&queue).await?;
    queue.settle(&first.lease, failure(Retry::After(10 * SECOND))).await?;
    nothing_to_claim(&queue).await?;
    fixture.clock.advance(9 * SECOND);
    nothing_to_claim(&queue).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(claim(&queue).await?.job.record.id, id);
    Ok(())
}

async fn due_delayed_job_honours_priority(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let urgent = enqueue(&queue, &realtime("a", 1)).await?;
    let first = claim(&queue).await?;
    queue.settle(&first.lease, failure(Retry::After(SECOND))).await?;
    let delayed = enqueue(&queue, &queued("a", 2)).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(claim_order(&queue).await?, [urgent, delayed]);
    Ok(())
}

async fn owners_take_turns(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [a1, a2, a3] = [queued("a", 1), queued("a", 2), queued("a", 3)];
    let [b1, b2] = [queued("b", 1), queued("b", 2)];
    let c1 = queued("c", 1);
    let all = [a1.clone(), a2.clone(), a3.clone(), b1.clone(), b2.clone(), c1.clone()];
    enqueue_all(&queue, &all).await?;
    assert_eq!(claim_order(&queue).await?, [a1.id, b1.id, c1.id, a2.id, b2.id, a3.id]);
    Ok(())
}

async fn an_owner_who_floods_delays_another_by_no_further_job(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let flood: Vec<_> = (0..100).map(|n| queued("flood", n)).collect();
    // The first is claimed when there is no other yet.
    enqueue(&queue, &flood[0]).await?;
    for n in 0..3 {
        assert_eq!(claim(&queue).await?.job.record.owner.sub, "flood");
        if n == 0 {
            enqueue_all(&queue, &flood[1..]).await?;
        }
        let other = enqueue(&queue, &queued("other", n)).await?;
        assert_eq!(claim(&queue).await?.job.record.id, other);
    }
    Ok(())
}

async fn newcomers_overtake_an_owner_once_a_turn(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let [a1, a2] = [queued("a", 1), queued("a", 2)];
    enqueue_all(&queue, &[a1.clone(), a2.clone()]).await?;
    assert_eq!(claim(&queue).await?.job.record.id, a1.id);
    let newcomers = ["b", "c", "d"].map(|sub| queued(sub, 1));
    enqueue_all(&queue, &newcomers).await?;
    let [b, c, d] = newcomers.map(|record| record.id);
    assert_eq!(claim_order(&queue).await?, [b, a2.id, c, d]);
    Ok(())
}

async fn queued_lane_is_not_starved(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { realtime_run_max: 3, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let delayed = enqueue_all(&queue, &[queued("a", 100), queued("a", 101)]).await?;
    let urgent: Vec<_> = (0..8).map(|n| realtime("b", n)).collect();
    enqueue_all(&queue, &urgent).await?;
    let order = claim_order(&queue).await?;
    assert_eq!([order[3], order[7]], [delayed[0], delayed[1]]);
    assert_eq!(order.len(), 10);
    Ok(())
}

async fn concurrent_claims_neither_duplicate_nor_lose(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let records: Vec<_> = (0..64).map(|n| queued(["a", "b", "c"][n as usize % 3], n)).collect();
    let ids: HashSet<_> = enqueue_all(&queue, &records).await?.into_iter().collect();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let queue = Arc::clone(&queue);
        workers.spawn(async move {
            let mut claimed = Vec::new();
            let three = ClaimRequest { max: 3, place: Place::Regular, memory: u64::MAX, lease: LEASE };
            while let Ok(Claimed { claims, .. }) = queue.claim(three).await {
                if claims.is_empty() {
                    break;
                }
                claimed.extend(claims.into_iter().map(|claim| (claim.job.record.id, claim.lease.token)));
            }
            claimed
        });
    }
    let claimed: Vec<_> = workers.join_all().await.concat();
    assert_eq!(claimed.len(), ids.len());
    assert_eq!(claimed.iter().map(|(id, _)| *id).collect::<HashSet<_>>(), ids);
    assert_eq!(claimed.iter().map(|(_, token)| *token).collect::<HashSet<_>>().len(), ids.len());
    Ok(())
}

async fn claim_on_empty_finds_nothing(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    nothing_to_claim(&queue).await?;
    enqueue(&queue, &queued("a", 1)).await?;
    let only = claim(&queue).await?;
    nothing_to_claim(&queue).await?;
    complete(&queue, &only).await?;
    nothing_to_claim(&queue).await
}

async fn one_claim_may_take_many(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("a", 3)]).await?;
    let claims = claim_up_to(&queue, 2).await?;
    assert_eq!(claims.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), ids[..2]);
    assert_ne!(claims[0].lease.token, claims[1].lease.token);
    assert!(claim_up_to(&queue, 0).await?.is_empty());
    Ok(())
}

async fn a_job_for_which_memory_is_missing_stays_and_is_not_overtaken(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let taking = |n: u32, memory: u64| JobRecord { memory: Some(memory), ..queued("a", n) };
    let ids = enqueue_all(&queue, &[taking(1, 30), taking(2, 60), taking(3, 10)]).await?;
    let claimed = queue.claim(ClaimRequest { max: 3, place: Place::Regular, memory: 70, lease: LEASE }).await?;
    assert_eq!(claimed.claims.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), ids[..1]);
    assert_eq!(claimed.next_takes, Some(60));
    assert_eq!(queue.get(&ids[1]).await?.map(|job| (job.state, job.attempts)), Some((State::Pending, 0)));
    // The third would find room, but the second would never be done if such as the third kept coming.
    let claimed = queue.claim(ClaimRequest { max: 3, place: Place::Regular, memory: 40, lease: LEASE }).await?;
    assert!(claimed.claims.is_empty());
    assert_eq!(claimed.next_takes, Some(60));
    let claimed = queue.claim(ClaimRequest { max: 3, place: Place::Regular, memory: 70, lease: LEASE }).await?;
    assert_eq!(claimed.claims.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(claimed.next_takes, None);
    Ok(())
}

async fn crashed_job_runs_alone_where_jobs_run_in_process(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open_with(QueueSettings::default(), CrashAttribution::JobsInFlight)?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("b", 3)]).await?;
    let (crashed, other) = (claim(&queue).await?, claim(&queue).await?);
    queue.settle(&crashed.lease, crash()).await?;
    nothing_to_claim(&queue).await?;
    complete(&queue, &other).await?;
    let alone = claim_up_to(&queue, 10).await?;
    assert_eq!(alone.iter().map(|claim| claim.job.record.id).collect::<Vec<_>>(), [ids[0]]);
    nothing_to_claim(&queue).await?;
    complete(&queue, &alone[0]).await?;
    assert_eq!(claim_order(&queue).await?.len(), 1);
    Ok(())
}

async fn job_that_crashed_its_own_child_halts_nobody(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("b", 3)]).await?;
    let crashed = claim(&queue).await?;
    claim(&queue).await?;
    queue.settle(&crashed.lease, crash()).await?;
    assert_eq!(claim_order(&queue).await?.len(), 2);
    Ok(())
}

async fn waiting_for_work_ends_when_there_is_some(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.wait_ready(Place::Regular, 3600 * SECOND).await }
    });
    let id = enqueue(&queue, &queued("a", 1)).await?;
    waiting.await?;
    queue.wait_ready(Place::Regular, 3600 * SECOND).await;
    assert_eq!(claim(&queue).await?.job.record.id, id);
    queue.wait_ready(Place::Regular, SECOND / 100).await;
    Ok(())
}

async fn waiting_for_work_ends_when_a_delay_is_over(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let first = claim(&queue).await?;
    queue.settle(&first.lease, failure(Retry::After(10 * SECOND))).await?;
    fixture.clock.advance(10 * SECOND);
    queue.wait_ready(Place::Regular, 3600 * SECOND).await;
    claim(&queue).await?;
    Ok(())
}

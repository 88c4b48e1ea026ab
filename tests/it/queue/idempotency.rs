//! Requests that may be repeated: done once, and answered alike from then on.

use std::sync::Arc;

use pixerve::job::{
    ContentHash, Idempotency, IdempotencyKey, JobId, JobRecord, KeptAnswer, OnceToken, RequestFingerprint,
};
use pixerve::queue::{BegunRequest, Enqueued, QueueError, QueueSettings, RequestFate, RequestLease};

use super::fixture::{LEASE, Queue, QueueFixture, SECOND, TestResult, claim, complete, enqueue, owner, purge, queued};

every_queue! {
    a_request_is_under_way_until_it_ends_and_its_key_is_no_other_owners,
    a_request_that_is_not_renewed_may_be_begun_again_and_knows_that_it_has_been,
    a_job_is_its_requests_answer_from_the_step_on_that_queues_it,
    an_answer_without_a_job_is_kept_by_who_holds_the_key_alone,
    a_request_of_which_nobody_knows_how_it_ended_is_remembered_by_its_job,
    a_refused_job_leaves_its_key_free,
    a_job_that_comes_again_from_the_spool_is_its_requests_own,
    an_answer_outlives_its_jobs_record_and_is_forgotten_after_a_day,
    concurrent_jobs_of_one_key_have_one_winner_and_of_concurrent_requests_one_begins,
    what_a_token_was_used_for_is_asked_after_the_key,
}

fn key(sub: &str, key: &str) -> IdempotencyKey {
    IdempotencyKey::new(&owner(sub), "/upload", key)
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer {
        fingerprint: RequestFingerprint(ContentHash::of(b"what is asked for")),
        status: 200,
        body: body.to_owned(),
    }
}

pub(super) fn answered_with(key: IdempotencyKey, body: &str) -> Idempotency {
    Idempotency { key, answer: Some(answer(body)) }
}

/// The job of the request with this key, whose answer is its id.
fn of_request(key: IdempotencyKey, record: JobRecord) -> JobRecord {
    let idempotency = Some(answered_with(key, &record.id.to_string()));
    JobRecord { idempotency, ..record }
}

async fn begun(
    queue: &Queue,
    key: IdempotencyKey,
) -> Result<(RequestLease, Option<JobId>), Box<dyn std::error::Error>> {
    match queue.begin_request(key, LEASE).await? {
        BegunRequest::Begun { lease, earlier } => Ok((lease, earlier)),
        other => Err(format!("it is to begin, and {other:?}").into()),
    }
}

async fn a_request_is_under_way_until_it_ends_and_its_key_is_no_other_owners(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (lease, earlier) = begun(&queue, key("me", "a")).await?;
    assert_eq!(earlier, None);
    assert_eq!(queue.begin_request(key("me", "a"), LEASE).await?, BegunRequest::InFlight);
    begun(&queue, key("you", "a")).await?;
    begun(&queue, key("me", "b")).await?;
    begun(&queue, IdempotencyKey::new(&owner("me"), "/retry", "a")).await?;
    queue.end_request(&lease, RequestFate::Free).await?;
    let (again, _) = begun(&queue, key("me", "a")).await?;
    assert_ne!(again, lease);
    // What ended long ago ends nothing else.
    queue.end_request(&lease, RequestFate::Free).await?;
    assert_eq!(queue.begin_request(key("me", "a"), LEASE).await?, BegunRequest::InFlight);
    Ok(())
}

async fn a_request_that_is_not_renewed_may_be_begun_again_and_knows_that_it_has_been(
    fixture: QueueFixture,
) -> TestResult {
    let queue = fixture.open()?;
    let (lease, _) = begun(&queue, key("me", "a")).await?;
    fixture.clock.advance(LEASE.saturating_sub(SECOND));
    assert!(queue.extend_request(&lease, LEASE, None).await?);
    fixture.clock.advance(LEASE.saturating_sub(SECOND));
    assert_eq!(queue.begin_request(key("me", "a"), LEASE).await?, BegunRequest::InFlight, "it was renewed");
    fixture.clock.advance(SECOND);
    assert!(queue.extend_request(&lease, LEASE, None).await?, "nobody else has begun it");
    fixture.clock.advance(LEASE);
    let (other, _) = begun(&queue, key("me", "a")).await?;
    assert!(!queue.extend_request(&lease, LEASE, Some(queued("me", 1).id)).await?);
    queue.keep_answer(&lease, answer("late")).await?;
    assert_eq!(queue.begin_request(key("me", "a"), LEASE).await?, BegunRequest::InFlight, "the late one has no say");
    assert!(queue.extend_request(&other, LEASE, None).await?);
    Ok(())
}

async fn a_job_is_its_requests_answer_from_the_step_on_that_queues_it(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let a = key("me", "a");
    let (lease, _) = begun(&queue, a).await?;
    let record = of_request(a, queued("me", 1));
    assert!(queue.extend_request(&lease, LEASE, Some(record.id)).await?);
    enqueue(&queue, &record).await?;
    let kept = answer(&record.id.to_string());
    assert_eq!(queue.begin_request(a, LEASE).await?, BegunRequest::Answered(kept.clone()));
    // Another job of the same request is none, whatever it asks for; the same one is known.
    assert_eq!(queue.enqueue(of_request(a, queued("me", 2))).await?, Enqueued::Repeated(kept.clone()));
    assert_eq!(queue.enqueue(record.clone()).await?, Enqueued::Known);
    // The request that it was has ended with it.
    queue.end_request(&lease, RequestFate::Free).await?;
    assert_eq!(queue.begin_request(a, LEASE).await?, BegunRequest::Answered(kept));
    let job = queue.get(&record.id).await?.ok_or("known")?;
    assert_eq!(job.record.idempotency, Some(Idempotency { key: a, answer: None }), "it is kept once");
    Ok(())
}

async fn an_answer_without_a_job_is_kept_by_who_holds_the_key_alone(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let a = key("me", "a");
    let (lease, _) = begun(&queue, a).await?;
    queue.keep_answer(&lease, answer("no job of its own")).await?;
    let kept = BegunRequest::Answered(answer("no job of its own"));
    assert_eq!(queue.begin_request(a, LEASE).await?, kept);
    queue.keep_answer(&lease, answer("again")).await?;
    assert_eq!(queue.begin_request(a, LEASE).await?, kept, "it was answered");
    assert_eq!(queue.enqueue(of_request(a, queued("me", 1))).await?, Enqueued::Repeated(answer("no job of its own")));
    Ok(())
}

async fn a_request_of_which_nobody_knows_how_it_ended_is_remembered_by_its_job(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (a, job) = (key("me", "a"), queued("me", 1).id);
    let (lease, _) = begun(&queue, a).await?;
    assert!(queue.extend_request(&lease, LEASE, Some(job)).await?);
    queue.end_request(&lease, RequestFate::Unknown).await?;
    // It has ended: its lease is good for nothing any more.
    assert!(!queue.extend_request(&lease, LEASE, None).await?);
    queue.end_request(&lease, RequestFate::Free).await?;
    let (lease, earlier) = begun(&queue, a).await?;
    assert_eq!(earlier, Some(job));
    // Its holder dies: nobody ends it.
    fixture.clock.advance(LEASE);
    let (again, earlier) = begun(&queue, a).await?;
    assert_eq!(earlier, Some(job));
    queue.end_request(&lease, RequestFate::Free).await?;
    assert_eq!(queue.begin_request(a, LEASE).await?, BegunRequest::InFlight);
    // One that is refused has nothing left, and neither has one that was never about to become a job.
    queue.end_request(&again, RequestFate::Free).await?;
    let (lease, earlier) = begun(&queue, a).await?;
    assert_eq!(earlier, None);
    queue.end_request(&lease, RequestFate::Unknown).await?;
    let (lease, _) = begun(&queue, a).await?;
    // And nothing is remembered for longer than an answer.
    assert!(queue.extend_request(&lease, LEASE, Some(job)).await?);
    fixture.clock.advance(IdempotencyKey::KEPT_FOR);
    assert_eq!(queue.forget_answers(10).await?, 0);
    assert_eq!(begun(&queue, a).await?.1, None);
    Ok(())
}

async fn a_refused_job_leaves_its_key_free(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { depth_max: 1, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, pixerve::queue::CrashAttribution::NoJob)?;
    let first = queued("me", 1);
    enqueue(&queue, &first).await?;
    let a = key("me", "a");
    let duplicate = queue.enqueue(of_request(a, queued("me", 1))).await?;
    assert!(matches!(duplicate, Enqueued::Duplicate(job) if job.record.id == first.id));
    let full = queue.enqueue(of_request(a, queued("me", 2))).await;
    assert!(matches!(full, Err(QueueError::Full { .. })), "{full:?}");
    complete(&queue, &claim(&queue).await?).await?;
    begun(&queue, a).await?;
    let record = of_request(a, queued("me", 2));
    enqueue(&queue, &record).await?;
    assert!(matches!(queue.begin_request(a, LEASE).await?, BegunRequest::Answered(_)));
    Ok(())
}

async fn a_job_that_comes_again_from_the_spool_is_its_requests_own(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let a = key("me", "a");
    let record = of_request(a, queued("me", 1));
    enqueue(&queue, &record).await?;
    // As if its record had been lost: its request is answered still.
    assert!(queue.drop_live(&record.id).await?);
    let kept = answer(&record.id.to_string());
    assert_eq!(queue.enqueue(of_request(a, queued("me", 2))).await?, Enqueued::Repeated(kept.clone()));
    assert_eq!(queue.enqueue(record).await?, Enqueued::Created);
    assert_eq!(queue.begin_request(a, LEASE).await?, BegunRequest::Answered(kept));
    Ok(())
}

async fn an_answer_outlives_its_jobs_record_and_is_forgotten_after_a_day(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (a, b) = (key("me", "a"), key("me", "b"));
    let records = [of_request(a, queued("me", 1)), of_request(b, queued("me", 2))];
    enqueue(&queue, &records[0]).await?;
    fixture.clock.advance(3600 * SECOND);
    enqueue(&queue, &records[1]).await?;
    for _ in &records {
        complete(&queue, &claim(&queue).await?).await?;
    }
    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 2, "their records go");
    assert_eq!(queue.forget_answers(10).await?, 0);
    for (key, record) in [a, b].into_iter().zip(&records) {
        assert_eq!(queue.begin_request(key, LEASE).await?, BegunRequest::Answered(answer(&record.id.to_string())));
    }
    fixture.clock.advance(IdempotencyKey::KEPT_FOR.saturating_sub(3600 * SECOND));
    // Whether anybody has looked for what is old is no matter.
    let (lease, earlier) = begun(&queue, a).await?;
    assert_eq!(earlier, None);
    assert!(queue.forget_answers(10).await? <= 1);
    assert_eq!(queue.forget_answers(10).await?, 0, "the other one is a day old in an hour");
    assert!(matches!(queue.begin_request(b, LEASE).await?, BegunRequest::Answered(_)));
    // The key is as good as new, and what comes with it is kept for a day of its own.
    let record = of_request(a, queued("me", 3));
    assert!(queue.extend_request(&lease, LEASE, Some(record.id)).await?);
    enqueue(&queue, &record).await?;
    fixture.clock.advance(3600 * SECOND);
    assert!(queue.forget_answers(10).await? <= 1);
    assert_eq!(queue.begin_request(a, LEASE).await?, BegunRequest::Answered(answer(&record.id.to_string())));
    begun(&queue, b).await?;
    Ok(())
}

async fn concurrent_jobs_of_one_key_have_one_winner_and_of_concurrent_requests_one_begins(
    fixture: QueueFixture,
) -> TestResult {
    let queue = fixture.open()?;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let queue = Arc::clone(&queue);
        requests.spawn(async move { queue.begin_request(key("me", "a"), LEASE).await });
    }
    let requests = requests.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(requests.iter().filter(|request| **request != BegunRequest::InFlight).count(), 1, "{requests:?}");
    let mut uploads = tokio::task::JoinSet::new();
    for n in 0..32 {
        let (queue, upload) = (Arc::clone(&queue), of_request(key("me", "a"), queued("me", n)));
        uploads.spawn(async move { (upload.id, queue.enqueue(upload).await) });
    }
    let (mut winners, mut named) = (Vec::new(), Vec::new());
    for (id, outcome) in uploads.join_all().await {
        match outcome? {
            Enqueued::Created => winners.push(id.to_string()),
            Enqueued::Repeated(answer) => named.push(answer.body),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert!(named.len() == 31 && named.iter().all(|body| *body == winners[0]), "{named:?}");
    Ok(())
}

async fn what_a_token_was_used_for_is_asked_after_the_key(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let once = Some(OnceToken::new(&owner("me"), "token-1", fixture.now().after(60 * SECOND)));
    let first = JobRecord { once, ..of_request(key("me", "a"), queued("me", 1)) };
    enqueue(&queue, &first).await?;
    let again = JobRecord { once, ..of_request(key("me", "a"), queued("me", 2)) };
    assert_eq!(queue.enqueue(again).await?, Enqueued::Repeated(answer(&first.id.to_string())));
    let other = JobRecord { once, ..of_request(key("me", "b"), queued("me", 3)) };
    assert_eq!(queue.enqueue(other).await?, Enqueued::TokenUsed(first.id));
    assert!(matches!(queue.begin_request(key("me", "b"), LEASE).await?, BegunRequest::Begun { .. }));
    Ok(())
}

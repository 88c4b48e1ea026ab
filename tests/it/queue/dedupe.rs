//! The same upload twice, and more uploads than there is room for.

use std::sync::Arc;

use pixerve::clock::Timestamp;
use pixerve::job::{JobId, Owner, Priority};
use pixerve::queue::{CrashAttribution, Enqueued, QueueError, QueueSettings, RECORD_BYTES_MAX, Retry};

use super::fixture::{QueueFixture, TestResult, claim, claim_up_to, complete, enqueue, failure, owner, queued, record};

every_queue! {
    same_bytes_of_the_same_owner_answer_the_first_job,
    another_owner_is_no_duplicate,
    a_former_holder_of_a_users_name_is_another_owner,
    duplicate_is_accepted_once_the_first_has_ended,
    retried_job_still_counts_as_live,
    concurrent_duplicates_have_one_winner,
    enqueue_is_idempotent_by_id,
    depth_is_capped,
    depth_of_one_owner_is_capped,
    a_known_job_is_found_however_full_the_queue_is,
    owners_may_be_any_text,
    record_that_is_too_large_is_refused,
}

/// The same bytes of the same owner, uploaded again.
fn again(first: &pixerve::job::JobRecord) -> pixerve::job::JobRecord {
    pixerve::job::JobRecord { id: JobId::new(Timestamp::from_millis(1)), ..first.clone() }
}

async fn same_bytes_of_the_same_owner_answer_the_first_job(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let first = queued("a", 1);
    assert_eq!(queue.find_live(&first.hash, &first.owner).await?, None);
    enqueue(&queue, &first).await?;
    for _ in 0..2 {
        let Enqueued::Duplicate(job) = queue.enqueue(again(&first)).await? else { panic!("it was taken twice") };
        assert_eq!(job.record.id, first.id);
        let live = queue.find_live(&first.hash, &first.owner).await?;
        assert_eq!(live, Some(*job));
        // The second time it is processing.
        claim_up_to(&queue, 1).await?;
    }
    Ok(())
}

async fn another_owner_is_no_duplicate(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    enqueue(&queue, &queued("b", 1)).await?;
    let of_user = Owner { user: Some("shop".to_owned()), access_key: None, sub: "a".to_owned() };
    enqueue(&queue, &record(&of_user, 1, Priority::Queued)).await?;
    assert_eq!(queue.counts().await?.pending, 3);
    Ok(())
}

async fn a_former_holder_of_a_users_name_is_another_owner(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { owner_depth_max: 1, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let holder = |access_key: Option<&str>| {
        let (user, access_key) = (Some("shop".to_owned()), access_key.map(str::to_owned));
        Owner { user, access_key, sub: "a".to_owned() }
    };
    // The first as versions wrote it that kept no access key.
    let records = [None, Some("pxu_1"), Some("pxu_2")].map(|key| record(&holder(key), 1, Priority::Queued));
    for record in &records {
        assert_eq!(record.hash, records[0].hash);
        enqueue(&queue, record).await?;
    }
    for record in &records {
        let live = queue.find_live(&record.hash, &record.owner).await?;
        let newest = queue.newest_of(&record.hash, &record.owner).await?;
        assert_eq!([live, newest].map(|job| job.map(|job| job.record.id)), [Some(record.id), Some(record.id)]);
        assert!(matches!(queue.enqueue(again(record)).await?, Enqueued::Duplicate(job) if job.record.id == record.id));
    }
    let newest = queue.newest(&records[0].hash).await?;
    assert_eq!(newest.map(|job| job.record.id), Some(records[2].id));
    assert_eq!(queue.newest_of(&records[0].hash, &holder(Some("pxu_3"))).await?, None);
    Ok(())
}

async fn duplicate_is_accepted_once_the_first_has_ended(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let completed = queued("a", 1);
    enqueue(&queue, &completed).await?;
    complete(&queue, &claim(&queue).await?).await?;

    let failed = again(&completed);
    enqueue(&queue, &failed).await?;
    queue.settle(&claim(&queue).await?.lease, failure(Retry::Never)).await?;

    let cancelled = again(&completed);
    enqueue(&queue, &cancelled).await?;
    queue.cancel(&cancelled.id, Vec::new()).await?;
    assert_eq!(queue.find_live(&completed.hash, &completed.owner).await?, None);

    let last = again(&completed);
    enqueue(&queue, &last).await?;
    let newest = queue.newest(&completed.hash).await?.ok_or("the hash is unknown")?;
    assert_eq!(newest.record.id, last.id);
    Ok(())
}

async fn retried_job_still_counts_as_live(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let first = queued("a", 1);
    enqueue(&queue, &first).await?;
    let retry = Retry::After(super::fixture::SECOND);
    queue.settle(&claim(&queue).await?.lease, failure(retry)).await?;
    assert!(matches!(queue.enqueue(again(&first)).await?, Enqueued::Duplicate(_)));
    Ok(())
}

async fn concurrent_duplicates_have_one_winner(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let first = queued("a", 1);
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (queue, upload) = (Arc::clone(&queue), again(&first));
        uploads.spawn(async move { (upload.id, queue.enqueue(upload).await) });
    }
    let (mut winners, mut answered) = (Vec::new(), Vec::new());
    for (id, outcome) in uploads.join_all().await {
        match outcome? {
            Enqueued::Created => winners.push(id),
            Enqueued::Duplicate(job) => answered.push(job.record.id),
            Enqueued::Known => panic!("no id was used twice"),
            other @ (Enqueued::TokenUsed(_) | Enqueued::Repeated(_) | Enqueued::RetriedAlready(_)) => {
                panic!("it is none of these: {other:?}")
            }
        }
    }
    assert_eq!(winners.len(), 1);
    assert!(answered.len() == 31 && answered.iter().all(|id| *id == winners[0]));
    Ok(())
}

async fn enqueue_is_idempotent_by_id(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let only = queued("a", 1);
    enqueue(&queue, &only).await?;
    assert_eq!(queue.enqueue(only.clone()).await?, Enqueued::Known);
    let attempt = claim(&queue).await?;
    assert_eq!(queue.enqueue(only.clone()).await?, Enqueued::Known);
    complete(&queue, &attempt).await?;
    assert_eq!(queue.enqueue(only.clone()).await?, Enqueued::Known);
    let counts = queue.counts().await?;
    assert_eq!((counts.pending, counts.completed), (0, 1));
    Ok(())
}

async fn depth_is_capped(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { depth_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    enqueue(&queue, &queued("a", 1)).await?;
    enqueue(&queue, &queued("b", 2)).await?;
    let attempt = claim(&queue).await?;
    let refused = queue.enqueue(queued("c", 3)).await;
    assert!(matches!(refused, Err(QueueError::Full { depth: 2 })), "{refused:?}");
    complete(&queue, &attempt).await?;
    enqueue(&queue, &queued("c", 3)).await?;
    Ok(())
}

async fn depth_of_one_owner_is_capped(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { owner_depth_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let first = enqueue(&queue, &queued("a", 1)).await?;
    enqueue(&queue, &queued("a", 2)).await?;
    let refused = queue.enqueue(queued("a", 3)).await;
    assert!(matches!(refused, Err(QueueError::OwnerFull { depth: 2 })), "{refused:?}");
    enqueue(&queue, &queued("b", 3)).await?;
    queue.cancel(&first, Vec::new()).await?;
    enqueue(&queue, &queued("a", 3)).await?;
    Ok(())
}

async fn a_known_job_is_found_however_full_the_queue_is(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { depth_max: 1, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let only = queued("a", 1);
    enqueue(&queue, &only).await?;
    assert_eq!(queue.enqueue(only.clone()).await?, Enqueued::Known);
    assert!(matches!(queue.enqueue(again(&only)).await?, Enqueued::Duplicate(_)));
    Ok(())
}

async fn owners_may_be_any_text(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let subs = ["", "\0", "a\0b", "../..", "ä€😀", "a", "a_1", &"x".repeat(4096)];
    for sub in subs {
        enqueue(&queue, &queued(sub, 1)).await?;
    }
    for sub in subs {
        let live = queue.find_live(&queued(sub, 1).hash, &owner(sub)).await?.ok_or("it is unknown")?;
        assert_eq!(live.record.owner.sub, sub);
    }
    Ok(())
}

async fn record_that_is_too_large_is_refused(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let max = RECORD_BYTES_MAX;
    let mut large = queued("a", 1);
    large.job_data = "".into();
    let padding = max - serde_json::to_vec(&large)?.len();
    large.job_data = "x".repeat(padding).into();
    enqueue(&queue, &large).await?;
    assert_eq!(queue.get(&large.id).await?.ok_or("it is unknown")?.record, large);

    let mut larger = queued("a", 2);
    larger.job_data = "x".repeat(padding + 1).into();
    let refused = queue.enqueue(larger).await;
    assert!(matches!(refused, Err(QueueError::TooLarge { bytes, .. }) if bytes == max + 1), "{refused:?}");
    Ok(())
}

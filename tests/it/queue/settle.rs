//! How attempts end.

use std::error::Error;
use std::time::Duration;

use pixerve::job::{ContentHash, ErrorCode, JobError, Placeholder, State, Stored, StoredFile, Warnings};
use pixerve::queue::{ClaimRequest, CrashAttribution, Place, QueueSettings, Retry, Settled, Settlement};

use super::fixture::{
    Queue, QueueFixture, SECOND, TestResult, broken_disk, claim, claim_order, crash, enqueue, enqueue_all, failure,
    queued,
};

every_queue! {
    completed_job_lists_its_files,
    changes_are_counted_and_told_across_attempts,
    retry_delay_is_recorded,
    exhausted_retries_fail_with_the_last_error,
    failure_that_is_final_is_not_retried,
    failed_job_lists_what_was_stored_all_the_same,
    attempt_that_stored_nothing_keeps_what_an_earlier_one_stored,
    files_can_be_named_after_a_failure_but_not_otherwise,
    crashes_make_poison,
    crash_on_the_last_attempt_fails_the_job,
    release_refunds_the_attempt_and_keeps_the_place,
    shut_down_queue_refuses_calls,
}

pub(crate) fn file(name: &str) -> StoredFile {
    StoredFile {
        name: name.to_owned(),
        format: "jpg".to_owned(),
        width: 2,
        height: 1,
        bytes: 3,
        sha256: ContentHash::of(name.as_bytes()),
        warnings: Warnings::new(),
        same_as: None,
        stored: vec![Stored::at("directHost", format!("/files/{name}"))],
    }
}

async fn completed_job_lists_its_files(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let record = queued("a", 1);
    let id = enqueue(&queue, &record).await?;
    let held = claim(&queue).await?;
    let files = vec![file("one.jpg"), file("two.jpg")];
    let placeholder = Some(Placeholder::new(&[7; 21], [1, 2, 3]));
    let completed = Settlement::Completed { files: files.clone(), placeholder: placeholder.clone() };
    assert_eq!(queue.settle(&held.lease, completed).await?, Settled::Applied(State::Completed));
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.files, job.placeholder, job.error), (State::Completed, files, placeholder, None));
    assert_eq!(queue.newest(&record.hash).await?.map(|job| job.record), Some(record));
    Ok(())
}

async fn changes_are_counted_and_told_across_attempts(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let changes = async |queue: &Queue| Ok::<_, Box<dyn Error>>(queue.get(&id).await?.ok_or("it is unknown")?.changes);
    let mut watch = queue.events().watch(id);
    assert_eq!(changes(&queue).await?, 1);

    let held = claim(&queue).await?;
    watch.changed().await;
    assert_eq!(changes(&queue).await?, 2);
    for _ in 0..3 {
        queue.events().changed(id);
    }
    watch.changed().await;
    let retry = Settlement::Failed { error: broken_disk(), files: Vec::new(), retry: Retry::After(Duration::ZERO) };
    queue.settle(&held.lease, retry).await?;
    watch.changed().await;
    assert_eq!((changes(&queue).await?, queue.events().unrecorded(id)), (6, 0), "those in between are counted too");
    Ok(())
}

async fn retry_delay_is_recorded(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    let settled = queue
        .settle(
            &held.lease,
            Settlement::Failed { error: broken_disk(), files: vec![file("one.jpg")], retry: Retry::After(5 * SECOND) },
        )
        .await?;
    assert_eq!(settled, Settled::Applied(State::Pending));
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.not_before), (State::Pending, Some(fixture.now().after(5 * SECOND))));
    assert_eq!((job.error, job.files.len()), (Some(broken_disk()), 1));
    Ok(())
}

async fn exhausted_retries_fail_with_the_last_error(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { attempts_max: 3, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    for attempt in 1..=3 {
        let held = claim(&queue).await?;
        let error = JobError::new(ErrorCode::StoreUnreachable, format!("attempt {attempt}"));
        let settled = queue
            .settle(&held.lease, Settlement::Failed { error, files: Vec::new(), retry: Retry::After(SECOND) })
            .await?;
        let expected = if attempt < 3 { State::Pending } else { State::Failed };
        assert_eq!(settled, Settled::Applied(expected));
        fixture.clock.advance(SECOND);
    }
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.state, job.attempts), (State::Failed, 3));
    assert_eq!(job.error.ok_or("it doesn't say why")?.detail, "attempt 3");
    assert_eq!(claim_order(&queue).await?, []);
    Ok(())
}

async fn failure_that_is_final_is_not_retried(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    let settled = queue.settle(&held.lease, failure(Retry::Never)).await?;
    assert_eq!(settled, Settled::Applied(State::Failed));
    fixture.clock.advance(3600 * SECOND);
    assert_eq!(claim_order(&queue).await?, []);
    Ok(())
}

async fn failed_job_lists_what_was_stored_all_the_same(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    queue
        .settle(
            &held.lease,
            Settlement::Failed { error: broken_disk(), files: vec![file("one.jpg")], retry: Retry::Never },
        )
        .await?;
    let job = queue.get(&id).await?.ok_or("it is unknown")?;
    assert_eq!((job.files, job.error), (vec![file("one.jpg")], Some(broken_disk())));
    Ok(())
}

async fn attempt_that_stored_nothing_keeps_what_an_earlier_one_stored(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    let held = claim(&queue).await?;
    queue
        .settle(
            &held.lease,
            Settlement::Failed { error: broken_disk(), files: vec![file("one.jpg")], retry: Retry::After(SECOND) },
        )
        .await?;
    fixture.clock.advance(SECOND);
    let held = claim(&queue).await?;
    queue.settle(&held.lease, failure(Retry::Never)).await?;
    assert_eq!(queue.get(&id).await?.ok_or("it is unknown")?.files, [file("one.jpg")]);
    Ok(())
}

async fn files_can_be_named_after_a_failure_but_not_otherwise(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2), queued("a", 3)]).await?;
    let held = claim(&queue).await?;
    queue.settle(&held.lease, failure(Retry::Never)).await?;
    let held = claim(&queue).await?;
    queue.settle(&held.lease, Settlement::Completed { files: vec![file("two.jpg")], placeholder: None }).await?;
    for id in &ids {
        queue.record_files(id, vec![file("named.jpg")]).await?;
    }
    for (id, state, files) in [
        (ids[0], State::Failed, vec![file("named.jpg")]),
        (ids[1], State::Completed, vec![file("two.jpg")]),
        (ids[2], State::Pending, Vec::new()),
    ] {
        let job = queue.get(&id).await?.ok_or("it is unknown")?;
        assert_eq!((job.state, job.files), (state, files));
    }
    Ok(())
}

async fn crashes_make_poison(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2)]).await?;
    let signal = JobError::new(ErrorCode::Crashed, "the child was killed by signal 11");
    for crash in 1..=3 {
        let held = claim(&queue).await?;
        assert_eq!((held.job.record.id, held.job.crashes), (ids[0], crash - 1));
        let expected = if crash < 3 { State::Pending } else { State::Failed };
        assert_eq!(
            queue.settle(&held.lease, Settlement::Crashed { error: signal.clone(), files: Vec::new() }).await?,
            Settled::Applied(expected)
        );
    }
    let error = queue.get(&ids[0]).await?.and_then(|job| job.error).ok_or("it doesn't say why")?;
    assert_eq!(error.code, "poison");
    assert!(error.detail.contains("3 times") && error.detail.contains("signal 11"), "{}", error.detail);
    assert_eq!(claim_order(&queue).await?, [ids[1]], "the others go on");
    Ok(())
}

async fn crash_on_the_last_attempt_fails_the_job(fixture: QueueFixture) -> TestResult {
    let settings = QueueSettings { attempts_max: 2, ..QueueSettings::default() };
    let queue = fixture.open_with(settings, CrashAttribution::NoJob)?;
    enqueue(&queue, &queued("a", 1)).await?;
    for expected in [State::Pending, State::Failed] {
        let held = claim(&queue).await?;
        assert_eq!(queue.settle(&held.lease, crash()).await?, Settled::Applied(expected));
    }
    Ok(())
}

async fn release_refunds_the_attempt_and_keeps_the_place(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let ids = enqueue_all(&queue, &[queued("a", 1), queued("a", 2)]).await?;
    let held = claim(&queue).await?;
    assert_eq!(queue.settle(&held.lease, Settlement::Released).await?, Settled::Applied(State::Pending));
    let job = queue.get(&ids[0]).await?.ok_or("it is unknown")?;
    assert_eq!((job.attempts, job.started_at), (0, None));
    assert_eq!(claim_order(&queue).await?, ids);
    Ok(())
}

async fn shut_down_queue_refuses_calls(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let id = enqueue(&queue, &queued("a", 1)).await?;
    queue.shutdown().await?;
    queue.shutdown().await?;
    assert!(queue.enqueue(queued("a", 2)).await.is_err());
    assert!(
        queue.claim(ClaimRequest { max: 1, place: Place::Regular, memory: u64::MAX, lease: SECOND }).await.is_err()
    );
    assert!(queue.get(&id).await.is_err());
    assert!(queue.counts().await.is_err());
    Ok(())
}

//! The caller's own names of jobs.

use pixerve::job::{JobRecord, JobRef};

use super::fixture::{
    Queue, QueueFixture, SECOND, TestResult, claim, complete, enqueue, owner, purge, queued, realtime,
};

every_queue! {
    a_ref_means_the_owners_newest_job_of_that_ref_live_or_ended,
    a_ref_is_known_as_long_as_a_record_of_it_is,
}

fn called(reference: &str, record: JobRecord) -> JobRecord {
    JobRecord { reference: JobRef::parse(reference), ..record }
}

async fn newest(queue: &Queue, sub: &str, reference: &str) -> Result<Option<JobRecord>, Box<dyn std::error::Error>> {
    let reference = JobRef::parse(reference).ok_or("a ref")?;
    Ok(queue.newest_of_reference(&owner(sub), &reference).await?.map(|job| job.record))
}

async fn a_ref_means_the_owners_newest_job_of_that_ref_live_or_ended(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let records = [
        called("order-42", queued("a", 1)),
        called("order-42", realtime("a", 2)),
        called("order-4", queued("a", 3)),
        called("order-42", queued("b", 4)),
        queued("a", 5),
    ];
    for record in &records {
        enqueue(&queue, record).await?;
    }
    for (sub, reference, nth) in [("a", "order-42", 1), ("a", "order-4", 2), ("b", "order-42", 3)] {
        assert_eq!(newest(&queue, sub, reference).await?.as_ref(), Some(&records[nth]), "{sub} {reference}");
    }
    for (sub, reference) in [("b", "order-4"), ("a", "order-422"), ("c", "order-42")] {
        assert_eq!(newest(&queue, sub, reference).await?, None, "{sub} {reference}");
    }
    // The realtime one, which is the newest, goes first.
    complete(&queue, &claim(&queue).await?).await?;
    assert_eq!(newest(&queue, "a", "order-42").await?.as_ref(), Some(&records[1]));
    Ok(())
}

async fn a_ref_is_known_as_long_as_a_record_of_it_is(fixture: QueueFixture) -> TestResult {
    let queue = fixture.open()?;
    let (older, newer) = (called("order-42", realtime("a", 1)), called("order-42", queued("a", 2)));
    for record in [&older, &newer] {
        enqueue(&queue, record).await?;
    }
    queue.cancel(&newer.id, Vec::new()).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
    assert_eq!(newest(&queue, "a", "order-42").await?, Some(older.clone()), "the newest that there still is");
    complete(&queue, &claim(&queue).await?).await?;
    fixture.clock.advance(SECOND);
    assert_eq!(purge(&queue, fixture.now(), 10).await?, 1);
    assert_eq!(newest(&queue, "a", "order-42").await?, None);
    Ok(())
}

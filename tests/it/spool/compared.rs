//! The comparison of a spool in a bucket with the queue.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pixerve::clock::{Clock, Manual, SharedClock};
use pixerve::job::{ErrorCode, Idempotency, JobError, JobId, JobRecord, State};
use pixerve::queue::{
    BegunRequest, ClaimRequest, CrashAttribution, Enqueued, JobQueue, MemoryQueue, Place, QueueSettings, Retry,
    Settlement,
};
use pixerve::worker::{KeptFor, ReconcileScope, SpoolReconciler, remove_kept_originals};

use super::fixture::{
    ACCEPTED, KEEP_AFTER_END, Opened, SpoolFixture, TestResult, accept, idempotency, lists, new_id, record,
};
use crate::harness::spool::entries;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_mins(1);

/// A spool in a bucket, and a queue that knows nothing yet.
struct Compared {
    fixture: SpoolFixture,
    clock: Arc<Manual>,
    spool: Opened,
    queue: Arc<dyn JobQueue>,
    reconciler: SpoolReconciler,
}

impl Compared {
    async fn start() -> Result<Self, Box<dyn Error>> {
        let fixture = SpoolFixture::bucket().await?;
        let clock = Arc::new(Manual::at(ACCEPTED));
        let shared: SharedClock = clock.clone();
        let settings = QueueSettings::default();
        let queue: Arc<dyn JobQueue> =
            Arc::new(MemoryQueue::open(settings, Arc::clone(&shared), CrashAttribution::NoJob)?);
        let spool = fixture.open()?;
        let reconciler = SpoolReconciler::new(Arc::clone(&spool), Arc::clone(&queue), shared);
        Ok(Self { fixture, clock, spool, queue, reconciler })
    }

    /// Compares; which scope is told doesn't count, since the bucket has a clock.
    async fn compare(&self) -> TestResult {
        Ok(self.reconciler.reconcile(ReconcileScope::AtStart).await?)
    }

    /// An upload that has been in the bucket for a while, by the bucket's clock.
    async fn accept_old(&self, bytes: &[u8]) -> Result<JobRecord, Box<dyn Error>> {
        let record = accept(&*self.spool, bytes).await?;
        self.age("spool", record.id, 11 * SECOND);
        Ok(record)
    }

    fn age(&self, below: &str, id: JobId, by: Duration) {
        let id = id.to_string();
        let key = format!("px/test/{below}/{}/{id}", &id[id.len() - 2..]);
        self.fixture.shared.as_ref().expect("it is in a bucket").server.age("pixerve", &key, by);
    }

    async fn state(&self, id: JobId) -> Result<Option<State>, Box<dyn Error>> {
        Ok(self.queue.get(&id).await?.map(|job| job.state))
    }

    /// Ends the job that is claimed next.
    async fn end_next(&self, settlement: Settlement) -> Result<JobId, Box<dyn Error>> {
        let request = ClaimRequest { max: 1, place: Place::Regular, memory: u64::MAX, lease: LEASE };
        let claim = self.queue.claim(request).await?.claims.pop().ok_or("nothing to claim")?;
        self.queue.settle(&claim.lease, settlement).await?;
        Ok(claim.job.record.id)
    }
}

fn failed() -> Settlement {
    let error = JobError::new(ErrorCode::StoreRefused, "it answered 403");
    Settlement::Failed { error, files: Vec::new(), retry: Retry::Never }
}

#[tokio::test]
async fn an_upload_that_the_queue_does_not_know_is_queued_once_it_is_old_by_the_buckets_clock() -> TestResult {
    let compared = Compared::start().await?;
    let young = accept(&*compared.spool, b"young").await?;
    // However wrong this machine's clock is.
    compared.clock.advance(Duration::from_hours(1));
    compared.compare().await?;
    assert_eq!(compared.state(young.id).await?, None);
    compared.age("spool", young.id, 11 * SECOND);
    compared.compare().await?;
    // What its request is answered with is the queue's to keep, which does so in the step that takes the job in.
    let Idempotency { key, answer } = idempotency(young.id);
    let queued = JobRecord { idempotency: Some(Idempotency { key, answer: None }), ..young.clone() };
    assert_eq!(compared.queue.get(&young.id).await?.map(|job| job.record), Some(queued));
    let answer = answer.ok_or("an answer")?;
    assert_eq!(compared.queue.begin_request(key, LEASE).await?, BegunRequest::Answered(answer));
    Ok(())
}

#[tokio::test]
async fn an_upload_that_was_sent_again_and_answered_then_leaves_the_spool() -> TestResult {
    let compared = Compared::start().await?;
    let unanswered = compared.accept_old(b"one").await?;
    let again = JobRecord { idempotency: unanswered.idempotency.clone(), ..record(new_id(), b"one") };
    assert_eq!(compared.queue.enqueue(again.clone()).await?, Enqueued::Created);
    compared.compare().await?;
    assert_eq!((compared.state(unanswered.id).await?, compared.state(again.id).await?), (None, Some(State::Pending)));
    assert!(!lists(&*compared.spool, unanswered.id).await?, "it is no job, and won't become one");
    Ok(())
}

#[tokio::test]
async fn a_damaged_upload_is_left_and_the_others_are_queued() -> TestResult {
    let compared = Compared::start().await?;
    let (one, damaged, two) = (
        compared.accept_old(b"one").await?,
        compared.accept_old(b"damaged").await?,
        compared.accept_old(b"two").await?,
    );
    let id = damaged.id.to_string();
    let key = format!("spool/{}/{id}", &id[id.len() - 2..]);
    let bucket = compared.fixture.shared.as_ref().expect("it is in a bucket").bucket();
    bucket.put(&key, "no upload".into()).await?;
    compared.age("spool", damaged.id, 11 * SECOND);
    compared.compare().await?;
    compared.compare().await?;
    assert_eq!(compared.state(damaged.id).await?, None);
    for record in [one, two] {
        assert_eq!(compared.state(record.id).await?, Some(State::Pending));
    }
    assert_eq!(bucket.get(&key, 100).await?, "no upload");
    Ok(())
}

#[tokio::test]
async fn a_queue_that_forgot_an_end_within_the_wait_does_the_job_again() -> TestResult {
    let compared = Compared::start().await?;
    let completed = compared.accept_old(b"one").await?.id;
    compared.compare().await?;
    assert_eq!(compared.end_next(Settlement::Completed { files: Vec::new(), placeholder: None }).await?, completed);
    compared.spool.job_ended(completed, State::Completed).await?;
    compared.clock.advance(KEEP_AFTER_END.saturating_sub(SECOND));
    compared.compare().await?;
    assert!(lists(&*compared.spool, completed).await?, "not yet");

    // As after a failover.
    let clock: SharedClock = compared.clock.clone();
    let emptied: Arc<dyn JobQueue> =
        Arc::new(MemoryQueue::open(QueueSettings::default(), Arc::clone(&clock), CrashAttribution::NoJob)?);
    let reconciler = SpoolReconciler::new(Arc::clone(&compared.spool), Arc::clone(&emptied), clock);
    reconciler.reconcile(ReconcileScope::AtStart).await?;
    assert_eq!(emptied.get(&completed).await?.map(|job| job.state), Some(State::Pending));

    compared.clock.advance(SECOND);
    compared.compare().await?;
    assert!(!lists(&*compared.spool, completed).await?, "nothing needs it any more");
    Ok(())
}

#[tokio::test]
async fn an_original_of_a_failed_job_is_kept_for_so_long_after_its_end() -> TestResult {
    let compared = Compared::start().await?;
    let id = compared.accept_old(b"one").await?.id;
    compared.compare().await?;
    assert_eq!(compared.end_next(failed()).await?, id);
    compared.clock.advance(KEEP_AFTER_END);
    compared.compare().await?;
    assert!(entries(&*compared.spool).await?.is_empty(), "the comparison finds nothing to queue");
    let kept = async || compared.spool.kept(None).await.map(|page| page.uploads.len());
    let kept_for = KeptFor { after_end: KEEP_AFTER_END + LEASE, without_record: LEASE };
    let remove = async || {
        let now = compared.clock.now();
        remove_kept_originals(&*compared.spool, &*compared.queue, kept_for, now).await
    };

    compared.age("kept", id, 2 * kept_for.after_end);
    assert_eq!((remove().await?, kept().await?), (0, 1), "its end says how long, and no clock of the bucket");
    compared.clock.advance(LEASE);
    assert_eq!((remove().await?, kept().await?), (1, 0));

    // Of these the queue knows nothing any more.
    let (old, young) = (accept(&*compared.spool, b"two").await?.id, accept(&*compared.spool, b"three").await?.id);
    for id in [old, young] {
        compared.spool.job_ended(id, State::Cancelled).await?;
    }
    compared.age("kept", old, 2 * LEASE);
    assert_eq!((remove().await?, kept().await?), (1, 1), "one that is young may have lost its record otherwise");
    Ok(())
}

#[tokio::test]
async fn a_live_job_whose_original_has_left_is_forgotten_unless_the_bucket_can_not_be_asked() -> TestResult {
    let mut compared = Compared::start().await?;
    let (there, gone) = (compared.accept_old(b"one").await?.id, compared.accept_old(b"two").await?.id);
    compared.compare().await?;
    compared.spool.remove(gone).await?;
    compared.reconciler.drop_jobs_missing_from_spool().await?;
    assert_eq!((compared.state(there).await?, compared.state(gone).await?), (Some(State::Pending), None));

    compared.fixture.shared.take().expect("it is in a bucket").server.stop().await;
    compared.reconciler.drop_jobs_missing_from_spool().await.expect_err("the bucket is away");
    assert_eq!(compared.state(there).await?, Some(State::Pending));
    Ok(())
}

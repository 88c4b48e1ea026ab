//! Jobs whose originals are in the bucket, from claim to settlement.

use std::error::Error;
use std::sync::Arc;

use pixerve::active_jobs::ActiveJobs;
use pixerve::clock::{ClockTrust, SharedClock, System};
use pixerve::disks::DiskHealth;
use pixerve::encoder::Registry;
use pixerve::events::JobEvents;
use pixerve::job::{Format, JobId, JobRecord, State};
use pixerve::ledger::{ErasureSignals, SqliteLedger};
use pixerve::pipeline::{Engine, MemoryLimit, PixelLimits};
use pixerve::queue::{CrashAttribution, Job, MemoryQueue, QueueSettings};
use pixerve::register::{Register, Sealer};
use pixerve::worker::{
    DirectStore, MemoryBudget, Pool, Renderer, Shortage, StoreClients, WorkerContext, WorkerMetrics, WorkerSettings,
};
use pixerve::writer::{DirectServe, StoreSettings};
use tokio::time::Instant;

use super::fixture::shared::scratch;
use super::fixture::{SpoolFixture, TestResult, lists, new_id, receive, record};
use crate::harness::app::{WAIT_MAX, files_below, poll_delay};
use crate::harness::picture::jpeg;
use crate::pixels::picture::variant;

/// What a node works with.
fn node(fixture: &SpoolFixture) -> Result<WorkerContext, Box<dyn Error>> {
    let dir = fixture.dir.path();
    let clock: SharedClock = Arc::new(System::new());
    let queue = MemoryQueue::open(QueueSettings::default(), Arc::clone(&clock), CrashAttribution::NoJob)?;
    let register = Register::open(dir, Arc::new(Sealer::open(&dir.join("vault.key"))?), Arc::clone(&clock))?.register;
    let pixels = PixelLimits::default();
    let engine = Engine::new(1, pixels, Registry::built_in())?;
    let direct = DirectServe::open(&dir.join("serve"), "node")?;
    Ok(WorkerContext {
        queue: Arc::new(queue),
        spool: fixture.open()?,
        disks: DiskHealth::always_good(),
        ledger: Arc::new(SqliteLedger::in_memory()?),
        erasures: ErasureSignals::default(),
        active_jobs: ActiveJobs::new(JobEvents::default()),
        renderer: Renderer::InProcess(Arc::new(engine), Arc::clone(&clock)),
        stores: StoreClients::new(
            DirectStore::directory(direct),
            Arc::new(register),
            StoreSettings::default(),
            Arc::clone(&clock),
        ),
        memory_limit: MemoryLimit { bytes_max: 1 << 30, threads: 1, pixels },
        memory: MemoryBudget::new(1 << 30),
        shortage: Shortage::default(),
        metrics: WorkerMetrics::default(),
        clock_trust: ClockTrust::new(Arc::clone(&clock), None),
        clock,
        settings: WorkerSettings { max_workers: 1, ..WorkerSettings::default() },
    })
}

/// A job of a variant and the original, accepted and queued.
async fn queue_job(node: &WorkerContext, seed: u32) -> Result<JobRecord, Box<dyn Error>> {
    let (id, bytes) = (new_id(), jpeg(20, 10, seed));
    let mut record = record(id, &bytes);
    (record.original.width, record.original.height) = (20, 10);
    record.spec.variants = vec![variant(Format::Jpeg, 10, 0)];
    receive(&*node.spool, id, &bytes).await?.accept(&record).await?;
    node.queue.enqueue(record.clone()).await?;
    Ok(record)
}

async fn until(node: &WorkerContext, id: JobId, is_so: impl Fn(Option<&Job>) -> bool) -> TestResult {
    let started = Instant::now();
    loop {
        let job = node.queue.get(&id).await?;
        if is_so(job.as_ref()) {
            return Ok(());
        }
        assert!(started.elapsed() < WAIT_MAX, "waited too long: {job:?}");
        poll_delay().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_made_of_what_was_fetched_and_leaves_nothing_on_the_node() -> TestResult {
    let fixture = SpoolFixture::bucket().await?;
    let node = Arc::new(node(&fixture)?);
    let before = files_below(&scratch(fixture.dir.path()));
    let record = queue_job(&node, 1).await?;
    let pool = Pool::new(Arc::clone(&node)).start();
    until(&node, record.id, |job| job.is_some_and(|job| job.state.is_terminal())).await?;
    pool.drain(WAIT_MAX).await;
    let job = node.queue.get(&record.id).await?.ok_or("it is known")?;
    assert_eq!((job.state, job.attempts), (State::Completed, 1), "{job:?}");
    assert_eq!(job.files.len(), 2, "{job:?}");
    assert_eq!(files_below(&fixture.dir.path().join("serve")).len(), 2);
    while files_below(&scratch(fixture.dir.path())) != before {
        poll_delay().await;
    }
    assert!(lists(&*node.spool, record.id).await?, "a queue that forgets the end finds it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_job_whose_original_has_left_is_forgotten_and_not_failed() -> TestResult {
    let fixture = SpoolFixture::bucket().await?;
    let node = Arc::new(node(&fixture)?);
    let had_ended = queue_job(&node, 1).await?;
    node.spool.job_ended(had_ended.id, State::Cancelled).await?;
    let other = queue_job(&node, 2).await?;
    let pool = Pool::new(Arc::clone(&node)).start();
    until(&node, other.id, |job| job.is_some_and(|job| job.state == State::Completed)).await?;
    until(&node, had_ended.id, |job| job.is_none()).await?;
    pool.drain(WAIT_MAX).await;
    assert_eq!(node.queue.get(&had_ended.id).await?, None);
    Ok(())
}

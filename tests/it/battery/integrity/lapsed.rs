//! An attempt that loses its lease goes on until it notices. What it stores meanwhile is on record all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pixerve::active_jobs::ActiveJobs;
use pixerve::clock::{ClockTrust, Manual, SharedClock, Timestamp};
use pixerve::disks::DiskHealth;
use pixerve::encoder::Registry;
use pixerve::events::JobEvents;
use pixerve::job::{CallbackEvents, CallbackTarget, Format, JobId, JobRecord, Priority, State, Stored};
use pixerve::ledger::{ErasureSignals, SqliteLedger};
use pixerve::pipeline::{Engine, MemoryLimit, PixelLimits};
use pixerve::queue::{CrashAttribution, Job, JobIntake, MemoryQueue, QueueSettings};
use pixerve::register::{Register, Sealer};
use pixerve::spool::{DirectorySpool, Spool};
use pixerve::worker::{
    DirectStore, LeaseReaper, MemoryBudget, Pool, Renderer, Shortage, StoreClients, WorkerContext, WorkerMetrics,
    WorkerSettings,
};
use pixerve::writer::{
    Deletion, FileList, FoundFile, Object, ObjectBytes, ProbeOutcome, StoreSettings, StoreTimeouts, WriteError,
    WriteErrorKind, WriterBackend,
};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::battery::figure;
use crate::harness::app::{WAIT_MAX, poll_delay};
use crate::harness::picture::jpeg;
use crate::harness::record::{job_record, owner};
use crate::pixels::picture::variant;

const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);
/// By the clock that stands still.
const LEASE: Duration = Duration::from_secs(1);

/// A store that takes its time for the first file it is given, and refuses any other.
struct FirstOnly {
    asked: AtomicUsize,
    stored: AtomicUsize,
    /// Fires when it has been told to stop.
    told: CancellationToken,
    gate: CancellationToken,
}

#[async_trait]
impl WriterBackend for FirstOnly {
    fn name(&self) -> &'static str {
        "directHost"
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) > 0 {
            return Err(WriteError { what: "put it".into(), detail: "no more".into(), kind: WriteErrorKind::Invalid });
        }
        self.gate.cancelled().await;
        self.stored.fetch_add(1, Ordering::SeqCst);
        Ok(Stored::at(self.name(), format!("/files/{}", object.name)))
    }

    /// Once begun it is seen through, as the write of a file is.
    async fn put_until(&self, object: &Object, stop: &CancellationToken) -> Result<Stored, WriteError> {
        let mut put = self.put(object);
        tokio::select! {
            stored = &mut put => return stored,
            () = stop.cancelled() => self.told.cancel(),
        }
        put.await
    }

    async fn delete(&self, _: &str) -> Result<Deletion, WriteError> {
        panic!("nothing is to be deleted");
    }

    async fn get(&self, _: &str, _: u64) -> Result<ObjectBytes, WriteError> {
        panic!("nothing is to be read");
    }

    async fn list(&self) -> Result<FileList, WriteError> {
        panic!("nothing is to be listed");
    }

    async fn look(&self, _: &str) -> Result<Option<FoundFile>, WriteError> {
        panic!("nothing is to be looked at");
    }

    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        Ok(ProbeOutcome::Deleted)
    }
}

/// Workers on a clock that stands still, and one job whose first attempt is in the middle of its write.
struct LapsedLeaseFixture {
    context: Arc<WorkerContext>,
    clock: Arc<Manual>,
    store: Arc<FirstOnly>,
    id: JobId,
    _dirs: TempDir,
}

impl LapsedLeaseFixture {
    async fn start(attempts_max: u32) -> Self {
        let dirs = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(Manual::at(START));
        let shared: SharedClock = clock.clone();
        let settings = QueueSettings { attempts_max, ..QueueSettings::default() };
        let queue = MemoryQueue::open(settings, Arc::clone(&shared), CrashAttribution::NoJob).expect("a queue");
        let spool = DirectorySpool::open(dirs.path()).expect("a spool");
        let sealer = Arc::new(Sealer::open(&dirs.path().join("vault.key")).expect("sealing keys"));
        let register = Register::open(dirs.path(), sealer, Arc::clone(&shared)).expect("a register").register;
        let (asked, stored) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let store =
            Arc::new(FirstOnly { asked, stored, told: CancellationToken::new(), gate: CancellationToken::new() });
        let direct: Arc<dyn WriterBackend> = store.clone();
        let timeouts = StoreTimeouts { connect_timeout: WAIT_MAX, idle_timeout: WAIT_MAX };
        let pixels = PixelLimits::default();
        let engine = Engine::new(1, pixels, Registry::built_in()).expect("threads");
        let record = accepted(&spool).await;
        queue.enqueue(record.clone()).await.expect("room");
        let context = WorkerContext {
            disks: DiskHealth::always_good(),
            queue: Arc::new(queue),
            spool: Arc::new(spool),
            ledger: Arc::new(SqliteLedger::in_memory().expect("a ledger")),
            erasures: ErasureSignals::default(),
            active_jobs: ActiveJobs::new(JobEvents::default()),
            renderer: Renderer::InProcess(Arc::new(engine), Arc::clone(&shared)),
            stores: StoreClients::new(
                DirectStore::directory(direct),
                Arc::new(register),
                StoreSettings { timeouts, ..StoreSettings::default() },
                Arc::clone(&shared),
            ),
            memory_limit: MemoryLimit { bytes_max: 1 << 30, threads: 1, pixels },
            memory: MemoryBudget::new(1 << 30),
            shortage: Shortage::default(),
            metrics: WorkerMetrics::default(),
            clock_trust: ClockTrust::new(Arc::clone(&shared), None),
            clock: shared,
            settings: WorkerSettings {
                max_workers: 2,
                lease: LEASE,
                // As for a worker that was suspended: it has yet to ask.
                lease_renew: Duration::from_hours(1),
                ..WorkerSettings::default()
            },
        };
        Self { context: Arc::new(context), clock, store, id: record.id, _dirs: dirs }
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn(&Job) -> bool) -> Job {
        let started = Instant::now();
        loop {
            let job = self.context.queue.get(&self.id).await.expect("a queue").expect("it is known");
            if is_so(&job).await {
                return job;
            }
            assert!(started.elapsed() < WAIT_MAX, "waited too long for {what}: {job:?}");
            poll_delay().await;
        }
    }

    /// The store has what the record says that it has, once, and nothing else.
    fn assert_on_record(&self, job: &Job) {
        assert_eq!(self.store.stored.load(Ordering::SeqCst), 1);
        let names: Vec<_> = job.files.iter().map(|file| file.name.clone()).collect();
        assert_eq!(names, job.record.expected_files(), "{job:?}");
    }
}

/// A job of one variant, in the spool as an upload leaves it. It goes into the directory while it is being made.
async fn accepted(spool: &DirectorySpool) -> JobRecord {
    let id = JobId::new(START);
    let mut upload = spool.receive(id).await.expect("room");
    upload.write(jpeg(20, 10, 1).into()).await.expect("written");
    let received = upload.finish().await.expect("finished");
    let mut record = job_record(id, owner("me"), (received.sha256, received.bytes), START);
    record.spec.priority = Priority::Realtime;
    record.spec.keep_original = false;
    record.spec.variants = vec![variant(Format::Jpeg, 10, 0)];
    record.job_data = serde_json::json!({ "directHost": true, "formats": { "jpg": { "sizes": [[10, 0]] } } });
    record.callback = Some(CallbackTarget {
        url: "https://app.example/hook".parse().expect("a URL"),
        sealed_url: None,
        sealed_headers: None,
        events: CallbackEvents::default(),
    });
    received.accept(&record).await.expect("accepted");
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_stores_after_its_lease_lapsed_is_not_stored_again_but_on_record() {
    let fixture = LapsedLeaseFixture::start(5).await;
    let pool = Pool::new(Arc::clone(&fixture.context)).start();
    fixture.until("the first write", async |_| fixture.store.asked.load(Ordering::SeqCst) == 1).await;
    fixture.clock.advance(LEASE);
    let reaped = fixture.context.queue.reap(&fixture.id, Vec::new()).await.expect("a queue");
    assert_eq!(reaped, Some(State::Pending));
    fixture.until("the second attempt", async |job| job.attempts == 2).await;
    fixture.store.gate.cancel();
    let job = fixture.until("the end", async |job| job.state.is_terminal()).await;
    assert_eq!((job.state, job.attempts), (State::Completed, 2), "{job:?}");
    pool.drain(WAIT_MAX).await;
    fixture.assert_on_record(&job);
    assert_eq!(fixture.store.asked.load(Ordering::SeqCst), 1, "it was written once");
    figure(
        "integrity",
        "a lease that lapsed in the middle of a write: written once, and on the second attempt's record",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_attempt_stores_after_its_lease_lapsed_is_on_record_before_anybody_is_told() {
    let fixture = LapsedLeaseFixture::start(1).await;
    let pool = Pool::new(Arc::clone(&fixture.context)).start();
    fixture.until("the first write", async |_| fixture.store.asked.load(Ordering::SeqCst) == 1).await;
    fixture.clock.advance(LEASE);
    let stop = CancellationToken::new();
    let reaper = tokio::spawn(LeaseReaper::new(Arc::clone(&fixture.context)).run(stop.clone()));
    fixture.store.told.cancelled().await;
    fixture.store.gate.cancel();
    let failed = fixture.until("the failure", async |job| job.state == State::Failed).await;
    fixture.assert_on_record(&failed);
    let told = fixture.context.queue.due_deliveries(1, LEASE).await.expect("a queue");
    let told = told.first().expect("a delivery").id;
    let content = fixture.context.queue.delivery_content(&told).await.expect("a queue");
    assert_eq!(content.map(|content| content.job), Some(failed));
    fixture
        .until("it to leave the spool", async |_| !fixture.context.spool.holds(fixture.id).await.expect("a spool"))
        .await;
    stop.cancel();
    reaper.await.expect("it ends well");
    pool.drain(WAIT_MAX).await;
    figure(
        "integrity",
        "a last attempt's lease that lapsed in the middle of a write: failed, and the file on its record when the callback is due",
    );
}

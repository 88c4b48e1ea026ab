//! What becomes of a queue whose disk is full for a while.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::WriterThread;
use super::store::StoreOpener;
use crate::clock::{Manual, Timestamp};
use crate::job::State;
use crate::job::job_record as record;
use crate::queue::local::memory::MemoryRecords;
use crate::queue::local::store::{Batch, RecordStore, RecordStoreError, ScanOrder, Table, TableEntry};
use crate::queue::local::{Driver, LocalQueue};
use crate::queue::{
    Claim, ClaimRequest, CrashAttribution, Enqueued, JobIntake, JobRecords, JobWork, Place, QueueError, QueueSettings,
    Settled, Settlement,
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const LEASE: Duration = Duration::from_mins(1);

/// A disk that can be filled, and what is on it.
#[derive(Debug, Default)]
struct Disk {
    tables: MemoryRecords,
    full: AtomicBool,
    /// The next sync fails, though there was room for what it syncs.
    sync_fails: AtomicBool,
    opened: AtomicUsize,
}

/// A store that, as sled, fails for good once the disk was full.
#[derive(Debug)]
struct OpenDisk {
    disk: Arc<Disk>,
    failed: AtomicBool,
}

impl OpenDisk {
    fn check(&self, fails: bool) -> Result<(), RecordStoreError> {
        if fails {
            self.failed.store(true, Ordering::SeqCst);
        }
        if self.failed.load(Ordering::SeqCst) { Err(RecordStoreError::StorageFull) } else { Ok(()) }
    }
}

impl RecordStore for OpenDisk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, RecordStoreError> {
        self.disk.tables.get(table, key)
    }

    fn range(
        &self,
        table: Table,
        keys: Range<&[u8]>,
        order: ScanOrder,
        limit: usize,
    ) -> Result<Vec<TableEntry>, RecordStoreError> {
        self.disk.tables.range(table, keys, order, limit)
    }

    fn count(&self, table: Table, keys: Range<&[u8]>) -> Result<u64, RecordStoreError> {
        self.disk.tables.count(table, keys)
    }

    fn apply(&self, batch: &Batch) -> Result<(), RecordStoreError> {
        self.check(self.disk.full.load(Ordering::SeqCst))?;
        self.disk.tables.apply(batch)
    }

    fn sync(&self) -> Result<(), RecordStoreError> {
        self.check(self.disk.sync_fails.swap(false, Ordering::SeqCst))
    }

    fn close(self) -> Result<(), RecordStoreError> {
        Ok(())
    }
}

impl StoreOpener for Arc<Disk> {
    type Records = OpenDisk;

    fn open(&self) -> Result<OpenDisk, QueueError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Ok(OpenDisk { disk: Arc::clone(self), failed: AtomicBool::new(false) })
    }

    fn write_to_disk(&self) {}

    fn has_room(&self) -> bool {
        !self.full.load(Ordering::SeqCst)
    }
}

impl LocalQueue for WriterThread<OpenDisk> {
    type Driver = Self;

    fn driver(&self) -> &Self {
        self
    }
}

struct Fixture {
    disk: Arc<Disk>,
    clock: Arc<Manual>,
    queue: WriterThread<OpenDisk>,
}

impl Fixture {
    fn new() -> Result<Self, QueueError> {
        let disk = Arc::new(Disk::default());
        let clock = Arc::new(Manual::at(Timestamp::from_millis(1_750_000_000_000)));
        let opener = Arc::new(Arc::clone(&disk));
        let attribution = CrashAttribution::JobsInFlight;
        let queue = WriterThread::start(opener, QueueSettings::default(), clock.clone(), attribution)?;
        Ok(Self { disk, clock, queue })
    }

    async fn claim(&self) -> Result<Vec<Claim>, QueueError> {
        let request = ClaimRequest { max: 1, place: Place::Regular, memory: u64::MAX, lease: LEASE };
        self.queue.claim(request).await.map(|claimed| claimed.claims)
    }
}

#[tokio::test]
async fn queue_recovers_by_itself_once_there_is_space_again() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.queue.enqueue(record(1)).await?;
    let held = fixture.claim().await?.remove(0);

    fixture.disk.full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = fixture.queue.enqueue(record(2)).await;
        assert!(matches!(refused, Err(QueueError::StorageFull)), "{refused:?}");
    }
    let id = held.lease.id;
    let job = fixture.queue.get(&id).await?;
    assert_eq!(job.map(|job| job.state), Some(State::Processing), "reads still work");
    assert_eq!(fixture.queue.status().current().counts.processing, 1);
    assert!(matches!(fixture.queue.count(), Err(QueueError::StorageFull)), "a health check is told");
    assert_eq!(fixture.disk.opened.load(Ordering::SeqCst), 1, "no try while the disk is full");

    fixture.disk.full.store(false, Ordering::SeqCst);
    assert_eq!(fixture.queue.enqueue(record(2)).await?, Enqueued::Created);
    assert_eq!(fixture.queue.count()?.pending, 1);
    let settled =
        fixture.queue.settle(&held.lease, Settlement::Completed { files: Vec::new(), placeholder: None }).await?;
    assert_eq!(settled, Settled::Applied(State::Completed), "the worker's lease outlived the store");
    let next = fixture.claim().await?.remove(0);
    assert_eq!((next.job.record.id, next.job.crashes), (record(2).id, 0), "no crash is attributed to it");
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_delays_no_other_job_and_is_requeued() -> TestResult {
    let fixture = Fixture::new()?;
    for n in 1..=3 {
        fixture.queue.enqueue(record(n)).await?;
    }
    let held = fixture.claim().await?.remove(0);
    assert_eq!(held.job.record.id, record(1).id);
    let mut garbage = Batch::default();
    for n in 1..=2 {
        garbage.put(Table::Jobs, *record(n).id.as_bytes(), b"garbage".as_slice());
    }
    fixture.disk.tables.apply(&garbage)?;

    assert_eq!(fixture.claim().await?[0].job.record.id, record(3).id, "the next one is given out");
    let settled =
        fixture.queue.settle(&held.lease, Settlement::Completed { files: Vec::new(), placeholder: None }).await?;
    assert_eq!(settled, Settled::Stale);
    for n in 1..=2 {
        let id = record(n).id;
        assert_eq!(fixture.queue.get(&id).await?, None, "the spool's turn");
        assert_eq!(fixture.queue.enqueue(record(n)).await?, Enqueued::Created, "from the spool");
        assert_eq!(fixture.claim().await?[0].job.record.id, id);
    }
    assert_eq!(fixture.disk.tables.count(Table::Unreadable, &[]..&[0xFF])?, 2, "kept for a person to look at");
    Ok(())
}

#[tokio::test]
async fn nothing_is_acknowledged_that_was_not_synced() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.disk.sync_fails.store(true, Ordering::SeqCst);
    assert!(matches!(fixture.queue.enqueue(record(1)).await, Err(QueueError::StorageFull)));
    // It may have reached the disk all the same. Whoever asks again learns that.
    assert_eq!(fixture.queue.enqueue(record(1)).await?, Enqueued::Known);

    fixture.disk.sync_fails.store(true, Ordering::SeqCst);
    assert!(matches!(fixture.claim().await, Err(QueueError::StorageFull)));
    fixture.clock.advance(Duration::from_secs(1));
    let claims = fixture.claim().await?;
    assert_eq!(claims.len(), 1, "nobody holds a lease that nobody was given");
    assert_eq!((claims[0].job.attempts, claims[0].job.crashes), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_failure_that_was_not_for_want_of_space_waits_for_none() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.disk.full.store(true, Ordering::SeqCst);
    let panicked = fixture.queue.run(|_| -> Result<(), QueueError> { panic!("as sled may") }).await;
    assert!(panicked.is_err());
    assert!(fixture.claim().await?.is_empty());
    assert_eq!(fixture.disk.opened.load(Ordering::SeqCst), 2);
    Ok(())
}

#[tokio::test]
async fn a_panic_costs_one_batch() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.queue.enqueue(record(1)).await?;
    let panicked = fixture.queue.run(|_| -> Result<(), QueueError> { panic!("as sled may") }).await;
    assert!(panicked.is_err());
    assert_eq!(fixture.claim().await?.len(), 1);
    Ok(())
}

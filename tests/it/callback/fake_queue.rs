//! A queue that holds an outbox and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pixerve::clock::{Clock, Manual, Timestamp};
use pixerve::job::{ContentHash, HashKey, JobError, JobId, JobRecord, Owner, State, StoredFile};
use pixerve::queue::{
    CancelOutcome, Claimed, Counts, Delivery, DeliveryOutcome, Durability, Enqueued, Filter, Job, JobQueue, Lease,
    LeaseState, Page, PageRequest, QueueError, Retry, Settled,
};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};

use super::harness::soon;

/// The outbox of a queue; every other call answers that the queue can't be used.
pub(super) struct FakeQueue {
    clock: Arc<Manual>,
    owed: Mutex<Vec<Owed>>,
    pub(super) due: Notify,
    settled: mpsc::UnboundedSender<(JobId, DeliveryOutcome)>,
    settlements: AsyncMutex<mpsc::UnboundedReceiver<(JobId, DeliveryOutcome)>>,
    /// Settlements that fail before one succeeds.
    pub(super) settle_failures: Mutex<u32>,
}

struct Owed {
    job: Job,
    attempts: u32,
    due: Duration,
}

impl FakeQueue {
    pub(super) fn new(clock: Arc<Manual>) -> Self {
        let (settled, settlements) = mpsc::unbounded_channel();
        Self {
            clock,
            owed: Mutex::default(),
            due: Notify::new(),
            settled,
            settlements: AsyncMutex::new(settlements),
            settle_failures: Mutex::new(0),
        }
    }

    /// Puts a callback into the outbox.
    pub(super) fn owe(&self, job: Job) -> JobId {
        let id = job.record.id;
        self.owed.lock().expect("no poison").push(Owed { job, attempts: 0, due: self.clock.elapsed() });
        self.due.notify_one();
        id
    }

    /// Waits for the next settlement.
    pub(super) async fn settlement(&self) -> (JobId, DeliveryOutcome) {
        soon("a settlement", async { self.settlements.lock().await.recv().await }).await.expect("the queue lives")
    }

    /// Waits for the next settlement, which must ask for another try; answers after what time.
    pub(super) async fn retry(&self) -> Duration {
        match self.settlement().await.1 {
            DeliveryOutcome::Retry(wait) => wait,
            DeliveryOutcome::Done => panic!("settled for good"),
        }
    }

    /// How many callbacks are still owed.
    pub(super) fn owed(&self) -> usize {
        self.owed.lock().expect("no poison").len()
    }
}

fn unavailable<T>() -> Result<T, QueueError> {
    Err(QueueError::Unavailable { what: "this queue is an outbox and nothing else".to_owned(), source: None })
}

#[async_trait]
impl JobQueue for FakeQueue {
    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError> {
        let now = self.clock.elapsed();
        let mut owed = self.owed.lock().expect("no poison");
        let due = owed.iter_mut().filter(|owed| owed.due <= now).take(limit);
        Ok(due
            .map(|owed| {
                owed.due = now + lease;
                Delivery { job: owed.job.clone(), attempts: owed.attempts }
            })
            .collect())
    }

    async fn settle_delivery(&self, id: &JobId, outcome: DeliveryOutcome) -> Result<(), QueueError> {
        {
            let mut failures = self.settle_failures.lock().expect("no poison");
            if let Some(left) = failures.checked_sub(1) {
                *failures = left;
                return Err(QueueError::StorageFull);
            }
        }
        let mut owed = self.owed.lock().expect("no poison");
        match outcome {
            DeliveryOutcome::Done => owed.retain(|owed| owed.job.record.id != *id),
            DeliveryOutcome::Retry(wait) => {
                for owed in owed.iter_mut().filter(|owed| owed.job.record.id == *id) {
                    owed.attempts += 1;
                    owed.due = self.clock.elapsed() + wait;
                }
            }
        }
        drop(owed);
        self.settled.send((*id, outcome)).expect("the test listens");
        Ok(())
    }

    async fn wait_delivery(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.due.notified()).await;
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError> {
        let owed = self.owed.lock().expect("no poison");
        Ok(owed.iter().find(|owed| owed.job.record.id == *id).map(|owed| owed.job.clone()))
    }

    async fn enqueue(&self, _: JobRecord) -> Result<Enqueued, QueueError> {
        unavailable()
    }
    async fn live(&self, _: &Owner, _: &ContentHash) -> Result<Option<Job>, QueueError> {
        unavailable()
    }
    async fn claim_within(&self, _: u64, _: usize, _: Duration) -> Result<Claimed, QueueError> {
        unavailable()
    }
    async fn wait_ready(&self, _: Duration) {}
    async fn extend(&self, _: &Lease, _: Duration) -> Result<LeaseState, QueueError> {
        unavailable()
    }
    async fn complete(&self, _: &Lease, _: Vec<StoredFile>) -> Result<Settled, QueueError> {
        unavailable()
    }
    async fn fail(&self, _: &Lease, _: JobError, _: Vec<StoredFile>, _: Retry) -> Result<Settled, QueueError> {
        unavailable()
    }
    async fn crashed(&self, _: &Lease, _: JobError, _: Vec<StoredFile>) -> Result<Settled, QueueError> {
        unavailable()
    }
    async fn release(&self, _: &Lease) -> Result<Settled, QueueError> {
        unavailable()
    }
    async fn cancel(&self, _: &JobId, _: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        unavailable()
    }
    async fn name_files(&self, _: &JobId, _: Vec<StoredFile>) -> Result<(), QueueError> {
        unavailable()
    }
    async fn newest(&self, _: &HashKey) -> Result<Option<Job>, QueueError> {
        unavailable()
    }
    async fn list(&self, _: &Filter, _: PageRequest) -> Result<Page, QueueError> {
        unavailable()
    }
    async fn counts(&self) -> Result<Counts, QueueError> {
        unavailable()
    }
    async fn expired(&self, _: usize) -> Result<Vec<JobId>, QueueError> {
        unavailable()
    }
    async fn reap(&self, _: &JobId, _: Vec<StoredFile>) -> Result<Option<State>, QueueError> {
        unavailable()
    }
    async fn purge(&self, _: Timestamp, _: usize) -> Result<usize, QueueError> {
        unavailable()
    }
    async fn forget_live(&self, _: &JobId) -> Result<bool, QueueError> {
        unavailable()
    }
    async fn drain_begins(&self) -> Result<(), QueueError> {
        unavailable()
    }
    async fn shutdown(&self) -> Result<(), QueueError> {
        unavailable()
    }
    fn durability(&self) -> Durability {
        Durability::None
    }
}

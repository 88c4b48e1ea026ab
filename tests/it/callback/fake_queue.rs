//! An outbox that is told what it owes, and tells what is settled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pixerve::clock::{Clock, Manual};
use pixerve::job::{DeliveryId, JobId};
use pixerve::queue::{Delivery, DeliveryContent, DeliveryOutbox, DeliveryOutcome, DeliveryTry, Job, QueueError};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};

use super::harness::soon;
use crate::harness::deliveries::end_of;

/// The outbox of a queue, and nothing else of it.
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

impl Owed {
    fn delivery(&self) -> Delivery {
        let target = self.job.record.callback.as_ref().expect("a job that owes a callback");
        let host = target.url.host_str().expect("a host").to_owned();
        let id = DeliveryId::of_end(self.job.record.id, self.job.state).unwrap_or(end_of(self.job.record.id));
        Delivery { id, owner: self.job.record.owner.clone(), host, attempts: self.attempts }
    }
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
            other => panic!("settled with {other:?}"),
        }
    }

    /// How many callbacks are still owed.
    pub(super) fn owed(&self) -> usize {
        self.owed.lock().expect("no poison").len()
    }
}

#[async_trait]
impl DeliveryOutbox for FakeQueue {
    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError> {
        let now = self.clock.elapsed();
        let mut owed = self.owed.lock().expect("no poison");
        let due = owed.iter_mut().filter(|owed| owed.due <= now).take(limit);
        Ok(due
            .map(|owed| {
                owed.due = now + lease;
                owed.delivery()
            })
            .collect())
    }

    async fn delivery_content(&self, id: &DeliveryId) -> Result<Option<DeliveryContent>, QueueError> {
        let owed = self.owed.lock().expect("no poison");
        let job = owed.iter().find(|owed| owed.job.record.id == id.job).map(|owed| owed.job.clone());
        Ok(job.map(|job| DeliveryContent { job, file: None }))
    }

    async fn settle_delivery(
        &self,
        id: &DeliveryId,
        _: DeliveryTry,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError> {
        {
            let mut failures = self.settle_failures.lock().expect("no poison");
            if let Some(left) = failures.checked_sub(1) {
                *failures = left;
                return Err(QueueError::StorageFull);
            }
        }
        let mut owed = self.owed.lock().expect("no poison");
        match outcome {
            DeliveryOutcome::Held => {
                for owed in owed.iter_mut().filter(|owed| owed.job.record.id == id.job) {
                    owed.due = Duration::MAX;
                }
            }
            DeliveryOutcome::Delivered | DeliveryOutcome::GivenUp => owed.retain(|owed| owed.job.record.id != id.job),
            DeliveryOutcome::Retry(wait) => {
                for owed in owed.iter_mut().filter(|owed| owed.job.record.id == id.job) {
                    owed.attempts += 1;
                    owed.due = self.clock.elapsed() + wait;
                }
            }
        }
        drop(owed);
        self.settled.send((id.job, outcome)).expect("the test listens");
        Ok(())
    }

    async fn wait_delivery(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.due.notified()).await;
    }
}

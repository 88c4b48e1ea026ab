//! The queue that forgets: for tests and for trying things out. Everything is as in the durable one, but the store.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};

use super::machine::{Machine, Start};
use super::signal::{Down, Signal};
use super::store::{Batch, Entry, Order, Store, StoreError, Table};
use super::{
    Blame, CancelOutcome, Claimed, Counts, Delivery, DeliveryOutcome, Durability, Enqueued, Filter, Job, JobQueue,
    Lease, LeaseState, Page, PageRequest, QueueError, QueueSettings, Retry, Settled, read,
};
use crate::clock::{SharedClock, Timestamp};
use crate::job::{ContentHash, HashKey, JobError, JobId, JobRecord, Owner, State, StoredFile};

/// A queue in memory.
pub struct MemoryQueue {
    /// None once it is shut down.
    machine: Mutex<Option<Machine<MemoryStore>>>,
    signal: Signal,
    clock: SharedClock,
}

impl MemoryQueue {
    /// An empty queue. `blame` says whether jobs that crashed run alone: see [`Blame`].
    ///
    /// # Errors
    /// None that memory could cause; the signature is the durable queue's.
    pub fn open(settings: QueueSettings, clock: SharedClock, blame: Blame) -> Result<Self, QueueError> {
        let store = Arc::new(MemoryStore::default());
        let mut machine = Machine::recover(store, settings, Arc::clone(&clock), blame, Start::Server)?;
        let signal = Signal::new(machine.pulse());
        Ok(Self { machine: Mutex::new(Some(machine)), signal, clock })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Machine<MemoryStore>) -> Result<T, QueueError>) -> Result<T, QueueError> {
        let mut machine = self.lock();
        let machine = machine.as_mut().ok_or_else(QueueError::closed)?;
        let outcome = work(machine);
        self.signal.show(machine.pulse());
        outcome
    }

    fn read<T>(&self, look: impl FnOnce(&MemoryStore) -> Result<T, QueueError>) -> Result<T, QueueError> {
        look(self.lock().as_ref().ok_or_else(QueueError::closed)?.store())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Machine<MemoryStore>>> {
        self.machine.lock()
    }
}

#[async_trait]
impl JobQueue for MemoryQueue {
    async fn enqueue(&self, record: JobRecord) -> Result<Enqueued, QueueError> {
        self.with(|machine| machine.enqueue(record))
    }

    async fn live(&self, owner: &Owner, content: &ContentHash) -> Result<Option<Job>, QueueError> {
        self.read(|store| read::live(store, &HashKey::new(content, owner)))
    }

    async fn claim_within(&self, memory: u64, max: usize, lease: Duration) -> Result<Claimed, QueueError> {
        self.with(|machine| machine.claim(max, lease, memory))
    }

    async fn wait_ready(&self, at_most: Duration) {
        self.signal.wait_ready(&*self.clock, at_most).await;
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError> {
        self.with(|machine| machine.extend(lease, by))
    }

    async fn complete(&self, lease: &Lease, files: Vec<StoredFile>) -> Result<Settled, QueueError> {
        self.with(|machine| machine.complete(lease, files))
    }

    async fn fail(
        &self,
        lease: &Lease,
        error: JobError,
        files: Vec<StoredFile>,
        retry: Retry,
    ) -> Result<Settled, QueueError> {
        self.with(|machine| machine.fail(lease, error, files, retry))
    }

    async fn crashed(&self, lease: &Lease, error: JobError, files: Vec<StoredFile>) -> Result<Settled, QueueError> {
        self.with(|machine| machine.crashed(lease, error, files))
    }

    async fn release(&self, lease: &Lease) -> Result<Settled, QueueError> {
        self.with(|machine| machine.release(lease))
    }

    async fn cancel(&self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        self.with(|machine| machine.cancel(id, files))
    }

    async fn name_files(&self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError> {
        self.with(|machine| machine.name_files(id, files))
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError> {
        self.read(|store| read::job(store, id))
    }

    async fn newest(&self, hash: &HashKey) -> Result<Option<Job>, QueueError> {
        self.read(|store| read::newest(store, hash))
    }

    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        self.read(|store| read::page(store, filter, &page))
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        self.signal.pulse().usable_counts()
    }

    async fn expired(&self, limit: usize) -> Result<Vec<JobId>, QueueError> {
        self.with(|machine| Ok(machine.expired(limit)))
    }

    async fn reap(&self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError> {
        self.with(|machine| machine.reap(id, files))
    }

    async fn purge(&self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.with(|machine| machine.purge(finished_before, limit))
    }

    async fn forget_live(&self, id: &JobId) -> Result<bool, QueueError> {
        self.with(|machine| machine.forget_live(id))
    }

    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.with(|machine| machine.due_deliveries(limit, lease))
    }

    async fn settle_delivery(&self, id: &JobId, outcome: DeliveryOutcome) -> Result<(), QueueError> {
        self.with(|machine| machine.settle_delivery(id, outcome))
    }

    async fn wait_delivery(&self, at_most: Duration) {
        self.signal.wait_delivery(&*self.clock, at_most).await;
    }

    async fn drain_begins(&self) -> Result<(), QueueError> {
        self.with(Machine::drain_begins)
    }

    async fn shutdown(&self) -> Result<(), QueueError> {
        drop(self.lock().take());
        self.signal.show(self.signal.pulse().down(Down::Closed));
        Ok(())
    }

    fn durability(&self) -> Durability {
        Durability::None
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Tables in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryStore(Mutex<BTreeMap<Table, Entries>>);

impl MemoryStore {
    fn with<T>(&self, table: Table, look: impl FnOnce(&mut Entries) -> T) -> T {
        let mut tables = self.0.lock();
        look(tables.entry(table).or_default())
    }
}

impl Store for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.with(table, |entries| entries.get(key).cloned()))
    }

    fn range(&self, table: Table, keys: Range<&[u8]>, order: Order, limit: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(self.with(table, |entries| {
            let range = entries.range(keys.start.to_vec()..keys.end.to_vec());
            let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
            match order {
                Order::Ascending => range.map(owned).take(limit).collect(),
                Order::Descending => range.rev().map(owned).take(limit).collect(),
            }
        }))
    }

    fn count(&self, table: Table, keys: Range<&[u8]>) -> Result<u64, StoreError> {
        Ok(self.with(table, |entries| entries.range(keys.start.to_vec()..keys.end.to_vec()).count() as u64))
    }

    fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut tables = self.0.lock();
        for change in batch.changes() {
            let entries = tables.entry(change.table).or_default();
            match &change.value {
                Some(value) => entries.insert(change.key.clone(), value.clone()),
                None => entries.remove(&change.key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

//! The queue whose records end with the process, for tests. All but its tables is as in the durable one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::machine::{Machine, RecoveryCause};
use super::status::{Outage, StatusChannel};
use super::store::{Batch, RecordStore, RecordStoreError, ScanOrder, Table, TableEntry};
use super::{Driver, LocalQueue, Observers};
use crate::clock::SharedClock;
use crate::queue::{CrashAttribution, QueueError, QueueSettings};

/// A queue that loses everything with the process, for tests.
pub struct MemoryQueue {
    /// None once it is shut down.
    machine: Mutex<Option<Machine<MemoryRecords>>>,
    status: StatusChannel,
    observers: Observers,
}

impl MemoryQueue {
    /// An empty queue. `attribution` says whether jobs that crashed run alone: see [`CrashAttribution`].
    ///
    /// # Errors
    /// None that memory could cause; the signature is the durable queue's.
    pub fn open(
        settings: QueueSettings,
        clock: SharedClock,
        attribution: CrashAttribution,
    ) -> Result<Self, QueueError> {
        let records = Arc::new(MemoryRecords::default());
        let (cause, observers) = (RecoveryCause::ServerStarted, Observers::default());
        let mut machine =
            Machine::recover(records, settings, Arc::clone(&clock), observers.clone(), attribution, cause)?;
        let status = StatusChannel::new(machine.status(), clock);
        Ok(Self { machine: Mutex::new(Some(machine)), status, observers })
    }
}

impl LocalQueue for MemoryQueue {
    type Driver = Self;

    fn driver(&self) -> &Self {
        self
    }
}

impl Driver for MemoryQueue {
    type Records = MemoryRecords;

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine<MemoryRecords>) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        let mut machine = self.machine.lock();
        let machine = machine.as_mut().ok_or_else(QueueError::closed)?;
        let outcome = work(machine);
        self.status.publish(machine.status());
        machine.tell_changes();
        outcome
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&MemoryRecords) -> Result<T, QueueError> + Send + 'static,
    ) -> Result<T, QueueError> {
        look(self.machine.lock().as_ref().ok_or_else(QueueError::closed)?.records())
    }

    fn status(&self) -> &StatusChannel {
        &self.status
    }

    fn observers(&self) -> &Observers {
        &self.observers
    }

    async fn rewrite(&self) -> Result<(), QueueError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), QueueError> {
        drop(self.machine.lock().take());
        self.status.publish_outage(Outage::Closed);
        Ok(())
    }
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Tables in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryRecords(Mutex<BTreeMap<Table, Entries>>);

impl MemoryRecords {
    fn with<T>(&self, table: Table, look: impl FnOnce(&mut Entries) -> T) -> T {
        let mut tables = self.0.lock();
        look(tables.entry(table).or_default())
    }
}

impl RecordStore for MemoryRecords {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, RecordStoreError> {
        Ok(self.with(table, |entries| entries.get(key).cloned()))
    }

    fn range(
        &self,
        table: Table,
        keys: Range<&[u8]>,
        order: ScanOrder,
        limit: usize,
    ) -> Result<Vec<TableEntry>, RecordStoreError> {
        Ok(self.with(table, |entries| {
            let range = entries.range(keys.start.to_vec()..keys.end.to_vec());
            let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
            match order {
                ScanOrder::Ascending => range.map(owned).take(limit).collect(),
                ScanOrder::Descending => range.rev().map(owned).take(limit).collect(),
            }
        }))
    }

    fn count(&self, table: Table, keys: Range<&[u8]>) -> Result<u64, RecordStoreError> {
        Ok(self.with(table, |entries| entries.range(keys.start.to_vec()..keys.end.to_vec()).count() as u64))
    }

    fn apply(&self, batch: &Batch) -> Result<(), RecordStoreError> {
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

    fn sync(&self) -> Result<(), RecordStoreError> {
        Ok(())
    }

    fn close(self) -> Result<(), RecordStoreError> {
        Ok(())
    }
}

//! The durable queue: an embedded database behind one writer thread, which shares each sync among many calls.

mod link;
mod store;
#[cfg(test)]
mod tests;
mod watchdog;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::link::Link;
use self::store::{Directory, SledStore};
use super::machine::Machine;
use super::{
    Blame, CancelOutcome, Claimed, Counts, Delivery, DeliveryOutcome, Durability, Enqueued, Filter, Job, JobQueue,
    Lease, LeaseState, Page, PageRequest, QueueError, QueueSettings, Retry, Settled, read,
};
use crate::clock::{SharedClock, Timestamp};
use crate::database::SetAside;
use crate::job::{ContentHash, HashKey, JobError, JobId, JobRecord, Owner, State, StoredFile};

/// A queue in a directory of its own. What it has acknowledged survives the loss of power.
pub struct SledQueue {
    link: Link<SledStore>,
    directory: Arc<Directory>,
    clock: SharedClock,
}

impl SledQueue {
    /// Opens the queue in `dir` (`<data>/ConvertQueue.db`), or makes a new one, and puts back every job that was being
    /// worked on when the last server stopped. Blocking. Look at [`SledQueue::set_aside`] afterwards.
    ///
    /// # Errors
    /// Another process has it, a newer Pixerve wrote it, the disk is full, or the file system refuses.
    pub fn open(dir: &Path, settings: QueueSettings, clock: SharedClock, blame: Blame) -> Result<Self, QueueError> {
        let directory = Arc::new(Directory::new(PathBuf::from(dir)));
        let link = Link::open(Arc::clone(&directory), settings, Arc::clone(&clock), blame)?;
        Ok(Self { link, directory, clock })
    }

    /// The databases that could not be read, or not wholly, since this queue was opened; most often none. Accepted
    /// jobs that were in them are in the spool still and must be queued again; other history is lost, which has to be
    /// said loudly. One may be added while the queue runs, if the disk was full and what came back was damaged.
    pub fn set_aside(&self) -> Vec<SetAside> {
        self.directory.set_aside()
    }
}

#[async_trait]
impl JobQueue for SledQueue {
    async fn enqueue(&self, record: JobRecord) -> Result<Enqueued, QueueError> {
        self.link.try_call(move |machine| machine.enqueue(record)).await
    }

    async fn live(&self, owner: &Owner, content: &ContentHash) -> Result<Option<Job>, QueueError> {
        let hash = HashKey::new(content, owner);
        self.link.read(move |store| read::live(store, &hash)).await
    }

    async fn claim_within(&self, memory: u64, max: usize, lease: Duration) -> Result<Claimed, QueueError> {
        self.link.call(move |machine| machine.claim(max, lease, memory)).await
    }

    async fn wait_ready(&self, at_most: Duration) {
        self.link.signal().wait_ready(&*self.clock, at_most).await;
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError> {
        let lease = lease.clone();
        self.link.call(move |machine| machine.extend(&lease, by)).await
    }

    async fn complete(&self, lease: &Lease, files: Vec<StoredFile>) -> Result<Settled, QueueError> {
        let lease = lease.clone();
        self.link.call(move |machine| machine.complete(&lease, files)).await
    }

    async fn fail(
        &self,
        lease: &Lease,
        error: JobError,
        files: Vec<StoredFile>,
        retry: Retry,
    ) -> Result<Settled, QueueError> {
        let lease = lease.clone();
        self.link.call(move |machine| machine.fail(&lease, error, files, retry)).await
    }

    async fn crashed(&self, lease: &Lease, error: JobError, files: Vec<StoredFile>) -> Result<Settled, QueueError> {
        let lease = lease.clone();
        self.link.call(move |machine| machine.crashed(&lease, error, files)).await
    }

    async fn release(&self, lease: &Lease) -> Result<Settled, QueueError> {
        let lease = lease.clone();
        self.link.call(move |machine| machine.release(&lease)).await
    }

    async fn cancel(&self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        let id = *id;
        self.link.call(move |machine| machine.cancel(&id, files)).await
    }

    async fn name_files(&self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError> {
        let id = *id;
        self.link.call(move |machine| machine.name_files(&id, files)).await
    }

    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError> {
        let id = *id;
        self.link.read(move |store| read::job(store, &id)).await
    }

    async fn newest(&self, hash: &HashKey) -> Result<Option<Job>, QueueError> {
        let hash = hash.clone();
        self.link.read(move |store| read::newest(store, &hash)).await
    }

    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        let filter = filter.clone();
        self.link.read(move |store| read::page(store, &filter, &page)).await
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        self.link.counts()
    }

    async fn expired(&self, limit: usize) -> Result<Vec<JobId>, QueueError> {
        self.link.call(move |machine| Ok(machine.expired(limit))).await
    }

    async fn reap(&self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError> {
        let id = *id;
        self.link.call(move |machine| machine.reap(&id, files)).await
    }

    async fn purge(&self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.link.call(move |machine| machine.purge(finished_before, limit)).await
    }

    async fn forget_live(&self, id: &JobId) -> Result<bool, QueueError> {
        let id = *id;
        self.link.call(move |machine| machine.forget_live(&id)).await
    }

    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.link.call(move |machine| machine.due_deliveries(limit, lease)).await
    }

    async fn settle_delivery(&self, id: &JobId, outcome: DeliveryOutcome) -> Result<(), QueueError> {
        let id = *id;
        self.link.call(move |machine| machine.settle_delivery(&id, outcome)).await
    }

    async fn wait_delivery(&self, at_most: Duration) {
        self.link.signal().wait_delivery(&*self.clock, at_most).await;
    }

    async fn drain_begins(&self) -> Result<(), QueueError> {
        self.link.call(Machine::drain_begins).await
    }

    async fn shutdown(&self) -> Result<(), QueueError> {
        self.link.shutdown().await
    }

    fn durability(&self) -> Durability {
        Durability::PowerLoss
    }
}

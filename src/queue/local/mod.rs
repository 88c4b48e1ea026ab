//! The queue on one machine: one state machine over ordered tables, which are kept in memory or in an embedded database.
//!
//! What a kind of queue adds is how work gets to the machine and how the tables are read (its [`Driver`]); the calls are
//! the same for all.

mod deliveries;
mod key;
mod machine;
mod memory;
mod read;
mod schedule;
mod sled;
mod status;
mod store;
mod transfer;

use std::time::Duration;

use async_trait::async_trait;

use self::machine::Machine;
pub use self::memory::MemoryQueue;
pub use self::sled::{QUEUE_DATABASE, SledQueue};
use self::status::StatusChannel;
use self::store::RecordStore;
use super::listing::ListOrder;
use super::{
    Backlog, BegunRequest, CancelOutcome, Claim, ClaimRequest, Claimed, Counts, Delivery, DeliveryContent,
    DeliveryOutbox, DeliveryOutcome, DeliveryPage, DeliveryRecord, DeliveryRecords, DeliveryScope, DeliveryState,
    DeliveryTry, Enqueued, ErasedRecord, Filter, IdempotentRequests, Job, JobIntake, JobMaintenance, JobQueue,
    JobRecords, JobWork, KnownJob, Lease, LeaseState, Page, PageRequest, Place, QueueError, QueueMetrics,
    QueueTransfer, RequestFate, RequestLease, Settled, Settlement, TransferCursor, TransferEntry, TransferPage,
    WaitReason,
};
use crate::clock::Timestamp;
use crate::events::JobEvents;
use crate::job::{
    ContentHash, DeliveryId, HashKey, IdempotencyKey, JobId, JobRecord, JobRef, KeptAnswer, Owner, State, StoredFile,
};

/// Jobs that are looked up by one call of the machine: others wait for it.
const KNOWN_AT_ONCE: usize = 100;

/// A queue whose calls are those below.
trait LocalQueue: Send + Sync + 'static {
    type Driver: Driver;

    fn driver(&self) -> &Self::Driver;
}

/// Whom the machine tells what it does. Clones are one; they outlive a store that had to be opened anew.
#[derive(Clone, Debug, Default)]
struct Observers {
    events: JobEvents,
    metrics: QueueMetrics,
}

/// How work gets to the machine, and who may read beside it.
trait Driver: Send + Sync + 'static {
    type Records: RecordStore;

    /// Runs `work` on the machine, and answers once what it did is durable. Waits its turn if many others do.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine<Self::Records>) -> Result<T, QueueError> + Send + 'static,
    ) -> impl Future<Output = Result<T, QueueError>> + Send;

    /// The same for a stranger's call, which fails at once instead of waiting its turn.
    fn try_run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Machine<Self::Records>) -> Result<T, QueueError> + Send + 'static,
    ) -> impl Future<Output = Result<T, QueueError>> + Send {
        self.run(work)
    }

    /// Reads the tables, beside the machine.
    fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Self::Records) -> Result<T, QueueError> + Send + 'static,
    ) -> impl Future<Output = Result<T, QueueError>> + Send;

    /// Where the machine's status is published.
    fn status(&self) -> &StatusChannel;

    /// What the machine tells.
    fn observers(&self) -> &Observers;

    /// How many jobs there are, as published last; an error while the queue can't be used. Never waits.
    fn count(&self) -> Result<Counts, QueueError> {
        self.status().current().usable_counts()
    }

    /// Rewrites its files, if it has any, without what was removed from them.
    fn rewrite(&self) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Does what was asked for before, then closes.
    fn close(&self) -> impl Future<Output = Result<(), QueueError>> + Send;
}

#[async_trait]
impl<Q: LocalQueue> JobIntake for Q {
    async fn enqueue(&self, record: JobRecord) -> Result<Enqueued, QueueError> {
        self.driver().try_run(move |machine| machine.enqueue(record)).await
    }

    async fn find_live(&self, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError> {
        let (hash, owner) = (hash.clone(), owner.clone());
        self.driver().read(move |records| read::live(records, &hash, &owner)).await
    }

    async fn user_of_token(&self, token: &ContentHash) -> Result<Option<JobId>, QueueError> {
        let token = *token;
        self.driver().read(move |records| read::user_of_token(records, &token)).await
    }

    async fn cancel(&self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        let id = *id;
        self.driver().run(move |machine| machine.cancel(&id, files)).await
    }
}

#[async_trait]
impl<Q: LocalQueue> IdempotentRequests for Q {
    async fn begin_request(&self, key: IdempotencyKey, lease: Duration) -> Result<BegunRequest, QueueError> {
        self.driver().try_run(move |machine| machine.begin_request(key, lease)).await
    }

    async fn extend_request(&self, lease: &RequestLease, by: Duration, job: Option<JobId>) -> Result<bool, QueueError> {
        let lease = *lease;
        self.driver().run(move |machine| Ok(machine.extend_request(&lease, by, job))).await
    }

    async fn keep_answer(&self, lease: &RequestLease, answer: KeptAnswer) -> Result<(), QueueError> {
        let lease = *lease;
        self.driver().run(move |machine| machine.keep_answer(&lease, answer)).await
    }

    async fn end_request(&self, lease: &RequestLease, fate: RequestFate) -> Result<(), QueueError> {
        let lease = *lease;
        let ended = move |machine: &mut Machine<_>| {
            machine.end_request(&lease, fate);
            Ok(())
        };
        self.driver().run(ended).await
    }
}

#[async_trait]
impl<Q: LocalQueue> JobWork for Q {
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        self.driver().run(move |machine| machine.claim(request)).await
    }

    async fn wait_ready(&self, place: Place, at_most: Duration) {
        self.driver().status().wait_ready(place, at_most).await;
    }

    async fn claim_made(&self, max: usize, lease: Duration) -> Result<Vec<Claim>, QueueError> {
        self.driver().run(move |machine| machine.claim_made(max, lease)).await
    }

    async fn wait_made(&self, at_most: Duration) {
        self.driver().status().wait_made(at_most).await;
    }

    async fn made(&self, lease: &Lease) -> Result<(), QueueError> {
        let lease = lease.clone();
        self.driver().run(move |machine| machine.made(&lease)).await
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError> {
        let lease = lease.clone();
        self.driver().run(move |machine| machine.extend(&lease, by)).await
    }

    async fn file_stored(&self, lease: &Lease, index: u16, file: StoredFile) -> Result<(), QueueError> {
        let lease = lease.clone();
        self.driver().run(move |machine| machine.file_stored(&lease, index, file)).await
    }

    async fn next_stop(&self) -> JobId {
        std::future::pending().await
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<Settled, QueueError> {
        let lease = lease.clone();
        self.driver().run(move |machine| machine.settle(&lease, settlement)).await
    }
}

#[async_trait]
impl<Q: LocalQueue> JobRecords for Q {
    async fn get(&self, id: &JobId) -> Result<Option<Job>, QueueError> {
        let id = *id;
        self.driver().read(move |records| read::job(records, &id)).await
    }

    async fn newest(&self, hash: &HashKey) -> Result<Option<Job>, QueueError> {
        let hash = hash.clone();
        self.driver().read(move |records| read::newest(records, &hash)).await
    }

    async fn newest_of(&self, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError> {
        let (hash, owner) = (hash.clone(), owner.clone());
        self.driver().read(move |records| read::newest_of(records, &hash, &owner)).await
    }

    async fn newest_of_reference(&self, owner: &Owner, reference: &JobRef) -> Result<Option<Job>, QueueError> {
        let (owner, reference) = (owner.clone(), reference.clone());
        self.driver().read(move |records| read::newest_of_reference(records, &owner, &reference)).await
    }

    async fn of_hash(&self, hash: &HashKey) -> Result<Vec<Job>, QueueError> {
        let hash = hash.clone();
        self.driver().read(move |records| read::of_hash(records, &hash)).await
    }

    async fn of_hashes(&self, hashes: &[HashKey]) -> Result<Vec<Job>, QueueError> {
        let hashes = hashes.to_vec();
        self.driver().read(move |records| read::of_hashes(records, &hashes)).await
    }

    async fn list(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        let filter = filter.clone();
        self.driver().read(move |records| read::page(records, &filter, ListOrder::NewestFirst, &page)).await
    }

    async fn list_oldest_first(&self, filter: &Filter, page: PageRequest) -> Result<Page, QueueError> {
        let filter = filter.clone();
        self.driver().read(move |records| read::page(records, &filter, ListOrder::OldestFirst, &page)).await
    }

    async fn waiting_for(&self, ids: &[JobId]) -> Result<Vec<Option<WaitReason>>, QueueError> {
        let ids = ids.to_vec();
        self.driver().run(move |machine| Ok(machine.waiting_for(&ids))).await
    }

    async fn live_of_store(&self, access_key: &str) -> Result<u64, QueueError> {
        let access_key = access_key.to_owned();
        self.driver().read(move |records| read::live_of_store(records, &access_key)).await
    }

    async fn counts(&self) -> Result<Counts, QueueError> {
        self.driver().count()
    }

    fn backlog(&self) -> Backlog {
        self.driver().status().current().backlog()
    }

    fn events(&self) -> &JobEvents {
        &self.driver().observers().events
    }

    fn metrics(&self) -> &QueueMetrics {
        &self.driver().observers().metrics
    }
}

#[async_trait]
impl<Q: LocalQueue> DeliveryOutbox for Q {
    async fn due_deliveries(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.driver().run(move |machine| Ok(machine.due_deliveries(limit, lease))).await
    }

    async fn delivery_content(&self, id: &DeliveryId) -> Result<Option<DeliveryContent>, QueueError> {
        let id = *id;
        let look = move |records: &<Q::Driver as Driver>::Records| {
            let Some(job) = read::job(records, &id.job)? else { return Ok(None) };
            let file = read::delivery(records, &id)?.and_then(|delivery| delivery.file);
            Ok(Some(DeliveryContent { job, file }))
        };
        self.driver().read(look).await
    }

    async fn settle_delivery(
        &self,
        id: &DeliveryId,
        tried: DeliveryTry,
        outcome: DeliveryOutcome,
    ) -> Result<(), QueueError> {
        let id = *id;
        self.driver().run(move |machine| machine.settle_delivery(&id, tried, outcome)).await
    }

    async fn wait_delivery(&self, at_most: Duration) {
        self.driver().status().wait_delivery(at_most).await;
    }
}

#[async_trait]
impl<Q: LocalQueue> DeliveryRecords for Q {
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<DeliveryRecord>, QueueError> {
        let id = *id;
        let stored = self.driver().read(move |records| read::delivery(records, &id)).await?;
        Ok(stored.map(|delivery| delivery.shown(id)))
    }

    async fn deliveries_of(&self, job: &JobId) -> Result<Vec<DeliveryRecord>, QueueError> {
        let job = *job;
        let stored = self.driver().read(move |records| read::deliveries_of(records, job)).await?;
        Ok(stored.into_iter().map(|(id, delivery)| delivery.shown(id)).collect())
    }

    async fn list_deliveries(
        &self,
        scope: DeliveryScope,
        state: DeliveryState,
        page: PageRequest,
    ) -> Result<DeliveryPage, QueueError> {
        self.driver().read(move |records| read::delivery_page(records, &scope, state, &page)).await
    }

    async fn redeliver(&self, ids: Vec<DeliveryId>) -> Result<usize, QueueError> {
        self.driver().run(move |machine| machine.redeliver(&ids)).await
    }
}

#[async_trait]
impl<Q: LocalQueue> JobMaintenance for Q {
    async fn expired_leases(&self, limit: usize) -> Result<Vec<JobId>, QueueError> {
        self.driver().run(move |machine| Ok(machine.expired_leases(limit))).await
    }

    async fn reap(&self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError> {
        let id = *id;
        self.driver().run(move |machine| machine.reap(&id, files)).await
    }

    async fn known(&self, ids: &[JobId]) -> Result<Vec<KnownJob>, QueueError> {
        let mut known = Vec::with_capacity(ids.len());
        for ids in ids.chunks(KNOWN_AT_ONCE) {
            let ids = ids.to_vec();
            known.extend(self.driver().run(move |machine| machine.known(&ids)).await?);
        }
        Ok(known)
    }

    async fn record_files(&self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError> {
        let id = *id;
        self.driver().run(move |machine| machine.record_files(&id, files)).await
    }

    async fn purge(&self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.driver().run(move |machine| machine.purge(finished_before, limit)).await
    }

    async fn left_spool(&self, _: &[JobId]) -> Result<(), QueueError> {
        Ok(())
    }

    async fn forget_used_tokens(&self, limit: usize) -> Result<usize, QueueError> {
        self.driver().run(move |machine| machine.forget_used_tokens(limit)).await
    }

    async fn forget_answers(&self, limit: usize) -> Result<usize, QueueError> {
        self.driver().run(move |machine| machine.forget_answers(limit)).await
    }

    async fn drop_live(&self, id: &JobId) -> Result<bool, QueueError> {
        let id = *id;
        self.driver().run(move |machine| machine.drop_live(&id)).await
    }

    async fn erase(&self, id: &JobId) -> Result<ErasedRecord, QueueError> {
        let id = *id;
        self.driver().run(move |machine| machine.erase(&id)).await
    }
}

#[async_trait]
impl<Q: LocalQueue> QueueTransfer for Q {
    async fn void_leases(&self) -> Result<(), QueueError> {
        self.driver().run(Machine::release_leases).await
    }

    async fn export(&self, from: Option<TransferCursor>) -> Result<TransferPage, QueueError> {
        self.driver().run(move |machine| machine.export(from.as_ref())).await
    }

    async fn import(&self, entries: Vec<TransferEntry>) -> Result<(), QueueError> {
        self.driver().run(move |machine| machine.import(entries)).await
    }

    async fn persist(&self) -> Result<(), QueueError> {
        Ok(())
    }
}

#[async_trait]
impl<Q: LocalQueue> JobQueue for Q {
    async fn mark_draining(&self) -> Result<(), QueueError> {
        self.driver().run(Machine::mark_draining).await
    }

    async fn rewrite(&self) -> Result<(), QueueError> {
        self.driver().rewrite().await
    }

    async fn shutdown(&self) -> Result<(), QueueError> {
        self.driver().close().await
    }
}

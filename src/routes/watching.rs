//! Who watches which job, and how many may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::rate::{AddressCount, AddressCounts};
use super::snapshot::Snapshot;
use super::{AppState, Refusal};
use crate::events::JobWatch;
use crate::job::JobId;

/// Between two looks at a job: its watchers hear of it at most four times a second.
const PACE: Duration = Duration::from_millis(250);
/// How often it is looked whether a job waits for a store: that is the gate's to know, which knows no jobs.
const OUTAGES_EVERY: Duration = Duration::from_secs(5);

/// What a watcher sees; none before the first look.
pub(super) type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// The jobs that are watched. However many watch one, it is looked at once for each of its changes.
#[derive(Default)]
pub struct WatchedJobs(Mutex<HashMap<JobId, watch::Sender<Option<Arc<Snapshot>>>>>);

impl WatchedJobs {
    /// Watches a job until the receiver is dropped. The sender goes after the snapshot of an ended job, or when the job
    /// can't be looked at.
    pub(super) fn watch(&self, state: &AppState, id: JobId) -> Snapshots {
        let mut jobs = self.0.lock();
        if let Some(snapshots) = jobs.get(&id) {
            let mut receiver = snapshots.subscribe();
            // It hasn't seen what is there.
            receiver.mark_changed();
            return receiver;
        }
        let (snapshots, receiver) = watch::channel(None);
        jobs.insert(id, snapshots.clone());
        let look_out = LookOut { state: state.clone(), id, snapshots };
        tokio::spawn(look_out.run());
        receiver
    }

    /// How many watch some job.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.0.lock().values().map(watch::Sender::receiver_count).sum()
    }
}

/// Looks at one job as long as someone watches it.
struct LookOut {
    state: AppState,
    id: JobId,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
}

impl LookOut {
    async fn run(self) {
        let mut changes = self.state.records.events().watch(self.id);
        while let Ok(Some(snapshot)) = self.look().await {
            let is_ended = snapshot.is_ended;
            self.publish(snapshot);
            if is_ended {
                return;
            }
            tokio::select! {
                () = self.change(&mut changes) => {}
                () = self.snapshots.closed() => if self.forget_if_unwatched() { return },
            }
            sleep(PACE).await;
        }
    }

    async fn look(&self) -> Result<Option<Snapshot>, Refusal> {
        match self.state.records.get(&self.id).await? {
            Some(job) => Ok(Some(Snapshot::of(&self.state, job).await?)),
            None => Ok(None),
        }
    }

    fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_if_modified(|published| {
            let is_news = published.as_ref().is_none_or(|published| published.status != snapshot.status);
            if is_news {
                *published = Some(Arc::new(snapshot));
            }
            is_news
        });
    }

    async fn change(&self, changes: &mut JobWatch) {
        let outages = self.state.active_jobs.outages(self.id);
        while timeout(OUTAGES_EVERY, changes.changed()).await.is_err() {
            if self.state.active_jobs.outages(self.id) != outages {
                self.state.records.events().changed(self.id);
            }
        }
    }

    fn forget_if_unwatched(&self) -> bool {
        let mut jobs = self.state.watched_jobs.0.lock();
        let is_unwatched = self.snapshots.receiver_count() == 0;
        if is_unwatched {
            jobs.remove(&self.id);
        }
        is_unwatched
    }
}

impl Drop for LookOut {
    /// However it ended: those who watch still see that nothing more comes, and the next one has another look-out.
    fn drop(&mut self) {
        let mut jobs = self.state.watched_jobs.0.lock();
        if jobs.get(&self.id).is_some_and(|snapshots| snapshots.same_channel(&self.snapshots)) {
            jobs.remove(&self.id);
        }
    }
}

/// So many at once in all, and so many of an address.
#[derive(Debug)]
pub struct Watchers {
    all: Arc<Semaphore>,
    per_address: Arc<AddressCounts>,
}

/// One of them, as long as it lives.
#[derive(Debug)]
pub(super) struct Watcher {
    _of_all: OwnedSemaphorePermit,
    _of_address: Option<AddressCount>,
}

impl Watchers {
    /// None yet.
    #[must_use]
    pub fn new(max: usize, per_address_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(max)), per_address: Arc::new(AddressCounts::new(per_address_max)) }
    }

    /// One more, of `address` if that is known; none if there are as many as there may be.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Option<Watcher> {
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let of_address = match address {
            Some(address) => Some(self.per_address.take(address)?),
            None => None,
        };
        Some(Watcher { _of_all: of_all, _of_address: of_address })
    }
}

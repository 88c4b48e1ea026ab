//! The queue's status, for those who wait for work. A level, not an event, so that no wake-up is lost.

use std::time::Duration;

use tokio::sync::watch;

use super::store::RecordStoreError;
use crate::clock::SharedClock;
use crate::queue::{Backlog, Counts, LaneCounts, OwedCallbacks, Place, QueueError};

/// Why a queue can't be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// Its disk is full.
    StorageFull,
    /// What was attempted when the store failed.
    Failed(&'static str),
    /// It is shut down.
    Closed,
}

impl From<&RecordStoreError> for Outage {
    fn from(error: &RecordStoreError) -> Self {
        match error {
            RecordStoreError::StorageFull => Self::StorageFull,
            RecordStoreError::Failed { what, .. } => Self::Failed(what),
        }
    }
}

impl From<Outage> for QueueError {
    fn from(outage: Outage) -> Self {
        match outage {
            Outage::StorageFull => Self::StorageFull,
            Outage::Failed(what) => Self::Unavailable { what: format!("{what} failed"), source: None },
            Outage::Closed => Self::closed(),
        }
    }
}

/// What waits in the queue. Times are those of [`crate::clock::Clock::elapsed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueStatus {
    pub(super) counts: Counts,
    pub(super) lanes: [LaneCounts; 2],
    pub(super) callbacks: OwedCallbacks,
    /// None while it works.
    pub(super) outage: Option<Outage>,
    /// By place: a claim would find something.
    pub(super) claimable: [bool; 2],
    /// A claim of made jobs would find something.
    pub(super) made_waits: bool,
    /// A claim may find something then.
    pub(super) next_ready: Option<Duration>,
    /// A claim of made jobs may find something then.
    pub(super) next_delayed: Option<Duration>,
    /// A delivery is due then.
    pub(super) next_delivery: Option<Duration>,
}

impl QueueStatus {
    fn ready_at(&self, place: Place) -> Option<Duration> {
        if self.claimable[place as usize] { Some(Duration::ZERO) } else { self.next_ready }
    }

    /// The same counts, which nobody can rely on any more, and nothing to wait for.
    fn with_outage(self, why: Outage) -> Self {
        let Self { counts, lanes, callbacks, .. } = self;
        Self { counts, lanes, callbacks, outage: Some(why), ..Self::default() }
    }

    pub(super) fn backlog(self) -> Backlog {
        Backlog { lanes: self.lanes, callbacks: self.callbacks }
    }

    /// How many jobs there are, unless the queue can't say so because it can't be used.
    pub(super) fn usable_counts(self) -> Result<Counts, QueueError> {
        self.outage.map_or(Ok(self.counts), |outage| Err(outage.into()))
    }
}

/// Where the queue publishes its status.
pub(super) struct StatusChannel {
    published: watch::Sender<QueueStatus>,
    clock: SharedClock,
}

impl StatusChannel {
    pub(super) fn new(status: QueueStatus, clock: SharedClock) -> Self {
        Self { published: watch::Sender::new(status), clock }
    }

    pub(super) fn publish(&self, status: QueueStatus) {
        self.published.send_if_modified(|published| std::mem::replace(published, status) != status);
    }

    /// Publishes that the queue can't be used.
    pub(super) fn publish_outage(&self, why: Outage) {
        self.publish(self.current().with_outage(why));
    }

    /// What was published last.
    pub(super) fn current(&self) -> QueueStatus {
        *self.published.borrow()
    }

    pub(super) async fn wait_ready(&self, place: Place, at_most: Duration) {
        self.wait(at_most, |status| status.ready_at(place)).await;
    }

    pub(super) async fn wait_made(&self, at_most: Duration) {
        let moment = |status: &QueueStatus| if status.made_waits { Some(Duration::ZERO) } else { status.next_delayed };
        self.wait(at_most, moment).await;
    }

    pub(super) async fn wait_delivery(&self, at_most: Duration) {
        self.wait(at_most, |status| status.next_delivery).await;
    }

    async fn wait(&self, at_most: Duration, moment: impl Fn(&QueueStatus) -> Option<Duration>) {
        let mut published = self.published.subscribe();
        let until_moment = async {
            loop {
                let moment = moment(&published.borrow_and_update());
                let wait = moment.map_or(Duration::MAX, |at| at.saturating_sub(self.clock.elapsed()));
                if wait.is_zero() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait.min(at_most)) => return,
                    changed = published.changed() => if changed.is_err() { return },
                }
            }
        };
        // Running out of time is one of the two ways this ends.
        let _: Result<(), _> = tokio::time::timeout(at_most, until_moment).await;
    }
}

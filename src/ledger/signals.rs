//! What whoever takes an order in, and whoever carries it out, tell each other in one process.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{ErasureId, OwedEvents};

/// Of orders to erase: that there is a new one, and that one has come further. Clones are one. What is said here is a hint:
/// the orders themselves are in the ledger.
#[derive(Clone, Debug, Default)]
pub struct ErasureSignals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ordered: Mutex<Vec<ErasureId>>,
    wake: Notify,
    progress: watch::Sender<u64>,
    hidden: Mutex<HashSet<ErasureId>>,
    running: AtomicUsize,
    has_events: AtomicBool,
    wake_outbox: Notify,
    owed_events: Mutex<OwedEvents>,
    events_changed: Notify,
}

impl ErasureSignals {
    /// There is a new order, written down.
    pub fn ordered(&self, id: ErasureId) {
        self.0.ordered.lock().push(id);
        self.0.wake.notify_one();
    }

    /// Waits for new orders; answers all that there are.
    pub async fn next_orders(&self) -> Vec<ErasureId> {
        loop {
            let ordered = std::mem::take(&mut *self.0.ordered.lock());
            if !ordered.is_empty() {
                return ordered;
            }
            self.0.wake.notified().await;
        }
    }

    /// Nothing of what this order is about is told or served any more.
    pub fn set_hidden(&self, id: ErasureId) {
        self.0.hidden.lock().insert(id);
        self.progressed();
    }

    /// Whether [`ErasureSignals::set_hidden`] was said of it, while this process carries it out.
    #[must_use]
    pub fn is_hidden(&self, id: &ErasureId) -> bool {
        self.0.hidden.lock().contains(id)
    }

    /// This process doesn't carry it out any more.
    pub fn let_go(&self, id: &ErasureId) {
        self.0.hidden.lock().remove(id);
    }

    /// Some order has come further.
    pub fn progressed(&self) {
        self.0.progress.send_modify(|times| *times += 1);
    }

    /// There is a new event that a job is erased.
    pub fn event_owed(&self) {
        self.0.has_events.store(true, Ordering::Release);
        self.0.wake_outbox.notify_one();
        self.events_changed();
    }

    /// More or fewer events are owed than before.
    pub fn events_changed(&self) {
        self.0.events_changed.notify_one();
    }

    /// Waits until [`ErasureSignals::events_changed`] was said since this returned last. For one at a time.
    pub async fn wait_events_changed(&self) {
        self.0.events_changed.notified().await;
    }

    /// So many events were owed when somebody counted them.
    pub fn set_owed_events(&self, owed: OwedEvents) {
        *self.0.owed_events.lock() = owed;
    }

    /// How many events were owed when somebody counted them last.
    #[must_use]
    pub fn owed_events(&self) -> OwedEvents {
        *self.0.owed_events.lock()
    }

    /// Whether [`ErasureSignals::event_owed`] was said since this was asked last.
    #[must_use]
    pub fn take_events_owed(&self) -> bool {
        self.0.has_events.swap(false, Ordering::AcqRel)
    }

    /// Waits until [`ErasureSignals::take_events_owed`] would answer yes.
    pub async fn wait_events_owed(&self) {
        while !self.0.has_events.load(Ordering::Acquire) {
            self.0.wake_outbox.notified().await;
        }
    }

    /// This process carries out so many orders now.
    pub fn set_running(&self, orders: usize) {
        self.0.running.store(orders, Ordering::Relaxed);
    }

    /// How many orders this process carries out.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// Sees each time that one has come further, from now on.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.0.progress.subscribe()
    }
}

//! What all writes to one store share: how many run at once, whose turn is next, and whether the store can be reached.
//!
//! A store is a place, not a client of it: two registrations of one bucket share a gate, so that a bucket which is down is
//! asked once and not once a job. What waits at a gate is an entry in a queue: it costs no connection, no timer and no
//! line in the log.

mod owner_queues;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use self::owner_queues::OwnerQueues;
use super::{WriteError, WriteErrorKind};
use crate::clock::{SharedClock, Timestamp};
use crate::job::OwnerKey;
use crate::retry::Backoff;

/// Failures in a row, of any job, after which a store counts as one that can't be reached.
const FAILURES_MAX: u32 = 5;

/// How long such a store is left alone before one write probes it.
const PROBE_BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_secs(1), backoff_factor: 2.0, backoff_max: Duration::from_mins(1) };

/// The gate of one store: a bulkhead, whose places owners take in turn, and a circuit breaker.
pub struct StoreGate {
    /// For the log.
    store: String,
    places: usize,
    probe_backoff: Backoff,
    clock: SharedClock,
    state: Mutex<GateState>,
    outage: watch::Sender<Option<Outage>>,
}

/// That a store can't be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first of the failures was that nothing succeeded after.
    pub since: Timestamp,
    /// What the last try came to.
    pub error: String,
}

struct GateState {
    /// Writes under way.
    running: usize,
    waiting: OwnerQueues<oneshot::Sender<Pass>>,
    /// The last run of failures: how many, and since when.
    failures: u32,
    failing_since: Option<Timestamp>,
    breaker: Breaker,
}

enum Breaker {
    Closed,
    /// After `probes` failed probes.
    Open {
        probes: u32,
        probe: Probe,
    },
}

#[derive(PartialEq, Eq)]
enum Probe {
    /// It is too early for one.
    Later,
    /// The next write is one.
    Due,
    Running,
}

/// The right to write to a store once. Dropped, it says nothing about the store.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<StoreGate>,
    is_probe: bool,
    is_settled: bool,
}

impl std::fmt::Debug for StoreGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreGate").field("store", &self.store).finish_non_exhaustive()
    }
}

impl StoreGate {
    /// The gate of `store`, as the log calls it, with so many `places`.
    #[must_use]
    pub fn new(store: String, places: usize, clock: SharedClock) -> Arc<Self> {
        Self::with_probes(store, places, PROBE_BACKOFF, clock)
    }

    /// The same, probed no more rarely than every `probe_interval_max`.
    #[must_use]
    pub fn probed_within(store: String, places: usize, probe_interval_max: Duration, clock: SharedClock) -> Arc<Self> {
        let probe_backoff = Backoff { backoff_max: probe_interval_max, ..PROBE_BACKOFF };
        Self::with_probes(store, places, probe_backoff, clock)
    }

    fn with_probes(store: String, places: usize, probe_backoff: Backoff, clock: SharedClock) -> Arc<Self> {
        let state = GateState {
            running: 0,
            waiting: OwnerQueues::default(),
            failures: 0,
            failing_since: None,
            breaker: Breaker::Closed,
        };
        let outage = watch::Sender::new(None);
        Arc::new(Self { store, places: places.max(1), probe_backoff, clock, state: Mutex::new(state), outage })
    }

    /// Waits for a place, and while the store can't be reached. Dropping the future gives the wait up.
    pub async fn enter(self: &Arc<Self>, owner: OwnerKey) -> Pass {
        let (sender, receiver) = oneshot::channel();
        self.state.lock().waiting.push(owner, sender);
        self.dispatch();
        // Whoever takes a sender out of the queue sends.
        receiver.await.expect("INVARIANT: a gate keeps each sender until it sends, and is kept by its caller")
    }

    /// A place, if there is one at once and the store can be reached.
    #[must_use]
    pub fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        let mut state = self.state.lock();
        let is_free = matches!(state.breaker, Breaker::Closed) && state.running < self.places;
        is_free.then(|| {
            state.running += 1;
            self.pass(false)
        })
    }

    /// Whether the store can't be reached.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.outage.borrow().clone()
    }

    /// Waits until the store can't be reached.
    pub async fn wait_for_outage(&self) {
        // The sender lives as long as this.
        let _ = self.outage.subscribe().wait_for(Option::is_some).await;
    }

    /// Gives out as many places as there are.
    fn dispatch(self: &Arc<Self>) {
        for (waiting, is_probe) in self.next_waiting() {
            // Whoever gave up in this instant drops the pass, and with it the place.
            let _ = waiting.send(self.pass(is_probe));
        }
    }

    fn next_waiting(&self) -> Vec<(oneshot::Sender<Pass>, bool)> {
        let mut state = self.state.lock();
        let mut next = Vec::new();
        loop {
            let is_probe = match &state.breaker {
                Breaker::Closed if state.running < self.places => false,
                Breaker::Open { probe: Probe::Due, .. } => true,
                Breaker::Closed | Breaker::Open { .. } => return next,
            };
            let Some(waiting) = state.waiting.pop() else { return next };
            if waiting.is_closed() {
                continue;
            }
            state.running += 1;
            if let Breaker::Open { probe, .. } = &mut state.breaker {
                *probe = Probe::Running;
            }
            next.push((waiting, is_probe));
        }
    }

    fn pass(self: &Arc<Self>, is_probe: bool) -> Pass {
        Pass { gate: Arc::clone(self), is_probe, is_settled: false }
    }

    fn leave(self: &Arc<Self>, is_probe: bool, outcome: Outcome<'_>) {
        let mut state = self.state.lock();
        state.running -= 1;
        match outcome {
            Outcome::Reached => self.close(&mut state),
            Outcome::Failed(error) => self.count_failure(&mut state, is_probe, error),
            Outcome::Unknown => {
                if let (true, Breaker::Open { probe, .. }) = (is_probe, &mut state.breaker) {
                    *probe = Probe::Due;
                }
            }
        }
        drop(state);
        self.dispatch();
    }

    fn close(&self, state: &mut GateState) {
        state.failures = 0;
        let since = state.failing_since.take();
        if let Breaker::Open { probes, .. } = state.breaker {
            state.breaker = Breaker::Closed;
            self.outage.send_replace(None);
            let outage_s = since.map_or(0, |since| self.clock.now().since(since).as_secs());
            if probes > 0 {
                info!(store = self.store, outage_s, waiting = state.waiting.len(), "store can be reached again");
            }
        }
    }

    fn count_failure(self: &Arc<Self>, state: &mut GateState, is_probe: bool, error: &str) {
        let since = *state.failing_since.get_or_insert_with(|| self.clock.now());
        state.failures = state.failures.saturating_add(1);
        let probes = match &state.breaker {
            Breaker::Closed if state.failures < FAILURES_MAX => return,
            Breaker::Closed => 0,
            Breaker::Open { probes, .. } if is_probe => probes.saturating_add(1),
            Breaker::Open { .. } => return,
        };
        // Not before a probe has failed: a store that fails now and then opens the breaker often, and shortly.
        if probes == 1 {
            warn!(store = self.store, error, "store can't be reached; what is to be written there waits");
        }
        self.outage.send_replace(Some(Outage { since, error: error.to_owned() }));
        state.breaker = Breaker::Open { probes, probe: Probe::Later };
        self.probe_after(self.probe_backoff.wait_after(probes.saturating_add(1)));
    }

    fn probe_after(self: &Arc<Self>, wait: Duration) {
        let gate = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(gate) = gate.upgrade() {
                gate.allow_probe();
            }
        });
    }

    fn allow_probe(self: &Arc<Self>) {
        let mut state = self.state.lock();
        // Entries of jobs that were cancelled meanwhile would pile up while nothing is given out.
        state.waiting.retain(|waiting| !waiting.is_closed());
        if let Breaker::Open { probe: probe @ Probe::Later, .. } = &mut state.breaker {
            *probe = Probe::Due;
        }
        drop(state);
        self.dispatch();
    }
}

#[derive(Clone, Copy)]
enum Outcome<'a> {
    /// The store answered, be it with a refusal.
    Reached,
    Failed(&'a str),
    Unknown,
}

impl Pass {
    /// Gives the place back, and says what the write came to.
    pub fn settle<T>(mut self, result: &Result<T, WriteError>) {
        self.is_settled = true;
        let outcome = match result {
            Ok(_) => Outcome::Reached,
            Err(error) => match error.kind {
                WriteErrorKind::Refused | WriteErrorKind::Missing => Outcome::Reached,
                WriteErrorKind::Unavailable => Outcome::Failed(&error.detail),
                WriteErrorKind::Shortage
                | WriteErrorKind::Invalid
                | WriteErrorKind::SourceDamaged
                | WriteErrorKind::Cancelled => Outcome::Unknown,
            },
        };
        self.gate.leave(self.is_probe, outcome);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_settled {
            self.gate.leave(self.is_probe, Outcome::Unknown);
        }
    }
}

#[cfg(test)]
mod tests;

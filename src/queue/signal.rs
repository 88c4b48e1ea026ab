//! How things stand, for those who wait for work. A level, not an event, so that no wake-up is lost.

use std::time::Duration;

use tokio::sync::watch;

use super::store::StoreError;
use super::{Counts, QueueError};
use crate::clock::Clock;

/// Why a queue can't be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// Its disk is full.
    Full,
    /// This failed.
    Failed(&'static str),
    /// It is shut down.
    Closed,
}

impl From<&StoreError> for Down {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::StorageFull => Self::Full,
            StoreError::Failed { what, .. } => Self::Failed(what),
        }
    }
}

impl From<Down> for QueueError {
    fn from(down: Down) -> Self {
        match down {
            Down::Full => Self::StorageFull,
            Down::Failed(what) => Self::Unavailable { what: format!("{what} failed"), source: None },
            Down::Closed => Self::closed(),
        }
    }
}

/// How things stand. Times are those of [`Clock::elapsed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pulse {
    pub(super) counts: Counts,
    /// None while it works.
    pub(super) down: Option<Down>,
    /// A claim would find something.
    pub(super) claimable: bool,
    /// A claim may find something then.
    pub(super) next_ready: Option<Duration>,
    /// A delivery is due then.
    pub(super) next_delivery: Option<Duration>,
}

impl Pulse {
    fn ready_at(&self) -> Option<Duration> {
        if self.claimable { Some(Duration::ZERO) } else { self.next_ready }
    }

    /// The same counts, which nobody can rely on any more, and nothing to wait for.
    pub(super) fn down(self, why: Down) -> Self {
        Self { counts: self.counts, down: Some(why), ..Self::default() }
    }

    /// How many jobs there are, unless the queue can't say so because it can't be used.
    pub(super) fn usable_counts(self) -> Result<Counts, QueueError> {
        self.down.map_or(Ok(self.counts), |down| Err(down.into()))
    }
}

/// Where the queue shows its pulse.
#[derive(Debug)]
pub(super) struct Signal(watch::Sender<Pulse>);

impl Signal {
    pub(super) fn new(pulse: Pulse) -> Self {
        Self(watch::Sender::new(pulse))
    }

    pub(super) fn show(&self, pulse: Pulse) {
        self.0.send_if_modified(|shown| std::mem::replace(shown, pulse) != pulse);
    }

    pub(super) fn pulse(&self) -> Pulse {
        *self.0.borrow()
    }

    pub(super) async fn wait_ready(&self, clock: &dyn Clock, at_most: Duration) {
        self.wait(clock, at_most, Pulse::ready_at).await;
    }

    pub(super) async fn wait_delivery(&self, clock: &dyn Clock, at_most: Duration) {
        self.wait(clock, at_most, |pulse| pulse.next_delivery).await;
    }

    async fn wait(&self, clock: &dyn Clock, at_most: Duration, moment: impl Fn(&Pulse) -> Option<Duration>) {
        let mut shown = self.0.subscribe();
        let until_moment = async {
            loop {
                let moment = moment(&shown.borrow_and_update());
                let wait = moment.map_or(Duration::MAX, |at| at.saturating_sub(clock.elapsed()));
                if wait.is_zero() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait.min(at_most)) => return,
                    changed = shown.changed() => if changed.is_err() { return },
                }
            }
        };
        // Running out of time is one of the two ways this ends.
        let _: Result<(), _> = tokio::time::timeout(at_most, until_moment).await;
    }
}

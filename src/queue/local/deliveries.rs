//! When the owed callbacks are due. Plain data, rebuilt at every start.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::job::JobId;

#[derive(Debug, Default)]
pub(super) struct DeliverySchedule {
    owed: HashMap<JobId, ScheduledDelivery>,
    by_due: BTreeSet<(Duration, JobId)>,
}

/// One of them. Times are those of [`crate::clock::Clock::elapsed`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ScheduledDelivery {
    /// When it is due, or visible again.
    pub(super) due: Duration,
    /// Tries made.
    pub(super) attempts: u32,
}

impl DeliverySchedule {
    /// Notes a delivery, or notes it anew.
    pub(super) fn set(&mut self, id: JobId, owed: ScheduledDelivery) {
        self.remove(&id);
        self.by_due.insert((owed.due, id));
        self.owed.insert(id, owed);
    }

    pub(super) fn remove(&mut self, id: &JobId) {
        if let Some(owed) = self.owed.remove(id) {
            self.by_due.remove(&(owed.due, *id));
        }
    }

    pub(super) fn get(&self, id: &JobId) -> Option<ScheduledDelivery> {
        self.owed.get(id).copied()
    }

    /// What is due, the longest due first.
    pub(super) fn due(&self, now: Duration, limit: usize) -> Vec<JobId> {
        self.by_due.iter().take_while(|(due, _)| *due <= now).take(limit).map(|(_, id)| *id).collect()
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.by_due.first().map(|(due, _)| *due)
    }
}

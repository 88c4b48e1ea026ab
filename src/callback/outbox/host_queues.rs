//! The order of deliveries: a queue a host, hosts in turn, a few tries at once to each.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::job::JobId;

/// Deliveries that wait for their host's turn, at most, a host. More than these are left to be handed out again when
/// their lease lapses, so that a receiver that is down can't fill the memory.
const WAITING_MAX: usize = 1_000;

/// A delivery that is waiting or in flight. The job itself is looked up when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingDelivery {
    pub(super) id: JobId,
    /// Tries made before.
    pub(super) attempts: u32,
    pub(super) host: String,
}

/// Every pending delivery.
pub(super) struct HostQueues {
    in_flight_max: usize,
    by_host: HashMap<String, HostQueue>,
    /// Hosts with a delivery waiting, the next one first.
    turns: VecDeque<String>,
    /// Every delivery, waiting or in flight.
    pending: HashSet<JobId>,
}

#[derive(Default)]
struct HostQueue {
    in_flight: usize,
    waiting: VecDeque<PendingDelivery>,
}

impl HostQueues {
    /// No deliveries; later at most `in_flight_max` at once to a host.
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self { in_flight_max, by_host: HashMap::new(), turns: VecDeque::new(), pending: HashSet::new() }
    }

    /// Takes a delivery in, unless it is pending already: then it was handed out again since its lease lapsed while it
    /// waited, which has only renewed the lease.
    pub(super) fn push(&mut self, delivery: PendingDelivery) {
        let queue = self.by_host.entry(delivery.host.clone()).or_default();
        if queue.waiting.len() >= WAITING_MAX || !self.pending.insert(delivery.id) {
            return;
        }
        if queue.waiting.is_empty() {
            self.turns.push_back(delivery.host.clone());
        }
        queue.waiting.push_back(delivery);
    }

    /// The next delivery that may begin; it counts as in flight until it is finished.
    pub(super) fn next(&mut self) -> Option<PendingDelivery> {
        for _ in 0..self.turns.len() {
            let host = self.turns.pop_front()?;
            let queue = self.by_host.get_mut(&host)?;
            let delivery = if queue.in_flight < self.in_flight_max { queue.waiting.pop_front() } else { None };
            queue.in_flight += usize::from(delivery.is_some());
            if !queue.waiting.is_empty() {
                self.turns.push_back(host);
            }
            if delivery.is_some() {
                return delivery;
            }
        }
        None
    }

    /// The delivery is no longer in flight.
    pub(super) fn finish(&mut self, delivery: &PendingDelivery) {
        self.pending.remove(&delivery.id);
        let Some(queue) = self.by_host.get_mut(&delivery.host) else { return };
        queue.in_flight = queue.in_flight.saturating_sub(1);
        if queue.in_flight == 0 && queue.waiting.is_empty() {
            self.by_host.remove(&delivery.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(n: u32, host: &str) -> PendingDelivery {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PendingDelivery { id: JobId::from_bytes(bytes), attempts: 0, host: host.to_owned() }
    }

    fn begun(queues: &mut HostQueues) -> Vec<String> {
        std::iter::from_fn(|| queues.next()).map(|delivery| delivery.host).collect()
    }

    #[test]
    fn a_busy_host_leaves_room_for_the_others() {
        let mut queues = HostQueues::new(2);
        for n in 0..10 {
            queues.push(delivery(n, "slow"));
        }
        queues.push(delivery(10, "quick"));
        assert_eq!(begun(&mut queues), ["slow", "quick", "slow"]);
        queues.finish(&delivery(0, "slow"));
        assert_eq!(queues.next(), Some(delivery(2, "slow")), "first in, first out");
        assert_eq!(queues.next(), None);
    }

    #[test]
    fn a_pending_delivery_is_not_queued_twice() {
        let mut queues = HostQueues::new(4);
        queues.push(delivery(1, "a"));
        queues.push(delivery(1, "a"));
        assert_eq!(begun(&mut queues).len(), 1);
        queues.push(delivery(1, "a"));
        assert_eq!(queues.next(), None, "still in flight");
        queues.finish(&delivery(1, "a"));
        queues.push(delivery(1, "a"));
        assert_eq!(queues.next(), Some(delivery(1, "a")));
    }

    #[test]
    fn a_queue_is_bounded_and_leaves_nothing_behind() {
        let mut queues = HostQueues::new(1);
        for n in 0..2 * u32::try_from(WAITING_MAX).unwrap_or(u32::MAX) {
            queues.push(delivery(n, "down"));
        }
        let mut seen = 0;
        while let Some(delivery) = queues.next() {
            queues.finish(&delivery);
            seen += 1;
        }
        assert_eq!(seen, WAITING_MAX);
        assert!(queues.by_host.is_empty() && queues.turns.is_empty() && queues.pending.is_empty());
    }
}

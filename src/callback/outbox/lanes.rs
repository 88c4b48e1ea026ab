//! Whose turn it is: a lane a host, hosts in turn, a few tries at once in each.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::job::JobId;

/// Deliveries that wait for their host's turn, at most, a host. More than these are left to be handed out again when
/// their lease lapses, so that a receiver that is down can't fill the memory.
const WAITING_MAX: usize = 1_000;

/// A delivery in hand. The job itself is looked up when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) id: JobId,
    /// Tries made before.
    pub(super) attempts: u32,
    pub(super) host: String,
}

/// Every delivery in hand.
pub(super) struct Lanes {
    in_flight_max: usize,
    by_host: HashMap<String, Lane>,
    /// Hosts with someone waiting, next turn first.
    turns: VecDeque<String>,
    /// Everyone, waiting or in flight.
    in_hand: HashSet<JobId>,
}

#[derive(Default)]
struct Lane {
    in_flight: usize,
    waiting: VecDeque<Ticket>,
}

impl Lanes {
    /// No deliveries; later at most `in_flight_max` at once to a host.
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self { in_flight_max, by_host: HashMap::new(), turns: VecDeque::new(), in_hand: HashSet::new() }
    }

    /// Takes a delivery in, unless it is in hand already: then it was handed out again since its lease lapsed while it
    /// waited, which has only renewed the lease.
    pub(super) fn take_in(&mut self, ticket: Ticket) {
        let lane = self.by_host.entry(ticket.host.clone()).or_default();
        if lane.waiting.len() >= WAITING_MAX || !self.in_hand.insert(ticket.id) {
            return;
        }
        if lane.waiting.is_empty() {
            self.turns.push_back(ticket.host.clone());
        }
        lane.waiting.push_back(ticket);
    }

    /// The next delivery that may begin; it counts as in flight until it leaves.
    pub(super) fn next(&mut self) -> Option<Ticket> {
        for _ in 0..self.turns.len() {
            let host = self.turns.pop_front()?;
            let lane = self.by_host.get_mut(&host)?;
            let ticket = if lane.in_flight < self.in_flight_max { lane.waiting.pop_front() } else { None };
            lane.in_flight += usize::from(ticket.is_some());
            if !lane.waiting.is_empty() {
                self.turns.push_back(host);
            }
            if ticket.is_some() {
                return ticket;
            }
        }
        None
    }

    /// The delivery is no longer in flight.
    pub(super) fn leave(&mut self, ticket: &Ticket) {
        self.in_hand.remove(&ticket.id);
        let Some(lane) = self.by_host.get_mut(&ticket.host) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        if lane.in_flight == 0 && lane.waiting.is_empty() {
            self.by_host.remove(&ticket.host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(n: u32, host: &str) -> Ticket {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Ticket { id: JobId::from_bytes(bytes), attempts: 0, host: host.to_owned() }
    }

    fn begun(lanes: &mut Lanes) -> Vec<String> {
        std::iter::from_fn(|| lanes.next()).map(|ticket| ticket.host).collect()
    }

    #[test]
    fn a_busy_host_leaves_room_for_the_others() {
        let mut lanes = Lanes::new(2);
        for n in 0..10 {
            lanes.take_in(ticket(n, "slow"));
        }
        lanes.take_in(ticket(10, "quick"));
        assert_eq!(begun(&mut lanes), ["slow", "quick", "slow"]);
        lanes.leave(&ticket(0, "slow"));
        assert_eq!(lanes.next(), Some(ticket(2, "slow")), "first in, first out");
        assert_eq!(lanes.next(), None);
    }

    #[test]
    fn what_is_in_hand_is_not_taken_twice() {
        let mut lanes = Lanes::new(4);
        lanes.take_in(ticket(1, "a"));
        lanes.take_in(ticket(1, "a"));
        assert_eq!(begun(&mut lanes).len(), 1);
        lanes.take_in(ticket(1, "a"));
        assert_eq!(lanes.next(), None, "still in flight");
        lanes.leave(&ticket(1, "a"));
        lanes.take_in(ticket(1, "a"));
        assert_eq!(lanes.next(), Some(ticket(1, "a")));
    }

    #[test]
    fn a_lane_is_bounded_and_leaves_nothing_behind() {
        let mut lanes = Lanes::new(1);
        for n in 0..2 * u32::try_from(WAITING_MAX).unwrap_or(u32::MAX) {
            lanes.take_in(ticket(n, "down"));
        }
        let mut seen = 0;
        while let Some(ticket) = lanes.next() {
            lanes.leave(&ticket);
            seen += 1;
        }
        assert_eq!(seen, WAITING_MAX);
        assert!(lanes.by_host.is_empty() && lanes.turns.is_empty() && lanes.in_hand.is_empty());
    }
}

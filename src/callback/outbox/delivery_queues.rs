//! The order of deliveries: users in turn, inside a user its owners, inside an owner the hosts, each host's first in, first out.
//!
//! There are places for so many tries at once, and a quarter as many more that only a tenant with no try under way may take;
//! so too for each host. Thus whoever calls receivers that never answer takes no place from another.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use crate::job::{DeliveryId, Owner, OwnerKey, TenantKey, UserKey};

/// Deliveries of one owner that wait, at most. More than these are left to be handed out again when their lease lapses, so
/// that a receiver that is down can't fill the memory.
const WAITING_MAX: usize = 1_000;

/// A delivery that is waiting or in flight. The job itself is looked up when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingDelivery {
    pub(super) id: DeliveryId,
    /// Tries made before.
    pub(super) attempts: u32,
    pub(super) user: UserKey,
    pub(super) owner: OwnerKey,
    pub(super) tenant: TenantKey,
    pub(super) host: String,
}

impl PendingDelivery {
    pub(super) fn new(id: DeliveryId, attempts: u32, owner: &Owner, host: String) -> Self {
        Self { id, attempts, user: owner.user_key(), owner: owner.digest(), tenant: owner.tenant_key(), host }
    }
}

/// Every pending delivery.
pub(super) struct DeliveryQueues {
    places: usize,
    places_of_host: usize,
    /// What waits. None of the rows is empty.
    users: Row<UserKey, Row<OwnerKey, OwnerQueue>>,
    in_flight: usize,
    in_flight_of_host: HashMap<String, usize>,
    in_flight_of_tenant: HashMap<TenantKey, usize>,
    /// Every delivery, waiting or in flight.
    pending: HashSet<DeliveryId>,
}

/// Who waits, the next first.
type Row<K, V> = VecDeque<(K, V)>;

#[derive(Default)]
struct OwnerQueue {
    hosts: Row<String, VecDeque<PendingDelivery>>,
    waiting: usize,
}

impl DeliveryQueues {
    /// No deliveries; later at most `places` at once, and `places_of_host` to one host, besides the spare ones.
    pub(super) fn new(places: usize, places_of_host: usize) -> Self {
        Self {
            places,
            places_of_host,
            users: VecDeque::new(),
            in_flight: 0,
            in_flight_of_host: HashMap::new(),
            in_flight_of_tenant: HashMap::new(),
            pending: HashSet::new(),
        }
    }

    /// Takes a delivery in, unless it is pending already: then it was handed out again since its lease lapsed while it
    /// waited, which has only renewed the lease.
    pub(super) fn push(&mut self, delivery: PendingDelivery) {
        if self.pending.contains(&delivery.id) {
            return;
        }
        let owner = entry(entry(&mut self.users, delivery.user), delivery.owner);
        if owner.waiting >= WAITING_MAX {
            return;
        }
        self.pending.insert(delivery.id);
        owner.waiting += 1;
        entry(&mut owner.hosts, delivery.host.clone()).push_back(delivery);
    }

    /// The next delivery that may begin; it counts as in flight until it is finished.
    pub(super) fn next(&mut self) -> Option<PendingDelivery> {
        let places = Places {
            free: self.places > self.in_flight,
            of_host: self.places_of_host,
            in_flight_of_host: &self.in_flight_of_host,
            in_flight_of_tenant: &self.in_flight_of_tenant,
        };
        if !self.has_place() {
            return None;
        }
        let delivery = take_turn(
            &mut self.users,
            |owners| {
                take_turn(
                    owners,
                    |owner| {
                        let delivery = take_turn(
                            &mut owner.hosts,
                            |waiting| waiting.pop_front_if(|delivery| places.are_free_for(delivery)),
                            VecDeque::is_empty,
                        )?;
                        owner.waiting -= 1;
                        Some(delivery)
                    },
                    |owner| owner.hosts.is_empty(),
                )
            },
            VecDeque::is_empty,
        )?;
        self.in_flight += 1;
        *self.in_flight_of_host.entry(delivery.host.clone()).or_default() += 1;
        *self.in_flight_of_tenant.entry(delivery.tenant).or_default() += 1;
        Some(delivery)
    }

    /// Whether there is a place at all, for a tenant with no try under way at least.
    pub(super) fn has_place(&self) -> bool {
        self.in_flight < self.places + spare(self.places)
    }

    /// The delivery is no longer in flight.
    pub(super) fn finish(&mut self, delivery: &PendingDelivery) {
        self.pending.remove(&delivery.id);
        self.in_flight = self.in_flight.saturating_sub(1);
        decrement(&mut self.in_flight_of_host, &delivery.host);
        decrement(&mut self.in_flight_of_tenant, &delivery.tenant);
    }
}

/// Places besides the regular ones.
fn spare(places: usize) -> usize {
    places.div_ceil(4)
}

/// What is taken already.
struct Places<'a> {
    /// Whether there is a regular one.
    free: bool,
    of_host: usize,
    in_flight_of_host: &'a HashMap<String, usize>,
    in_flight_of_tenant: &'a HashMap<TenantKey, usize>,
}

impl Places<'_> {
    fn are_free_for(&self, delivery: &PendingDelivery) -> bool {
        let at_host = self.in_flight_of_host.get(&delivery.host).copied().unwrap_or_default();
        if self.in_flight_of_tenant.contains_key(&delivery.tenant) {
            return self.free && at_host < self.of_host;
        }
        at_host < self.of_host + spare(self.of_host)
    }
}

/// What is behind `key` in the row, at its end if it is new.
fn entry<K: PartialEq, V: Default>(row: &mut Row<K, V>, key: K) -> &mut V {
    let at = row.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
        row.push_back((key, V::default()));
        row.len() - 1
    });
    &mut row[at].1
}

/// Takes from the first in the row that has something to take, and sends that one to the row's end, or away if it is empty.
fn take_turn<K, V, T>(
    row: &mut Row<K, V>,
    mut take: impl FnMut(&mut V) -> Option<T>,
    is_empty: impl Fn(&V) -> bool,
) -> Option<T> {
    let (at, taken) = row.iter_mut().enumerate().find_map(|(at, (_, value))| Some((at, take(value)?)))?;
    if let Some(served) = row.remove(at).filter(|(_, value)| !is_empty(value)) {
        row.push_back(served);
    }
    Some(taken)
}

fn decrement<K: Eq + Hash + Clone>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobId;

    fn delivery_of(owner: &Owner, n: u32, host: &str) -> PendingDelivery {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PendingDelivery::new(DeliveryId::of_file(JobId::from_bytes(bytes), 0), 0, owner, host.to_owned())
    }

    fn owner(user: Option<&str>, sub: &str) -> Owner {
        Owner { user: user.map(str::to_owned), access_key: None, sub: sub.to_owned() }
    }

    fn delivery(n: u32, host: &str) -> PendingDelivery {
        delivery_of(&owner(None, "a"), n, host)
    }

    fn begun(queues: &mut DeliveryQueues) -> Vec<String> {
        std::iter::from_fn(|| queues.next()).map(|delivery| delivery.host).collect()
    }

    #[test]
    fn a_busy_host_leaves_room_for_the_others() {
        let mut queues = DeliveryQueues::new(16, 2);
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
        let mut queues = DeliveryQueues::new(16, 4);
        queues.push(delivery(1, "a"));
        queues.push(delivery(1, "a"));
        assert_eq!(begun(&mut queues).len(), 1);
        queues.push(delivery(1, "a"));
        assert_eq!(queues.next(), None, "still in flight");
        queues.finish(&delivery(1, "a"));
        queues.push(delivery(1, "a"));
        assert_eq!(queues.next(), Some(delivery(1, "a")));
        assert!(queues.users.is_empty());
    }

    #[test]
    fn a_queue_is_bounded_and_leaves_nothing_behind() {
        let mut queues = DeliveryQueues::new(1, 1);
        for n in 0..2 * u32::try_from(WAITING_MAX).unwrap_or(u32::MAX) {
            queues.push(delivery(n, ["down", "away"][n as usize % 2]));
        }
        let mut seen = 0;
        while let Some(delivery) = queues.next() {
            queues.finish(&delivery);
            seen += 1;
        }
        assert_eq!(seen, WAITING_MAX);
        assert!(queues.users.is_empty() && queues.pending.is_empty());
        assert!(queues.in_flight_of_host.is_empty() && queues.in_flight_of_tenant.is_empty());
    }

    #[test]
    fn whoever_calls_hosts_that_never_answer_takes_no_place_from_another() {
        for hosts in [1, 160] {
            let mut queues = DeliveryQueues::new(16, 4);
            let greedy: [Owner; 120] = std::array::from_fn(|sub| owner(Some("greedy"), &format!("sub-{sub}")));
            for n in 0..160 {
                let host = format!("tarpit-{}", n % hosts);
                queues.push(delivery_of(&greedy[n as usize % greedy.len()], n, &host));
            }
            let held = begun(&mut queues).len();
            assert_eq!(held, if hosts == 1 { 4 } else { 16 }, "as many as there are, and no spare one");
            assert!(queues.has_place());
            // Not even at the very host that is busy.
            for (n, host) in [(1_000, "quick"), (1_001, "tarpit-0")] {
                let other = delivery_of(&owner(None, host), n, host);
                queues.push(other.clone());
                assert_eq!(queues.next(), Some(other));
            }
        }
    }

    #[test]
    fn users_have_places_in_turn_and_inside_them_their_owners() {
        let mut queues = DeliveryQueues::new(6, 6);
        let owners = [owner(Some("a"), "1"), owner(Some("a"), "2"), owner(Some("b"), "1")];
        for n in 0..12 {
            queues.push(delivery_of(&owners[n as usize / 4], n, "host"));
        }
        let order: Vec<_> = std::iter::from_fn(|| queues.next()).map(|begun| begun.owner).collect();
        let [a1, a2, b] = owners.map(|owner| owner.digest());
        assert_eq!(order, [a1, b, a2, b, a1, b]);
    }
}

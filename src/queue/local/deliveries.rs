//! When the owed callbacks are due. Plain data, rebuilt at every start. Times are those of [`crate::clock::Clock::elapsed`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{DeliveryId, DeliverySubject, JobId, Owner, OwnerKey, UserKey};
use crate::queue::OwedCallbacks;

#[derive(Debug, Default)]
pub(super) struct DeliverySchedule {
    owed: BTreeMap<DeliveryId, ScheduledDelivery>,
    by_owner: HashMap<OwnerKey, OwnerDeliveries>,
    /// Every owner by what of theirs is due first.
    firsts: BTreeSet<(Duration, OwnerKey)>,
    /// By when what they tell of happened.
    by_age: BTreeSet<(Timestamp, DeliveryId)>,
}

#[derive(Debug)]
struct OwnerDeliveries {
    user: UserKey,
    by_due: BTreeSet<(Duration, DeliveryId)>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct ScheduledDelivery {
    /// When it is due, or visible again.
    pub(super) due: Duration,
    /// Tries made.
    pub(super) attempts: u32,
    /// Whose job it tells about.
    pub(super) owner: Owner,
    /// The host that is to be called.
    pub(super) host: String,
    /// When what it tells of happened.
    pub(super) since: Timestamp,
}

impl DeliverySchedule {
    /// Notes a delivery, or notes it anew.
    pub(super) fn set(&mut self, id: DeliveryId, owed: ScheduledDelivery) {
        self.remove(&id);
        let (user, due) = (owed.owner.user_key(), owed.due);
        self.change(owed.owner.digest(), user, |by_due| by_due.insert((due, id)));
        self.by_age.insert((owed.since, id));
        self.owed.insert(id, owed);
    }

    pub(super) fn remove(&mut self, id: &DeliveryId) {
        if let Some(owed) = self.owed.remove(id) {
            self.by_age.remove(&(owed.since, *id));
            self.change(owed.owner.digest(), owed.owner.user_key(), |by_due| by_due.remove(&(owed.due, *id)));
        }
    }

    pub(super) fn get(&self, id: &DeliveryId) -> Option<&ScheduledDelivery> {
        self.owed.get(id)
    }

    /// Those about a job.
    pub(super) fn of_job(&self, job: JobId) -> impl Iterator<Item = DeliveryId> {
        let from = DeliveryId { job, subject: DeliverySubject::End };
        self.owed.range(from..).map(|(id, _)| *id).take_while(move |id| id.job == job)
    }

    /// What is due: users in turn, inside a user its owners, of each the longest due first. So nobody's is behind all of
    /// another's, however many those are.
    pub(super) fn due(&self, now: Duration, limit: usize) -> Vec<DeliveryId> {
        let mut users: Vec<(UserKey, VecDeque<_>)> = Vec::new();
        let mut row_of: HashMap<UserKey, usize> = HashMap::new();
        for (_, owner) in self.firsts.iter().take_while(|(due, _)| *due <= now) {
            let Some(deliveries) = self.by_owner.get(owner) else { continue };
            let row = *row_of.entry(deliveries.user).or_insert_with(|| {
                users.push((deliveries.user, VecDeque::new()));
                users.len() - 1
            });
            users[row].1.push_back(deliveries.by_due.iter().take_while(|(due, _)| *due <= now));
        }
        let mut ids = Vec::new();
        while ids.len() < limit && !users.is_empty() {
            users.retain_mut(|(_, owners)| {
                let Some(mut owner) = owners.pop_front() else { return false };
                if let Some((_, id)) = owner.next() {
                    ids.push(*id);
                    owners.push_back(owner);
                }
                true
            });
        }
        ids.truncate(limit);
        ids
    }

    /// How many there are, and how long the oldest waits.
    pub(super) fn owed(&self) -> OwedCallbacks {
        OwedCallbacks { count: self.owed.len() as u64, oldest: self.by_age.first().map(|(since, _)| *since) }
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.firsts.first().map(|(due, _)| *due)
    }

    /// Changes what an owner has, and keeps the order of owners right.
    fn change(
        &mut self,
        owner: OwnerKey,
        user: UserKey,
        change: impl FnOnce(&mut BTreeSet<(Duration, DeliveryId)>) -> bool,
    ) {
        let deliveries =
            self.by_owner.entry(owner).or_insert_with(|| OwnerDeliveries { user, by_due: BTreeSet::new() });
        if let Some((due, _)) = deliveries.by_due.first() {
            self.firsts.remove(&(*due, owner));
        }
        change(&mut deliveries.by_due);
        match deliveries.by_due.first() {
            Some((due, _)) => {
                self.firsts.insert((*due, owner));
            }
            None => {
                self.by_owner.remove(&owner);
            }
        }
    }
}

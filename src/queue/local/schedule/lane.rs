//! One priority's ready jobs: users take turns, inside a user its owners do, and each owner's jobs go first in, first out.

use std::collections::{BTreeSet, HashMap};

use super::LiveJob;
use super::turns::Turns;
use crate::job::{JobId, OwnerKey, UserKey};

#[derive(Debug, Default)]
pub(super) struct PriorityLane {
    /// Kept when they are empty, since they know who was served last: as many as there ever were registered users.
    users: HashMap<UserKey, UserLane>,
    /// Every user with a job that waits, once.
    turns: Turns<UserKey>,
}

#[derive(Debug, Default)]
struct UserLane {
    waiting: HashMap<OwnerKey, BTreeSet<(u64, JobId)>>,
    /// Every owner in `waiting`, once.
    turns: Turns<OwnerKey>,
}

impl PriorityLane {
    pub(super) fn insert(&mut self, live: &LiveJob) {
        let user = self.users.entry(live.user).or_default();
        if user.waiting.is_empty() {
            self.turns.join(live.user);
        }
        let waiting = user.waiting.entry(live.owner).or_default();
        if waiting.is_empty() {
            user.turns.join(live.owner);
        }
        waiting.insert((live.seq, live.id));
    }

    pub(super) fn remove(&mut self, live: &LiveJob) {
        let Some(user) = self.users.get_mut(&live.user) else { return };
        let Some(waiting) = user.waiting.get_mut(&live.owner) else { return };
        waiting.remove(&(live.seq, live.id));
        if waiting.is_empty() {
            user.waiting.remove(&live.owner);
            user.turns.leave(live.owner);
        }
        if user.waiting.is_empty() {
            self.turns.leave(live.user);
        }
    }

    /// Ends the turn of a job's user, and of its owner among that user's.
    pub(super) fn end_turn(&mut self, live: &LiveJob) {
        self.turns.end_turn(live.user);
        if let Some(user) = self.users.get_mut(&live.user) {
            user.turns.end_turn(live.owner);
        }
    }

    /// The first job of every owner whose user is one of `users`, in the order of their turns.
    pub(super) fn first_jobs(&self, users: impl Fn(&UserKey) -> bool) -> impl Iterator<Item = JobId> {
        let users = self.turns.iter().filter(move |user| users(user)).filter_map(|user| self.users.get(user));
        users.flat_map(|user| {
            let waiting = user.turns.iter().filter_map(|owner| user.waiting.get(owner));
            waiting.filter_map(BTreeSet::first).map(|(_, id)| *id)
        })
    }
}

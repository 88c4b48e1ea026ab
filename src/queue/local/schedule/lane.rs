//! One priority's ready jobs: owners take turns, and each owner's jobs go first in, first out.
//!
//! An owner who comes while the last in the row has only just been served goes before that one, who has had a turn while
//! the newcomer has had none. Each turn is overtaken in this way once at most, so that a stream of new owners can't starve
//! the others.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::OwnerKey;
use crate::job::JobId;

#[derive(Debug, Default)]
pub(super) struct PriorityLane {
    waiting: HashMap<OwnerKey, BTreeSet<(u64, JobId)>>,
    /// Every owner in `waiting` once, whose turn is next first.
    turns: VecDeque<OwnerKey>,
    /// The one that was served last, unless it has been overtaken since. It may have left the row, and come back.
    just_served: Option<OwnerKey>,
}

impl PriorityLane {
    pub(super) fn insert(&mut self, owner: OwnerKey, seq: u64, id: JobId) {
        let waiting = self.waiting.entry(owner).or_default();
        if waiting.is_empty() {
            self.turns.push_back(owner);
            let at = self.turns.len() - 1;
            if at > 0 && self.just_served == Some(self.turns[at - 1]) {
                self.turns.swap(at - 1, at);
                self.just_served = None;
            }
        }
        waiting.insert((seq, id));
    }

    pub(super) fn first(&self) -> Option<JobId> {
        let waiting = self.waiting.get(self.turns.front()?)?;
        waiting.first().map(|(_, id)| *id)
    }

    /// Sends an owner who has just been served behind the others.
    pub(super) fn end_turn(&mut self, owner: &OwnerKey) {
        if let Some(at) = self.turns.iter().position(|waiting| waiting == owner) {
            self.turns.remove(at);
            self.turns.push_back(*owner);
            self.just_served = Some(*owner);
        }
    }

    pub(super) fn remove(&mut self, owner: &OwnerKey, seq: u64, id: JobId) {
        let Some(waiting) = self.waiting.get_mut(owner) else { return };
        waiting.remove(&(seq, id));
        if waiting.is_empty() {
            self.waiting.remove(owner);
            self.turns.retain(|waiting| waiting != owner);
        }
    }
}

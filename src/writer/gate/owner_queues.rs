//! What waits, owners in turn: each owner's first in, first out.

use std::collections::{HashMap, VecDeque};

use crate::job::OwnerKey;

/// A queue of queues.
#[derive(Debug)]
pub(super) struct OwnerQueues<T> {
    waiting: HashMap<OwnerKey, VecDeque<T>>,
    /// Every owner in `waiting`, once, the next one first.
    owners: VecDeque<OwnerKey>,
}

impl<T> Default for OwnerQueues<T> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), owners: VecDeque::new() }
    }
}

impl<T> OwnerQueues<T> {
    pub(super) fn push(&mut self, owner: OwnerKey, item: T) {
        let items = self.waiting.entry(owner).or_default();
        if items.is_empty() {
            self.owners.push_back(owner);
        }
        items.push_back(item);
    }

    /// The first of the owner whose turn it is, who is the last in line from then on.
    pub(super) fn pop(&mut self) -> Option<T> {
        let owner = self.owners.pop_front()?;
        let items = self.waiting.get_mut(&owner)?;
        let item = items.pop_front();
        if items.is_empty() {
            self.waiting.remove(&owner);
        } else {
            self.owners.push_back(owner);
        }
        item
    }

    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        self.waiting.retain(|_, items| {
            items.retain(&mut is_kept);
            !items.is_empty()
        });
        self.owners.retain(|owner| self.waiting.contains_key(owner));
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_take_turns_and_each_of_them_is_served_in_order() {
        let mut queues = OwnerQueues::default();
        for (owner, item) in [(1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e"), (2, "f")] {
            queues.push([owner; 32], item);
        }
        assert_eq!(queues.len(), 6);
        queues.retain(|item| *item != "e");
        let order: Vec<_> = std::iter::from_fn(|| queues.pop()).collect();
        assert_eq!(order, ["a", "d", "b", "f", "c"]);
        queues.push([1; 32], "g");
        assert_eq!((queues.pop(), queues.pop(), queues.len()), (Some("g"), None, 0));
    }
}

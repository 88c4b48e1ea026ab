//! A row of those who take turns.
//!
//! Who comes while the last in the row has only just been served goes before that one, who has had a turn while the newcomer
//! has had none. Each turn is overtaken in this way once at most, so that a stream of newcomers can't starve the others.

use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Turns<K> {
    /// Whose turn is next first.
    row: VecDeque<K>,
    /// The one that was served last, unless it has been overtaken since. It may have left the row, and come back.
    just_served: Option<K>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { row: VecDeque::new(), just_served: None }
    }
}

impl<K: Copy + PartialEq> Turns<K> {
    /// Takes in one who isn't in the row.
    pub(super) fn join(&mut self, newcomer: K) {
        self.row.push_back(newcomer);
        let at = self.row.len() - 1;
        if at > 0 && self.just_served == Some(self.row[at - 1]) {
            self.row.swap(at - 1, at);
            self.just_served = None;
        }
    }

    pub(super) fn leave(&mut self, who: K) {
        self.row.retain(|waiting| *waiting != who);
    }

    /// Sends one who has just been served behind the others.
    pub(super) fn end_turn(&mut self, who: K) {
        if let Some(at) = self.row.iter().position(|waiting| *waiting == who) {
            self.row.remove(at);
            self.row.push_back(who);
            self.just_served = Some(who);
        }
    }

    /// Everyone, whose turn is next first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.row.iter()
    }
}

//! Whose turn it is, and what the memory at hand allows.

use std::time::Duration;

use super::{LiveJob, PriorityLane, Schedule};
use crate::job::{JobId, UserKey};
use crate::queue::{PASS_MAX, Place};

/// What a claim is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::local) enum Choice {
    /// Give out this job.
    Job(JobId),
    /// Wait until there are so many bytes of memory.
    Short(u64),
    /// There is none for this place.
    Nothing,
}

impl Schedule {
    /// The job to give out for `place`, if it takes no more than `memory`. It stays where it is until it is
    /// [`Schedule::lease`]d.
    pub(in crate::queue::local) fn choose(&mut self, now: Duration, place: Place, memory: u64) -> Choice {
        self.promote(now);
        if self.making.values().any(|live| self.runs_alone(live)) {
            return Choice::Nothing;
        }
        if let Some((_, id)) = self.exclusive.first() {
            return if self.making.is_empty() { self.choose_of(std::iter::once(*id), memory) } else { Choice::Nothing };
        }
        let Some(head) = self.in_turn(|_| true).next() else { return Choice::Nothing };
        if place == Place::Regular {
            if self.memory(&head) <= memory {
                return Choice::Job(head);
            }
            self.note_short(&head, now);
        }
        match self.holder(&head, now) {
            None => self.choose_of(self.candidates(place), memory),
            // The head itself among them, or what waits for it would not know for how much.
            Some(holder) => {
                let candidates = self.candidates(place).filter(|id| *id == head || self.passes_hold(id, &holder));
                self.choose_of(candidates, memory)
            }
        }
    }

    /// What `place` may be given, in the order of turns.
    fn candidates(&self, place: Place) -> Box<dyn Iterator<Item = JobId> + '_> {
        match place {
            Place::Regular => Box::new(self.in_turn(|_| true)),
            // A user of whom nothing is made before the `sub`s of one of whom something is.
            Place::Spare => {
                let idle = self.in_turn(|user| self.is_idle(user));
                let busy = self.in_turn(|user| !self.is_idle(user));
                Box::new(idle.chain(busy.filter(|id| self.job(id).is_some_and(|live| self.is_unserved(live)))))
            }
        }
    }

    fn choose_of(&self, candidates: impl Iterator<Item = JobId>, memory: u64) -> Choice {
        let mut least = None;
        for id in candidates {
            let takes = self.memory(&id);
            if takes <= memory {
                return Choice::Job(id);
            }
            least = Some(least.map_or(takes, |least: u64| least.min(takes)));
        }
        least.map_or(Choice::Nothing, Choice::Short)
    }

    /// The head, if it has waited for memory for so long that it holds the others.
    fn holder(&self, head: &JobId, now: Duration) -> Option<LiveJob> {
        let (live, _) = self.jobs.get(head)?;
        let since = self.short_since.get(head)?;
        (now.saturating_sub(*since) >= PASS_MAX).then_some(*live)
    }

    /// A tenant of whom something is made can't hold one of whom nothing is: as soon as it is made, and the tenant still
    /// waits, it holds them all.
    fn passes_hold(&self, id: &JobId, holder: &LiveJob) -> bool {
        !self.is_unserved(holder) && self.job(id).is_some_and(|live| self.is_unserved(live))
    }

    fn note_short(&mut self, id: &JobId, now: Duration) {
        self.short_since.entry(*id).or_insert(now);
    }

    /// The first job of every owner of these users, in the order of their turns, one lane after the other.
    fn in_turn(&self, users: impl Fn(&UserKey) -> bool + Copy) -> impl Iterator<Item = JobId> {
        let [first, second]: [&PriorityLane; 2] = if self.realtime_run >= self.realtime_run_max {
            [&self.queued, &self.realtime]
        } else {
            [&self.realtime, &self.queued]
        };
        first.first_jobs(users).chain(second.first_jobs(users))
    }

    /// Whether nothing is being made of a user.
    fn is_idle(&self, user: &UserKey) -> bool {
        !self.making.values().any(|live| live.user == *user)
    }

    /// Whether nothing is being made of a job's tenant.
    fn is_unserved(&self, live: &LiveJob) -> bool {
        !self.making.values().any(|made| made.tenant == live.tenant)
    }

    fn job(&self, id: &JobId) -> Option<&LiveJob> {
        self.jobs.get(id).map(|(live, _)| live)
    }

    fn memory(&self, id: &JobId) -> u64 {
        self.job(id).map_or(0, |live| live.memory)
    }
}

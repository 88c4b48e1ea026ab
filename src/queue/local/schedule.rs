//! Which job is next: lanes, turns, delays, leases and crashes of the live jobs. Plain data, rebuilt at every start.
//! Times are those of [`crate::clock::Clock::elapsed`], which never jump.

mod lane;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use lane::PriorityLane;

use crate::job::{JobId, Priority};

/// Stands for an owner.
pub(super) type OwnerKey = [u8; 32];

/// What the schedule has to know of a live job.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveJob {
    pub(super) id: JobId,
    pub(super) seq: u64,
    pub(super) priority: Priority,
    pub(super) owner: OwnerKey,
    /// It took its worker down before.
    pub(super) crashed: bool,
    /// Bytes of memory that it takes.
    pub(super) memory: u64,
}

#[derive(Clone, Copy, Debug)]
enum Availability {
    Ready,
    Delayed(Duration),
    Leased { token: u64, expires: Duration },
}

/// Whether a job that crashed runs beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrashIsolation {
    /// It waits until nothing else is processing, and halts other claims until it has run.
    Exclusive,
    /// It does: it runs in a child process of its own and can take no other job along.
    Shared,
}

/// The live jobs and their order.
#[derive(Debug)]
pub(super) struct Schedule {
    jobs: HashMap<JobId, (LiveJob, Availability)>,
    realtime: PriorityLane,
    queued: PriorityLane,
    /// Ready jobs that run alone.
    exclusive: BTreeSet<(u64, JobId)>,
    delayed: BTreeSet<(Duration, u64, JobId)>,
    leases: BTreeSet<(Duration, JobId)>,
    depth_of: HashMap<OwnerKey, usize>,
    isolation: CrashIsolation,
    exclusive_runs: bool,
    /// Claims from the realtime lane since the last from the queued one.
    realtime_run: u32,
    realtime_run_max: u32,
}

impl Schedule {
    pub(super) fn new(isolation: CrashIsolation, realtime_run_max: u32) -> Self {
        Self {
            jobs: HashMap::new(),
            realtime: PriorityLane::default(),
            queued: PriorityLane::default(),
            exclusive: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leases: BTreeSet::new(),
            depth_of: HashMap::new(),
            isolation,
            exclusive_runs: false,
            realtime_run: 0,
            realtime_run_max: realtime_run_max.max(1),
        }
    }

    /// Takes a job in, or lets one wait in its old place: ready from then on, or at once.
    pub(super) fn wait(&mut self, live: LiveJob, not_before: Option<Duration>) {
        self.remove(&live.id);
        let availability = not_before.map_or(Availability::Ready, Availability::Delayed);
        self.insert(live, availability);
    }

    /// Removes a job.
    pub(super) fn remove(&mut self, id: &JobId) {
        let Some((live, availability)) = self.jobs.remove(id) else { return };
        match availability {
            Availability::Ready => self.unready(&live),
            Availability::Delayed(until) => {
                self.delayed.remove(&(until, live.seq, live.id));
            }
            Availability::Leased { expires, .. } => {
                self.leases.remove(&(expires, live.id));
                // One that runs alone is the only one that runs.
                self.exclusive_runs = self.exclusive_runs && !live.crashed;
            }
        }
        if let Some(depth) = self.depth_of.get_mut(&live.owner) {
            *depth -= 1;
            if *depth == 0 {
                self.depth_of.remove(&live.owner);
            }
        }
    }

    /// The job whose turn it is. It stays where it is until it is [`Schedule::lease`]d.
    pub(super) fn next(&mut self, now: Duration) -> Option<JobId> {
        self.promote(now);
        if self.exclusive_runs {
            return None;
        }
        if let Some((_, id)) = self.exclusive.first() {
            return self.leases.is_empty().then_some(*id);
        }
        let queued_first = self.realtime_run >= self.realtime_run_max;
        let (first, second) =
            if queued_first { (&self.queued, &self.realtime) } else { (&self.realtime, &self.queued) };
        first.first().or_else(|| second.first())
    }

    /// Bytes of memory that a job takes.
    pub(super) fn memory(&self, id: &JobId) -> u64 {
        self.jobs.get(id).map_or(0, |(live, _)| live.memory)
    }

    /// Gives a waiting job, or one whose lease was lost with a store, to whoever holds `token`.
    pub(super) fn lease(&mut self, id: &JobId, token: u64, expires: Duration) {
        let Some((live, availability)) = self.jobs.get(id).copied() else { return };
        if matches!(availability, Availability::Ready) && !self.runs_alone(&live) {
            match live.priority {
                Priority::Realtime => self.realtime_run = self.realtime_run.saturating_add(1),
                Priority::Queued => self.realtime_run = 0,
            }
            self.lane(live.priority).end_turn(&live.owner);
        }
        self.remove(id);
        self.insert(live, Availability::Leased { token, expires });
    }

    /// Holds a lease longer.
    pub(super) fn extend(&mut self, id: &JobId, expires: Duration) {
        if let Some((live, Availability::Leased { token, .. })) = self.jobs.get(id).copied() {
            self.remove(id);
            self.insert(live, Availability::Leased { token, expires });
        }
    }

    /// The number that the job's present lease has.
    pub(super) fn token(&self, id: &JobId) -> Option<u64> {
        match self.jobs.get(id)?.1 {
            Availability::Leased { token, .. } => Some(token),
            Availability::Ready | Availability::Delayed(_) => None,
        }
    }

    /// Every lease: job, token, when it lapses.
    pub(super) fn leases(&self) -> impl Iterator<Item = (JobId, u64, Duration)> + '_ {
        self.leases.iter().filter_map(|(expires, id)| Some((*id, self.token(id)?, *expires)))
    }

    /// The jobs whose leases have lapsed, the longest lapsed first.
    pub(super) fn expired(&self, now: Duration, limit: usize) -> Vec<JobId> {
        self.leases.iter().take_while(|(expires, _)| *expires <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// Whether a job is leased, and the lease has lapsed.
    pub(super) fn has_lapsed(&self, id: &JobId, now: Duration) -> bool {
        matches!(self.jobs.get(id), Some((_, Availability::Leased { expires, .. })) if *expires <= now)
    }

    /// When the next delayed job is due, if a claim could have it then.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let halted = self.exclusive_runs || !self.exclusive.is_empty();
        self.delayed.first().filter(|_| !halted).map(|(until, _, _)| *until)
    }

    /// How many jobs are live.
    pub(super) fn depth(&self) -> usize {
        self.jobs.len()
    }

    /// How many of them are this owner's.
    pub(super) fn owner_depth(&self, owner: &OwnerKey) -> usize {
        self.depth_of.get(owner).copied().unwrap_or_default()
    }

    /// How many of them are leased.
    pub(super) fn processing(&self) -> usize {
        self.leases.len()
    }

    fn insert(&mut self, live: LiveJob, availability: Availability) {
        match availability {
            Availability::Ready if self.runs_alone(&live) => {
                self.exclusive.insert((live.seq, live.id));
            }
            Availability::Ready => self.lane(live.priority).insert(live.owner, live.seq, live.id),
            Availability::Delayed(until) => {
                self.delayed.insert((until, live.seq, live.id));
            }
            Availability::Leased { expires, .. } => {
                self.leases.insert((expires, live.id));
                self.exclusive_runs = self.exclusive_runs || self.runs_alone(&live);
            }
        }
        *self.depth_of.entry(live.owner).or_default() += 1;
        self.jobs.insert(live.id, (live, availability));
    }

    fn unready(&mut self, live: &LiveJob) {
        if self.runs_alone(live) {
            self.exclusive.remove(&(live.seq, live.id));
        } else {
            self.lane(live.priority).remove(&live.owner, live.seq, live.id);
        }
    }

    /// Makes every delayed job that is due ready.
    fn promote(&mut self, now: Duration) {
        while let Some((_, _, id)) = self.delayed.first().copied().filter(|(until, _, _)| *until <= now) {
            let Some((live, _)) = self.jobs.get(&id).copied() else { return };
            self.wait(live, None);
        }
    }

    fn runs_alone(&self, live: &LiveJob) -> bool {
        live.crashed && self.isolation == CrashIsolation::Exclusive
    }

    fn lane(&mut self, priority: Priority) -> &mut PriorityLane {
        match priority {
            Priority::Realtime => &mut self.realtime,
            Priority::Queued => &mut self.queued,
        }
    }
}

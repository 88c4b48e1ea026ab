//! Which job is next: lanes, turns, delays, leases and crashes of the live jobs. Plain data, rebuilt at every start.
//! Times are those of [`crate::clock::Clock::elapsed`], which never jump.

mod choice;
mod lane;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

pub(super) use choice::Choice;
use lane::PriorityLane;

use crate::clock::Timestamp;
use crate::job::{ContentHash, JobId, OwnerKey, Priority, TenantKey, UserKey};
use crate::queue::{LaneCounts, WaitReason};

/// What the schedule has to know of a live job.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveJob {
    pub(super) id: JobId,
    pub(super) seq: u64,
    pub(super) priority: Priority,
    pub(super) created_at: Timestamp,
    /// Who takes turns with the other users.
    pub(super) user: UserKey,
    /// Who takes turns with the user's other owners.
    pub(super) owner: OwnerKey,
    /// The SHA-256 of its original.
    pub(super) bytes: ContentHash,
    /// Whom limits count for.
    pub(super) tenant: TenantKey,
    /// It took its worker down before.
    pub(super) crashed: bool,
    /// Bytes of memory that it takes.
    pub(super) memory: u64,
    /// All of it is made: it takes neither a place nor memory any more.
    pub(super) is_made: bool,
}

#[derive(Clone, Copy, Debug)]
enum Availability {
    Ready,
    Delayed(Duration),
    Leased(HeldLease),
}

/// A lease as the schedule knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldLease {
    pub(super) token: u64,
    /// When it lapses.
    pub(super) expires: Duration,
    /// How long it was last given for.
    pub(super) term: Duration,
    pub(super) stage: Stage,
    /// Not once it has lapsed and someone has been told so.
    pub(super) is_renewable: bool,
}

impl HeldLease {
    /// The same lease after a time in which nobody could have renewed it.
    pub(super) fn restarted(self, now: Duration) -> Self {
        if self.is_renewable { Self { expires: now.saturating_add(self.term), ..self } } else { self }
    }
}

/// How far a leased job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its variants are being made: it has a place.
    Making,
    /// They are made and being stored.
    Storing,
}

/// Whether a job that crashed runs beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrashIsolation {
    /// It waits until nothing else is processing, and halts other claims until it has run.
    Exclusive,
    /// It does: it runs in a child process of its own and can take no other job along.
    Shared,
}

/// The live jobs of one priority, counted.
#[derive(Debug, Default)]
struct LaneTally {
    /// In the order of their acceptance.
    pending: BTreeMap<(u64, JobId), Timestamp>,
    making: u64,
    storing: u64,
}

impl LaneTally {
    fn insert(&mut self, live: &LiveJob, availability: Availability) {
        match self.leased(availability) {
            Some(count) => *count += 1,
            None => drop(self.pending.insert((live.seq, live.id), live.created_at)),
        }
    }

    fn remove(&mut self, live: &LiveJob, availability: Availability) {
        match self.leased(availability) {
            Some(count) => *count -= 1,
            None => drop(self.pending.remove(&(live.seq, live.id))),
        }
    }

    fn leased(&mut self, availability: Availability) -> Option<&mut u64> {
        match availability {
            Availability::Leased(HeldLease { stage: Stage::Making, .. }) => Some(&mut self.making),
            Availability::Leased(HeldLease { stage: Stage::Storing, .. }) => Some(&mut self.storing),
            Availability::Ready | Availability::Delayed(_) => None,
        }
    }

    fn counts(&self) -> LaneCounts {
        LaneCounts {
            pending: self.pending.len() as u64,
            making: self.making,
            storing: self.storing,
            oldest_pending: self.pending.first_key_value().map(|(_, created_at)| *created_at),
        }
    }
}

/// The live jobs and their order.
#[derive(Debug)]
pub(super) struct Schedule {
    jobs: HashMap<JobId, (LiveJob, Availability)>,
    realtime: PriorityLane,
    queued: PriorityLane,
    /// Ready jobs that run alone.
    exclusive: BTreeSet<(u64, JobId)>,
    /// Ready jobs of which all is made.
    made: BTreeSet<(u64, JobId)>,
    delayed: BTreeSet<(Duration, u64, JobId)>,
    leases: BTreeSet<(Duration, JobId)>,
    /// The leased jobs in the stage of making: as many as there are places.
    making: HashMap<JobId, LiveJob>,
    /// Since when a job has been the first and waited for memory.
    short_since: HashMap<JobId, Duration>,
    /// By owner and bytes. Only the oldest of each may be worked on; the others wait for its end.
    duplicates: HashMap<(OwnerKey, ContentHash), BTreeSet<(u64, JobId)>>,
    depth_of: HashMap<TenantKey, usize>,
    /// By priority.
    tallies: [LaneTally; 2],
    isolation: CrashIsolation,
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
            made: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leases: BTreeSet::new(),
            making: HashMap::new(),
            short_since: HashMap::new(),
            duplicates: HashMap::new(),
            depth_of: HashMap::new(),
            tallies: Default::default(),
            isolation,
            realtime_run: 0,
            realtime_run_max: realtime_run_max.max(1),
        }
    }

    /// Takes a job in, or lets one wait in its old place: ready from then on, or at once.
    pub(super) fn wait(&mut self, live: LiveJob, not_before: Option<Duration>) {
        self.take_out(&live.id);
        let availability = not_before.map_or(Availability::Ready, Availability::Delayed);
        self.insert(live, availability);
    }

    /// Removes a job that lives no more. The next of the same bytes and owner may be worked on from then on.
    pub(super) fn remove(&mut self, id: &JobId) {
        let Some(live) = self.take_out(id) else { return };
        let of = (live.owner, live.bytes);
        let Some(duplicates) = self.duplicates.get_mut(&of) else { return };
        let was_first = duplicates.first() == Some(&(live.seq, live.id));
        duplicates.remove(&(live.seq, live.id));
        match duplicates.first().copied() {
            None => drop(self.duplicates.remove(&of)),
            Some((_, next)) if was_first => {
                if let Some((live, Availability::Ready)) = self.jobs.get(&next).copied() {
                    self.make_ready(&live);
                }
            }
            Some(_) => {}
        }
    }

    /// The newest live job of this owner with these bytes.
    pub(super) fn newest_duplicate(&self, owner: &OwnerKey, bytes: &ContentHash) -> Option<JobId> {
        self.duplicates.get(&(*owner, *bytes))?.last().map(|(_, id)| *id)
    }

    /// Takes a job out, which comes in again somewhere else.
    fn take_out(&mut self, id: &JobId) -> Option<LiveJob> {
        let (live, availability) = self.jobs.remove(id)?;
        self.short_since.remove(id);
        self.tallies[live.priority as usize].remove(&live, availability);
        match availability {
            Availability::Ready => self.unready(&live),
            Availability::Delayed(until) => {
                self.delayed.remove(&(until, live.seq, live.id));
            }
            Availability::Leased(held) => {
                self.leases.remove(&(held.expires, live.id));
                self.making.remove(id);
            }
        }
        if let Some(depth) = self.depth_of.get_mut(&live.tenant) {
            *depth -= 1;
            if *depth == 0 {
                self.depth_of.remove(&live.tenant);
            }
        }
        Some(live)
    }

    /// Gives a waiting job, or one whose lease was lost with a store, to whoever holds it from now on.
    pub(super) fn lease(&mut self, id: &JobId, held: HeldLease) {
        let Some((live, availability)) = self.jobs.get(id).copied() else { return };
        if matches!(availability, Availability::Ready) && self.waits_in_lane(&live) {
            match live.priority {
                Priority::Realtime => self.realtime_run = self.realtime_run.saturating_add(1),
                Priority::Queued => self.realtime_run = 0,
            }
            self.lane(live.priority).end_turn(&live);
        }
        self.take_out(id);
        self.insert(live, Availability::Leased(held));
    }

    /// Holds a lease longer. Answers whether it could be.
    pub(super) fn extend(&mut self, id: &JobId, expires: Duration, term: Duration) -> bool {
        let is_renewable = self.held(id).is_some_and(|held| held.is_renewable);
        if is_renewable {
            self.change_lease(id, |held| HeldLease { expires, term, ..held });
        }
        is_renewable
    }

    /// Notes that the variants of a leased job are made.
    pub(super) fn made(&mut self, id: &JobId) {
        self.change_lease(id, |held| HeldLease { stage: Stage::Storing, ..held });
    }

    /// Whether a job is leased and its variants are made.
    pub(super) fn is_storing(&self, id: &JobId) -> bool {
        self.held(id).is_some_and(|held| held.stage == Stage::Storing)
    }

    fn change_lease(&mut self, id: &JobId, change: impl FnOnce(HeldLease) -> HeldLease) {
        if let Some((live, Availability::Leased(held))) = self.jobs.get(id).copied() {
            self.take_out(id);
            self.insert(live, Availability::Leased(change(held)));
        }
    }

    /// The number that the job's present lease has.
    pub(super) fn token(&self, id: &JobId) -> Option<u64> {
        self.held(id).map(|held| held.token)
    }

    /// Every lease.
    pub(super) fn leases(&self) -> impl Iterator<Item = (JobId, HeldLease)> + '_ {
        self.leases.iter().filter_map(|(_, id)| Some((*id, self.held(id)?)))
    }

    fn held(&self, id: &JobId) -> Option<HeldLease> {
        match self.jobs.get(id)?.1 {
            Availability::Leased(held) => Some(held),
            Availability::Ready | Availability::Delayed(_) => None,
        }
    }

    /// The jobs whose leases have lapsed, the longest lapsed first. They can't be renewed from now on.
    pub(super) fn end_expired(&mut self, now: Duration, limit: usize) -> Vec<JobId> {
        let lapsed = self.leases.iter().take_while(|(expires, _)| *expires <= now).take(limit);
        let lapsed: Vec<JobId> = lapsed.map(|(_, id)| *id).collect();
        for id in &lapsed {
            self.change_lease(id, |held| HeldLease { is_renewable: false, ..held });
        }
        lapsed
    }

    /// Whether a job is leased, and the lease has lapsed.
    pub(super) fn has_lapsed(&self, id: &JobId, now: Duration) -> bool {
        self.held(id).is_some_and(|held| held.expires <= now)
    }

    /// When the next delayed job is due, if a claim could have it then.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let halted = !self.exclusive.is_empty() || self.making.values().any(|live| self.runs_alone(live));
        self.delayed.first().filter(|_| !halted).map(|(until, _, _)| *until)
    }

    /// When the next delayed job is due.
    pub(super) fn next_delayed(&self) -> Option<Duration> {
        self.delayed.first().map(|(until, _, _)| *until)
    }

    /// The oldest ready job of which all is made.
    pub(super) fn first_made(&mut self, now: Duration) -> Option<JobId> {
        self.promote(now);
        self.made.first().map(|(_, id)| *id)
    }

    /// What a job waits for; nothing of one that is being made or doesn't live.
    pub(super) fn waits_for(&self, id: &JobId) -> Option<WaitReason> {
        match self.jobs.get(id)? {
            (_, Availability::Leased(held)) => (held.stage == Stage::Storing).then_some(WaitReason::Store),
            (live, _) if live.is_made => Some(WaitReason::Store),
            _ if self.short_since.contains_key(id) => Some(WaitReason::Memory),
            _ => Some(WaitReason::Turn),
        }
    }

    /// How many jobs are live.
    pub(super) fn depth(&self) -> usize {
        self.jobs.len()
    }

    /// How many of them are this tenant's.
    pub(super) fn tenant_depth(&self, tenant: &TenantKey) -> usize {
        self.depth_of.get(tenant).copied().unwrap_or_default()
    }

    /// How many of them are leased.
    pub(super) fn processing(&self) -> usize {
        self.leases.len()
    }

    /// How many of the leased ones are in the stage of storing.
    pub(super) fn storing(&self) -> usize {
        self.leases.len() - self.making.len()
    }

    /// How many there are of each priority.
    pub(super) fn lanes(&self) -> [LaneCounts; 2] {
        [0, 1].map(|priority| self.tallies[priority].counts())
    }

    fn insert(&mut self, live: LiveJob, availability: Availability) {
        self.duplicates.entry((live.owner, live.bytes)).or_default().insert((live.seq, live.id));
        match availability {
            Availability::Ready => self.make_ready(&live),
            Availability::Delayed(until) => {
                self.delayed.insert((until, live.seq, live.id));
            }
            Availability::Leased(held) => {
                self.leases.insert((held.expires, live.id));
                if held.stage == Stage::Making {
                    self.making.insert(live.id, live);
                }
            }
        }
        *self.depth_of.entry(live.tenant).or_default() += 1;
        self.tallies[live.priority as usize].insert(&live, availability);
        self.jobs.insert(live.id, (live, availability));
    }

    /// Puts a job where claims find it, unless it waits for an older one of the same bytes and owner.
    fn make_ready(&mut self, live: &LiveJob) {
        if self.is_held(live) {
            return;
        }
        if live.is_made {
            self.made.insert((live.seq, live.id));
        } else if self.runs_alone(live) {
            self.exclusive.insert((live.seq, live.id));
        } else {
            self.lane(live.priority).insert(live);
        }
    }

    fn is_held(&self, live: &LiveJob) -> bool {
        let duplicates = self.duplicates.get(&(live.owner, live.bytes));
        duplicates.and_then(BTreeSet::first).is_some_and(|first| *first != (live.seq, live.id))
    }

    fn unready(&mut self, live: &LiveJob) {
        if self.is_held(live) {
            return;
        }
        if live.is_made {
            self.made.remove(&(live.seq, live.id));
        } else if self.runs_alone(live) {
            self.exclusive.remove(&(live.seq, live.id));
        } else {
            self.lane(live.priority).remove(live);
        }
    }

    /// Makes every delayed job that is due ready.
    fn promote(&mut self, now: Duration) {
        while let Some((_, _, id)) = self.delayed.first().copied().filter(|(until, _, _)| *until <= now) {
            let Some((live, _)) = self.jobs.get(&id).copied() else { return };
            self.wait(live, None);
        }
    }

    fn waits_in_lane(&self, live: &LiveJob) -> bool {
        !live.is_made && !self.runs_alone(live)
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

//! Whatever comes in whatever order: turns are fair, no place stays empty without need, and nobody starves.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Choice, CrashIsolation, HeldLease, LiveJob, Schedule, Stage};
use crate::clock::Timestamp;
use crate::job::{ContentHash, JobId, Owner, Priority};
use crate::queue::{PASS_MAX, Place};

/// Bytes of memory that all jobs together may take.
const BUDGET: u64 = 100;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive { user: u8, sub: u8, urgent: bool, memory: u64 },
    Claim { place: Place },
    Made { nth: u8 },
    End { nth: u8 },
    Requeue { nth: u8 },
    RequeueMade { nth: u8 },
    ClaimMade,
    Advance { seconds: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let arrive = (0..3_u8, 0..3_u8, any::<bool>(), 1..=BUDGET).prop_map(|(user, sub, urgent, memory)| Step::Arrive {
        user,
        sub,
        urgent,
        memory,
    });
    let place = prop_oneof![2 => Just(Place::Regular), 1 => Just(Place::Spare)];
    prop_oneof![
        5 => arrive,
        4 => place.prop_map(|place| Step::Claim { place }),
        1 => any::<u8>().prop_map(|nth| Step::Made { nth }),
        2 => any::<u8>().prop_map(|nth| Step::End { nth }),
        1 => any::<u8>().prop_map(|nth| Step::Requeue { nth }),
        1 => any::<u8>().prop_map(|nth| Step::RequeueMade { nth }),
        1 => Just(Step::ClaimMade),
        2 => (1..12_u8).prop_map(|seconds| Step::Advance { seconds }),
    ]
}

/// User 0 is the keys of `jwt.json`.
fn owner(user: u8, sub: u8) -> Owner {
    Owner { user: (user > 0).then(|| format!("user-{user}")), access_key: None, sub: format!("sub-{sub}") }
}

/// A schedule, and beside it what anyone may know: which jobs wait and which are being made.
struct Model {
    schedule: Schedule,
    now: Duration,
    seq: u64,
    ready: BTreeMap<u64, LiveJob>,
    making: Vec<LiveJob>,
    storing: Vec<LiveJob>,
    /// Made, and waiting again.
    made: BTreeMap<u64, LiveJob>,
}

impl Model {
    fn new() -> Self {
        Self {
            schedule: Schedule::new(CrashIsolation::Shared, 4),
            now: Duration::ZERO,
            seq: 0,
            ready: BTreeMap::new(),
            making: Vec::new(),
            storing: Vec::new(),
            made: BTreeMap::new(),
        }
    }

    fn arrive(&mut self, owner: &Owner, priority: Priority, memory: u64) {
        self.seq += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.seq.to_be_bytes());
        let live = LiveJob {
            id: JobId::from_bytes(id),
            seq: self.seq,
            priority,
            created_at: Timestamp::from_millis(self.seq),
            user: owner.user_key(),
            owner: owner.digest(),
            bytes: ContentHash::of(&self.seq.to_be_bytes()),
            tenant: owner.tenant_key(),
            crashed: false,
            memory,
            is_made: false,
        };
        self.schedule.wait(live, None);
        self.ready.insert(live.seq, live);
    }

    fn memory_left(&self) -> u64 {
        BUDGET - self.making.iter().map(|live| live.memory).sum::<u64>()
    }

    fn choose(&mut self, place: Place) -> Choice {
        let left = self.memory_left();
        self.schedule.choose(self.now, place, left)
    }

    /// What is chosen, its lease begun if it is a job.
    fn claim(&mut self, place: Place) -> Option<LiveJob> {
        let Choice::Job(id) = self.choose(place) else { return None };
        let live = *self.ready.values().find(|live| live.id == id).expect("only what waits is chosen");
        self.lease(&id, Stage::Making);
        self.ready.remove(&live.seq);
        self.making.push(live);
        Some(live)
    }

    fn lease(&mut self, id: &JobId, stage: Stage) {
        let (expires, term) = (Duration::MAX, Duration::MAX);
        self.schedule.lease(id, HeldLease { token: self.seq, expires, term, stage, is_renewable: true });
    }

    /// What is made waits again, as after a restart.
    fn requeue_made(&mut self, nth: u8) {
        if let Some(live) = Self::take_nth(&mut self.storing, nth) {
            let live = LiveJob { is_made: true, ..live };
            self.schedule.wait(live, None);
            self.made.insert(live.seq, live);
        }
    }

    /// Whatever else waits or is made, the oldest of the made jobs is there for whoever asks.
    fn claim_made(&mut self) {
        let oldest = self.made.pop_first().map(|(_, live)| live);
        assert_eq!(self.schedule.first_made(self.now), oldest.map(|live| live.id));
        if let Some(live) = oldest {
            self.lease(&live.id, Stage::Storing);
            self.storing.push(live);
        }
    }

    fn take_nth(jobs: &mut Vec<LiveJob>, nth: u8) -> Option<LiveJob> {
        (!jobs.is_empty()).then(|| jobs.remove(usize::from(nth) % jobs.len()))
    }

    fn made(&mut self, nth: u8) {
        if let Some(live) = Self::take_nth(&mut self.making, nth) {
            self.schedule.made(&live.id);
            self.storing.push(live);
        }
    }

    fn end(&mut self, nth: u8) {
        let ended = Self::take_nth(&mut self.storing, nth).or_else(|| Self::take_nth(&mut self.making, nth));
        if let Some(live) = ended {
            self.schedule.remove(&live.id);
        }
    }

    fn requeue(&mut self, nth: u8) {
        if let Some(live) = Self::take_nth(&mut self.making, nth) {
            self.schedule.wait(live, None);
            self.ready.insert(live.seq, live);
        }
    }

    fn is_unserved(&self, live: &LiveJob) -> bool {
        !self.making.iter().any(|made| made.tenant == live.tenant)
    }

    /// The first of each owner's waiting jobs in each lane.
    fn firsts(&self) -> Vec<LiveJob> {
        let mut firsts: HashMap<_, LiveJob> = HashMap::new();
        for live in self.ready.values() {
            firsts.entry((live.owner, live.priority as u8)).or_insert(*live);
        }
        firsts.into_values().collect()
    }

    /// What must hold of a choice, whatever came before.
    fn check(&mut self, place: Place) {
        let left = self.memory_left();
        let choice = self.choose(place);
        assert_eq!(self.choose(place), choice, "asking changes nothing");
        let firsts = self.firsts();
        let may_have: Vec<_> = firsts.iter().filter(|live| place == Place::Regular || self.is_unserved(live)).collect();
        match choice {
            Choice::Job(id) => {
                let chosen = firsts.iter().find(|live| live.id == id).expect("the first of its owner's");
                assert!(chosen.memory <= left, "it fits");
                assert!(place == Place::Regular || self.is_unserved(chosen), "nothing of its tenant is made");
            }
            Choice::Short(least) => assert!(least > left && may_have.iter().any(|live| live.memory == least)),
            Choice::Nothing => assert!(may_have.is_empty() || place == Place::Spare),
        }
        // No place is empty without need: only a job that has waited for memory for long holds what fits.
        let nothing_waits_long =
            self.schedule.short_since.values().all(|since| self.now.saturating_sub(*since) < PASS_MAX);
        if nothing_waits_long && may_have.iter().any(|live| live.memory <= left) {
            assert!(matches!(choice, Choice::Job(_)), "{choice:?}");
        }
        assert_eq!(self.schedule.storing(), self.storing.len());
        assert_eq!(self.schedule.processing(), self.storing.len() + self.making.len());
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Arrive { user, sub, urgent, memory } => {
                let priority = if urgent { Priority::Realtime } else { Priority::Queued };
                self.arrive(&owner(user, sub), priority, memory);
            }
            Step::Claim { place } => drop(self.claim(place)),
            Step::Made { nth } => self.made(nth),
            Step::RequeueMade { nth } => self.requeue_made(nth),
            Step::ClaimMade => self.claim_made(),
            Step::End { nth } => self.end(nth),
            Step::Requeue { nth } => self.requeue(nth),
            Step::Advance { seconds } => self.now += u32::from(seconds) * SECOND,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_place_is_empty_without_need_and_each_owners_order_is_kept(steps in vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
            model.check(Place::Regular);
            model.check(Place::Spare);
        }
    }

    #[test]
    fn each_user_has_as_many_turns_and_inside_it_each_sub(
        subs in vec(1..6_u8, 2..5),
        rounds in 1..8_usize,
    ) {
        let mut model = Model::new();
        // More than are claimed of anyone, by turns of users whose subs are of different number.
        for n in 0..8 * 6 {
            for (user, subs) in subs.iter().enumerate() {
                let user = u8::try_from(user).expect("few users");
                model.arrive(&owner(user, n % subs), Priority::Queued, 0);
            }
        }
        let mut served: HashMap<_, usize> = HashMap::new();
        let mut served_subs: HashMap<_, usize> = HashMap::new();
        for _ in 0..rounds * subs.len() {
            let live = model.claim(Place::Regular).expect("there are enough");
            *served.entry(live.user).or_default() += 1;
            *served_subs.entry((live.user, live.owner)).or_default() += 1;
        }
        prop_assert_eq!(served.len(), subs.len());
        prop_assert!(served.values().all(|turns| *turns == rounds), "{:?}", served);
        for (user, subs) in subs.iter().enumerate() {
            let user = owner(u8::try_from(user).expect("few users"), 0).user_key();
            let fair = rounds / usize::from(*subs);
            let turns = served_subs.iter().filter(|((of, _), _)| *of == user).map(|(_, turns)| *turns);
            prop_assert!(turns.into_iter().all(|turns| (fair..=fair + 1).contains(&turns)), "{:?}", served_subs);
        }
    }

    /// Every job takes a second; the small ones keep coming, as many as there are places for.
    #[test]
    fn a_large_job_is_made_although_small_ones_of_others_keep_coming(
        large in 2..=BUDGET,
        small in 1..=BUDGET,
        others in 1..6_u8,
        same_user in any::<bool>(),
        urgent in any::<bool>(),
    ) {
        let mut model = Model::new();
        let big = owner(1, 200);
        let priority = if urgent { Priority::Realtime } else { Priority::Queued };
        for second in 0..u64::from(4 * u8::try_from(PASS_MAX.as_secs()).expect("seconds")) {
            for other in 0..others {
                model.arrive(&owner(u8::from(same_user), other), priority, small);
            }
            if second == 3 {
                model.arrive(&big, Priority::Queued, large);
            }
            for place in [Place::Regular, Place::Regular, Place::Spare] {
                if model.claim(place).is_some_and(|live| live.owner == big.digest()) {
                    return Ok(());
                }
            }
            model.now += SECOND;
            // One after the other, so that the whole budget is never free by chance.
            model.end(0);
            if second % 2 == 0 {
                model.end(0);
            }
        }
        prop_assert!(false, "it starves");
    }
}

#[test]
fn a_tenant_with_nothing_under_way_is_served_at_once_however_many_wait() {
    let mut model = Model::new();
    for n in 0..120 {
        model.arrive(&owner(1, n), Priority::Realtime, 30);
    }
    assert_eq!([model.claim(Place::Regular), model.claim(Place::Regular)].map(|live| live.is_some()), [true; 2]);
    assert!(model.claim(Place::Spare).is_none());
    model.now += 2 * PASS_MAX;
    model.arrive(&owner(0, 1), Priority::Queued, 10);
    let served = model.claim(Place::Spare).expect("it has the spare place");
    assert_eq!(served.owner, owner(0, 1).digest());
}

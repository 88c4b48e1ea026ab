//! Whatever happens in whatever order, the books balance.

use std::collections::{HashMap, HashSet};
use std::error::Error;

use pixerve::clock::Timestamp;
use pixerve::job::{ContentHash, IdempotencyKey, JobFingerprint, JobId, OnDuplicate, Owner, Priority, State};
use pixerve::queue::{
    BegunRequest, Claim, Counts, DeliveryOutcome, Enqueued, Filter, Job, PageRequest, RequestFate, RequestLease, Retry,
    Settlement,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::fixture::{
    LEASE, Queue, QueueFixture, SECOND, TestResult, calling_back, claim_up_to, completion, crash, failure, purge,
    reap_expired, record,
};
use super::idempotency::answered_with;
use crate::harness::deliveries::tried;

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Enqueue { owner: u8, n: u8, realtime: bool, waits: Option<u8>, key: Option<u8> },
    Begin { owner: u8, key: u8 },
    Drop { nth: u8, unknown: bool },
    Claim { max: u8 },
    Made { nth: u8 },
    ClaimMade { max: u8 },
    Unmake { nth: u8 },
    Complete { nth: u8 },
    Fail { nth: u8, retry: bool },
    Crash { nth: u8 },
    Release { nth: u8 },
    Cancel { nth: u8 },
    Reap,
    Purge,
    Deliver { done: bool },
    Advance { seconds: u8 },
    Tomorrow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 0..12_u8, any::<bool>(), option::of(0..3_u8), option::of(0..3_u8))
            .prop_map(|(owner, n, realtime, waits, key)| Step::Enqueue { owner, n, realtime, waits, key }),
        2 => (0..3_u8, 0..3_u8).prop_map(|(owner, key)| Step::Begin { owner, key }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(nth, unknown)| Step::Drop { nth, unknown }),
        4 => (1..4_u8).prop_map(|max| Step::Claim { max }),
        2 => any::<u8>().prop_map(|nth| Step::Made { nth }),
        2 => (1..4_u8).prop_map(|max| Step::ClaimMade { max }),
        1 => any::<u8>().prop_map(|nth| Step::Unmake { nth }),
        2 => any::<u8>().prop_map(|nth| Step::Complete { nth }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(nth, retry)| Step::Fail { nth, retry }),
        1 => any::<u8>().prop_map(|nth| Step::Crash { nth }),
        1 => any::<u8>().prop_map(|nth| Step::Release { nth }),
        2 => any::<u8>().prop_map(|nth| Step::Cancel { nth }),
        1 => Just(Step::Reap),
        1 => Just(Step::Purge),
        1 => any::<bool>().prop_map(|done| Step::Deliver { done }),
        2 => (0..70_u8).prop_map(|seconds| Step::Advance { seconds }),
        1 => Just(Step::Tomorrow),
    ]
}

/// What is known of requests that may be repeated, without the queue.
#[derive(Default)]
pub(super) struct Requests {
    /// By key: the job that it became, and when it is forgotten.
    answered: HashMap<IdempotencyKey, (JobId, Timestamp)>,
    /// Every lease that was given out, with when it lapses and the job that it says it is about to become.
    leases: Vec<(RequestLease, Timestamp, JobId)>,
    /// By key: the lease that holds it.
    held: HashMap<IdempotencyKey, RequestLease>,
    /// By key: a job that nobody knows of, and until when it is remembered.
    unknown: HashMap<IdempotencyKey, (JobId, Timestamp)>,
}

impl Requests {
    fn key(owner: &Owner, key: u8) -> IdempotencyKey {
        IdempotencyKey::new(owner, "/upload", &format!("key-{key}"))
    }

    fn answered(&self, key: &IdempotencyKey, now: Timestamp) -> Option<JobId> {
        self.answered.get(key).filter(|(_, until)| now < *until).map(|(job, _)| *job)
    }

    /// The key of a record is that of its request; what it is answered with names the job.
    fn enqueued(&mut self, id: JobId, key: IdempotencyKey, outcome: &Enqueued, now: Timestamp) {
        match (self.answered(&key, now), outcome) {
            (Some(first), Enqueued::Repeated(answer)) => assert_eq!(answer.body, first.to_string()),
            (Some(first), other) => panic!("{key:?} was answered with {first}, and then {other:?}"),
            (None, Enqueued::Created) => {
                self.answered.insert(key, (id, now.after(IdempotencyKey::KEPT_FOR)));
                self.held.remove(&key);
                self.unknown.remove(&key);
            }
            (None, Enqueued::Duplicate(_)) => {}
            (None, other) => panic!("{key:?} was not answered, and then {other:?}"),
        }
    }

    async fn begin(&mut self, queue: &Queue, key: IdempotencyKey, now: Timestamp) -> TestResult {
        let begun = queue.begin_request(key, LEASE).await?;
        let held = self.held.get(&key);
        let expires = held.and_then(|held| self.leases.iter().find(|(lease, ..)| lease == held)).map(|(_, at, _)| *at);
        match (begun, self.answered(&key, now)) {
            (BegunRequest::Answered(answer), Some(job)) => assert_eq!(answer.body, job.to_string()),
            (BegunRequest::InFlight, None) => {
                assert!(expires.is_some_and(|expires| now < expires), "nobody holds {key:?}");
            }
            (BegunRequest::Begun { lease, earlier }, None) => {
                assert!(expires.is_none_or(|expires| expires <= now), "{key:?} is held");
                let remembered = self.unknown.get(&key).filter(|(_, until)| now < *until).map(|(job, _)| *job);
                assert_eq!(earlier, remembered, "{key:?}");
                let job = JobId::new(now);
                assert!(queue.extend_request(&lease, LEASE, Some(job)).await?);
                self.unknown.insert(key, (job, now.after(IdempotencyKey::KEPT_FOR)));
                self.held.insert(key, lease);
                self.leases.push((lease, now.after(LEASE), job));
            }
            (begun, answered) => panic!("{key:?} is {begun:?} though it is answered with {answered:?}"),
        }
        Ok(())
    }

    /// Ends a request, or tries to: it may have ended long ago.
    async fn drop(&mut self, queue: &Queue, nth: u8, unknown: bool) -> TestResult {
        let Some((lease, ..)) = self.leases.get(usize::from(nth) % self.leases.len().max(1)).copied() else {
            return Ok(());
        };
        let fate = if unknown { RequestFate::Unknown } else { RequestFate::Free };
        queue.end_request(&lease, fate).await?;
        if self.held.get(&lease.key) == Some(&lease) {
            self.held.remove(&lease.key);
            if !unknown {
                self.unknown.remove(&lease.key);
            }
        }
        Ok(())
    }
}

/// The first is of the keys of `jwt.json`, the others of one user.
fn owner_of(n: u8) -> Owner {
    let user = (n > 0).then(|| "user".to_owned());
    Owner { access_key: user.clone(), user, sub: format!("owner-{n}") }
}

/// Does one step; claims that were ever handed out stay around, stale or not.
pub(super) async fn take(
    step: Step,
    fixture: &QueueFixture,
    queue: &Queue,
    claims: &mut Vec<Claim>,
    requests: &mut Requests,
) -> Result<(), Box<dyn Error>> {
    let nth = |n: u8| claims.get(usize::from(n) % claims.len().max(1)).map(|claim| claim.lease.clone());
    match step {
        Step::Enqueue { owner, n, realtime: urgent, waits, key } => {
            let mut record =
                record(&owner_of(owner), n.into(), if urgent { Priority::Realtime } else { Priority::Queued });
            if let Some(what) = waits {
                record.on_duplicate = OnDuplicate::Queue(JobFingerprint(ContentHash::of(&[what])));
            }
            let (id, key) = (record.id, key.map(|key| Requests::key(&record.owner, key)));
            record.idempotency = key.map(|key| answered_with(key, &id.to_string()));
            let outcome = queue.enqueue(if n % 2 == 0 { calling_back(record) } else { record }).await?;
            if let Some(key) = key {
                requests.enqueued(id, key, &outcome, fixture.now());
            }
        }
        Step::Begin { owner: who, key } => {
            let key = Requests::key(&owner_of(who), key);
            requests.begin(queue, key, fixture.now()).await?;
        }
        Step::Drop { nth, unknown } => requests.drop(queue, nth, unknown).await?,
        Step::Claim { max } => claims.extend(claim_up_to(queue, max.into()).await?),
        Step::Made { nth: n } => {
            if let Some(lease) = nth(n) {
                queue.made(&lease).await?;
            }
        }
        Step::ClaimMade { max } => claims.extend(queue.claim_made(max.into(), LEASE).await?),
        Step::Unmake { nth: n } => {
            if let Some(lease) = nth(n) {
                queue.settle(&lease, Settlement::Unmade { files: Vec::new() }).await?;
            }
        }
        Step::Complete { nth: n } => {
            if let Some(lease) = nth(n) {
                queue.settle(&lease, completion()).await?;
            }
        }
        Step::Fail { nth: n, retry } => {
            if let Some(lease) = nth(n) {
                let retry = if retry { Retry::After(20 * SECOND) } else { Retry::Never };
                queue.settle(&lease, failure(retry)).await?;
            }
        }
        Step::Crash { nth: n } => {
            if let Some(lease) = nth(n) {
                queue.settle(&lease, crash()).await?;
            }
        }
        Step::Release { nth: n } => {
            if let Some(lease) = nth(n) {
                queue.settle(&lease, Settlement::Released).await?;
            }
        }
        Step::Cancel { nth: n } => {
            if let Some(lease) = nth(n) {
                queue.cancel(&lease.id, Vec::new()).await?;
            }
        }
        Step::Reap => drop(reap_expired(queue, 10).await?),
        Step::Purge => drop(purge(queue, fixture.now(), 3).await?),
        Step::Deliver { done } => {
            for delivery in queue.due_deliveries(2, LEASE).await? {
                let outcome = if done { DeliveryOutcome::Delivered } else { DeliveryOutcome::Retry(SECOND) };
                queue.settle_delivery(&delivery.id, tried(None, None), outcome).await?;
            }
        }
        Step::Advance { seconds } => fixture.clock.advance(u32::from(seconds) * SECOND),
        Step::Tomorrow => {
            fixture.clock.advance(IdempotencyKey::KEPT_FOR);
            while queue.forget_answers(10).await? > 0 {}
        }
    }
    Ok(())
}

/// What the lists say, each way of listing.
pub(super) async fn listed(queue: &Queue) -> Result<Counts, Box<dyn Error>> {
    let all = queue.list(&Filter::default(), PageRequest { limit: 200, cursor: None }).await?.jobs;
    let mut by_state: HashMap<State, u64> = HashMap::new();
    for state in State::ALL {
        let filter = Filter::in_state(state);
        let jobs = queue.list(&filter, PageRequest { limit: 200, cursor: None }).await?.jobs;
        assert!(jobs.iter().all(|job| job.state == state));
        assert_eq!(jobs.len(), all.iter().filter(|job| job.state == state).count());
        by_state.insert(state, jobs.len() as u64);
    }
    lists_of_whom_agree(queue, &all).await?;
    Ok(Counts {
        pending: by_state[&State::Pending],
        processing: by_state[&State::Processing],
        // No list tells the stages apart.
        storing: 0,
        completed: by_state[&State::Completed],
        failed: by_state[&State::Failed],
        cancelled: by_state[&State::Cancelled],
    })
}

/// The lists of an owner and of a user have what the list of all has, in either order.
async fn lists_of_whom_agree(queue: &Queue, all: &[Job]) -> TestResult {
    let owners: HashSet<_> = all.iter().map(|job| &job.record.owner).collect();
    let states = State::ALL.into_iter().map(Some).chain([None]);
    for (state, owner) in states.flat_map(|state| owners.iter().map(move |owner| (state, *owner))) {
        let of_user = Filter { state, user: Some(owner.user_key()), ..Filter::default() };
        let of_owner = Filter { state, owner: Some(owner.clone()), ..Filter::default() };
        for (filter, is_of) in [
            (of_user, Box::new(|job: &Job| job.record.owner.user == owner.user) as Box<dyn Fn(&Job) -> bool + Send>),
            (of_owner, Box::new(|job: &Job| job.record.owner == *owner)),
        ] {
            let expected: Vec<_> = all
                .iter()
                .filter(|job| state.is_none_or(|state| state == job.state) && is_of(job))
                .map(|job| job.record.id)
                .collect();
            let page = || PageRequest { limit: 200, cursor: None };
            let listed = queue.list(&filter, page()).await?.jobs;
            assert_eq!(listed.iter().map(|job| job.record.id).collect::<Vec<_>>(), expected);
            let oldest_first = queue.list_oldest_first(&filter, page()).await?.jobs;
            assert_eq!(oldest_first.iter().rev().map(|job| job.record.id).collect::<Vec<_>>(), expected);
        }
    }
    Ok(())
}

fn is_duplicate(one: &Job, other: &Job) -> bool {
    one.record.owner == other.record.owner && one.record.original.sha256 == other.record.original.sha256
}

async fn live_jobs(queue: &Queue) -> Result<Vec<Job>, Box<dyn Error>> {
    let all = queue.list(&Filter::default(), PageRequest { limit: 200, cursor: None }).await?.jobs;
    Ok(all.into_iter().filter(|job| !job.state.is_terminal()).collect())
}

/// Of jobs of the same bytes and owner the oldest alone is worked on.
async fn no_two_at_once(queue: &Queue) -> TestResult {
    let live = live_jobs(queue).await?;
    for job in live.iter().filter(|job| job.state == State::Processing) {
        let older = live.iter().find(|other| other.seq < job.seq && is_duplicate(other, job));
        assert!(older.is_none(), "{job:?} runs, and {older:?} lives");
    }
    Ok(())
}

/// Once nothing has to wait but for another, each job that waits can be claimed, in one way or the other.
pub(super) async fn nobody_is_lost(fixture: &QueueFixture, queue: &Queue, pending: u64) -> TestResult {
    fixture.clock.advance(100 * SECOND);
    let placed = claim_up_to(queue, 200).await?.len();
    let made = queue.claim_made(200, LEASE).await?.len();
    let live = live_jobs(queue).await?;
    let is_older = |one: &Job, other: &Job| one.seq < other.seq && is_duplicate(one, other);
    let held = |job: &&Job| job.state == State::Pending && live.iter().any(|other| is_older(other, job));
    assert_eq!((placed + made + live.iter().filter(held).count()) as u64, pending);
    Ok(())
}

async fn balance(fixture: &QueueFixture, steps: &[Step], nodes: usize, reopens: bool) -> TestResult {
    let queues = (0..nodes).map(|_| fixture.open()).collect::<Result<Vec<_>, _>>()?;
    let (mut claims, mut requests) = (Vec::new(), Requests::default());
    for (step, queue) in steps.iter().zip(queues.iter().cycle()) {
        take(*step, fixture, queue, &mut claims, &mut requests).await?;
        no_two_at_once(queue).await?;
    }
    let mut queues = queues;
    let queue = queues.swap_remove(0);
    let counts = queue.counts().await?;
    assert!(counts.storing <= counts.processing, "{counts:?}");
    nobody_is_lost(fixture, &queue, counts.pending).await?;
    let counts = queue.counts().await?;
    let counts = Counts { storing: 0, ..counts };
    assert_eq!(counts, listed(&queue).await?);
    if reopens {
        fixture.crash(queue)?;
        let queue = fixture.open()?;
        let after = queue.counts().await?;
        assert_eq!(after, listed(&queue).await?);
        assert_eq!(after, Counts { pending: counts.pending + counts.processing, processing: 0, ..counts });
    }
    Ok(())
}

fn check(
    cases: u32,
    fixture: fn() -> Result<Option<QueueFixture>, Box<dyn Error>>,
    nodes: usize,
    reopens: bool,
) -> TestResult {
    after_any_steps(cases, fixture, &async |fixture, steps| balance(fixture, steps, nodes, reopens).await)
}

/// Whatever is to hold after steps of any kind and number, tried so often.
pub(super) fn after_any_steps(
    cases: u32,
    fixture: fn() -> Result<Option<QueueFixture>, Box<dyn Error>>,
    holds: &impl AsyncFn(&QueueFixture, &[Step]) -> TestResult,
) -> TestResult {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    runner.run(&vec(step(), 1..80), |steps| {
        let held = runtime.block_on(async {
            match fixture()? {
                Some(fixture) => holds(&fixture, &steps).await,
                None => Ok(()),
            }
        });
        held.map_err(|error| TestCaseError::fail(error.to_string()))
    })?;
    Ok(())
}

#[test]
fn counts_are_what_is_listed_in_memory() -> TestResult {
    check(64, || QueueFixture::memory().map(Some), 1, false)
}

#[test]
fn counts_are_what_is_listed_in_sled_and_after_a_crash() -> TestResult {
    check(12, || QueueFixture::sled().map(Some), 1, true)
}

#[test]
fn counts_are_what_is_listed_in_redis_by_two_nodes() -> TestResult {
    check(24, QueueFixture::redis, 2, false)
}

#[test]
fn counts_are_what_is_listed_in_valkey_by_two_nodes() -> TestResult {
    check(24, QueueFixture::valkey, 2, false)
}

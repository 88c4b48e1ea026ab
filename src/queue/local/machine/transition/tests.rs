//! Every change of a job's state that reaches the store was granted by [`Machine::transition`].

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::clock::{Clock, Manual, SharedClock, Timestamp};
use crate::job::job_record;
use crate::job::{CallbackEvents, CallbackTarget, ErrorCode, JobError, JobId, JobRecord, State};
use crate::queue::local::Observers;
use crate::queue::local::machine::{Machine, RecoveryCause};
use crate::queue::local::memory::MemoryRecords;
use crate::queue::local::store::{Batch, RecordStore, RecordStoreError, ScanOrder, Table, TableEntry};
use crate::queue::local::{key, read};
use crate::queue::record::{self, StoredJob};
use crate::queue::{Claim, ClaimRequest, CrashAttribution, Lease, Place, QueueError, QueueSettings, Retry, Settlement};

type Move = (JobId, State, State);

const LEASE: Duration = Duration::from_mins(1);

thread_local! {
    /// The moves that were granted on this thread and have not reached the store.
    static GRANTED: RefCell<Vec<Move>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn note_granted(id: JobId, before: State, next: State) {
    GRANTED.with_borrow_mut(|granted| granted.push((id, before, next)));
}

fn take_granted() -> Vec<Move> {
    GRANTED.with_borrow_mut(std::mem::take)
}

/// Compares what each batch does to the states of jobs with what was granted.
#[derive(Debug, Default)]
struct AuditedRecords(MemoryRecords);

impl AuditedRecords {
    fn state(&self, id: &JobId) -> Result<Option<State>, RecordStoreError> {
        let mut found = Vec::new();
        for table in Table::OF_JOBS {
            if let Some(bytes) = self.0.get(table, id.as_bytes())? {
                let stored: StoredJob = record::decode(&bytes).expect("the machine wrote it");
                assert_eq!(key::home(stored.job.state), table);
                found.push(stored.job.state);
            }
        }
        assert!(found.len() <= 1, "a job is in one table: {found:?}");
        Ok(found.pop())
    }
}

impl RecordStore for AuditedRecords {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, RecordStoreError> {
        self.0.get(table, key)
    }

    fn range(
        &self,
        table: Table,
        keys: Range<&[u8]>,
        order: ScanOrder,
        limit: usize,
    ) -> Result<Vec<TableEntry>, RecordStoreError> {
        self.0.range(table, keys, order, limit)
    }

    fn count(&self, table: Table, keys: Range<&[u8]>) -> Result<u64, RecordStoreError> {
        self.0.count(table, keys)
    }

    fn apply(&self, batch: &Batch) -> Result<(), RecordStoreError> {
        let mut ids: Vec<JobId> = batch
            .changes()
            .iter()
            .filter(|c| Table::OF_JOBS.contains(&c.table))
            .filter_map(|c| key::id(&c.key))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let before = ids.iter().map(|id| self.state(id)).collect::<Result<Vec<_>, _>>()?;
        self.0.apply(batch)?;
        let mut moved = Vec::new();
        for (id, before) in ids.into_iter().zip(before) {
            match (before, self.state(&id)?) {
                (Some(before), Some(after)) if before != after => moved.push((id, before, after)),
                (None, Some(after)) => assert_eq!(after, State::Pending, "a new job"),
                _ => {}
            }
        }
        assert_eq!(moved, take_granted(), "a state changes only by a transition that was granted");
        Ok(())
    }

    fn sync(&self) -> Result<(), RecordStoreError> {
        Ok(())
    }

    fn close(self) -> Result<(), RecordStoreError> {
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Enqueue { n: u8 },
    Claim,
    Complete { nth: u8 },
    Fail { nth: u8, retry: bool },
    Crash { nth: u8 },
    Release { nth: u8 },
    Cancel { n: u8 },
    Reap { n: u8 },
    RecordFiles { n: u8 },
    DropLive { n: u8 },
    Purge,
    ReleaseLeases,
    Restart { attribution: CrashAttribution },
    Advance,
}

fn call() -> impl Strategy<Value = Call> {
    let attribution = prop_oneof![Just(CrashAttribution::NoJob), Just(CrashAttribution::JobsInFlight)];
    prop_oneof![
        6 => (0..4_u8).prop_map(|n| Call::Enqueue { n }),
        6 => Just(Call::Claim),
        2 => any::<u8>().prop_map(|nth| Call::Complete { nth }),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(nth, retry)| Call::Fail { nth, retry }),
        2 => any::<u8>().prop_map(|nth| Call::Crash { nth }),
        1 => any::<u8>().prop_map(|nth| Call::Release { nth }),
        2 => (0..4_u8).prop_map(|n| Call::Cancel { n }),
        2 => (0..4_u8).prop_map(|n| Call::Reap { n }),
        1 => (0..4_u8).prop_map(|n| Call::RecordFiles { n }),
        1 => (0..4_u8).prop_map(|n| Call::DropLive { n }),
        1 => Just(Call::Purge),
        1 => Just(Call::ReleaseLeases),
        1 => attribution.prop_map(|attribution| Call::Restart { attribution }),
        2 => Just(Call::Advance),
    ]
}

fn job(n: u8) -> JobRecord {
    let url = "https://app.example/hook".parse().expect("a URL");
    JobRecord {
        callback: Some(CallbackTarget {
            url,
            sealed_url: None,
            sealed_headers: None,
            events: CallbackEvents::default(),
        }),
        ..job_record(n)
    }
}

fn error() -> JobError {
    JobError::new(ErrorCode::StoreUnreachable, "writing the file failed")
}

struct MachineFixture {
    clock: Arc<Manual>,
    records: Arc<AuditedRecords>,
    machine: Machine<AuditedRecords>,
    /// Every claim there ever was, stale or not.
    claims: Vec<Claim>,
}

impl MachineFixture {
    fn new() -> Result<Self, QueueError> {
        let clock = Arc::new(Manual::at(Timestamp::from_millis(1_750_000_000_000)));
        let records = Arc::new(AuditedRecords::default());
        let machine = recover(&records, &clock, CrashAttribution::NoJob)?;
        Ok(Self { clock, records, machine, claims: Vec::new() })
    }

    fn make(&mut self, call: Call) -> Result<(), QueueError> {
        let files = Vec::new();
        let id = |n: u8| JobId::from_bytes([n; 16]);
        match call {
            Call::Enqueue { n } => self.machine.enqueue(job(n)).map(drop),
            Call::Claim => {
                let claimed = self.machine.claim(ClaimRequest {
                    max: 1,
                    place: Place::Regular,
                    memory: u64::MAX,
                    lease: LEASE,
                })?;
                self.claims.extend(claimed.claims);
                Ok(())
            }
            Call::Complete { nth } => self.settle(nth, Settlement::Completed { files, placeholder: None }),
            Call::Fail { nth, retry } => {
                let retry = if retry { Retry::After(Duration::from_secs(1)) } else { Retry::Never };
                self.settle(nth, Settlement::Failed { error: error(), files, retry })
            }
            Call::Crash { nth } => self.settle(nth, Settlement::Crashed { error: error(), files }),
            Call::Release { nth } => self.settle(nth, Settlement::Released),
            Call::Cancel { n } => self.machine.cancel(&id(n), files).map(drop),
            Call::Reap { n } => self.machine.reap(&id(n), files).map(drop),
            Call::RecordFiles { n } => self.machine.record_files(&id(n), files),
            Call::DropLive { n } => self.machine.drop_live(&id(n)).map(drop),
            Call::Purge => self.machine.purge(self.clock.now(), 10).map(drop),
            Call::ReleaseLeases => self.machine.release_leases(),
            Call::Restart { attribution } => {
                self.machine = recover(&self.records, &self.clock, attribution)?;
                Ok(())
            }
            Call::Advance => {
                self.clock.advance(LEASE);
                Ok(())
            }
        }
    }

    fn settle(&mut self, nth: u8, settlement: Settlement) -> Result<(), QueueError> {
        let Some(claim) = self.claims.get(usize::from(nth) % self.claims.len().max(1)) else { return Ok(()) };
        let lease: Lease = claim.lease.clone();
        self.machine.settle(&lease, settlement).map(drop)
    }
}

fn recover(
    records: &Arc<AuditedRecords>,
    clock: &Arc<Manual>,
    attribution: CrashAttribution,
) -> Result<Machine<AuditedRecords>, QueueError> {
    let settings = QueueSettings { attempts_max: 3, crashes_max: 2, ..QueueSettings::default() };
    let clock: SharedClock = clock.clone();
    let observers = Observers::default();
    Machine::recover(Arc::clone(records), settings, clock, observers, attribution, RecoveryCause::ServerStarted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_changes_only_by_a_transition_that_the_table_has(calls in vec(call(), 1..120)) {
        take_granted();
        let mut fixture = MachineFixture::new().expect("an empty queue");
        for call in calls {
            fixture.make(call).expect("memory doesn't fail");
        }
    }
}

#[test]
fn a_transition_that_the_table_has_not_is_refused_and_changes_nothing() {
    let mut fixture = MachineFixture::new().expect("an empty queue");
    fixture.make(Call::Enqueue { n: 1 }).expect("memory doesn't fail");
    let fresh = read::stored(&*fixture.records, &job(1).id).expect("it can be read").expect("it is there");
    for before in State::ALL {
        for next in State::ALL.into_iter().filter(|next| !before.may_become(*next)) {
            let mut stored = fresh.clone();
            stored.job.state = before;
            let unchanged = stored.clone();
            let mut batch = Batch::default();
            let refused = fixture.machine.transition(&mut batch, &mut stored, next);
            assert!(matches!(refused, Err(QueueError::Unavailable { .. })), "{before} -> {next}: {refused:?}");
            assert_eq!((stored, batch.changes().len()), (unchanged, 0), "{before} -> {next}");
        }
    }
    assert_eq!(take_granted(), []);
}

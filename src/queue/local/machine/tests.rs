//! What a damaged database leaves behind.

use std::sync::Arc;
use std::time::Duration;

use super::{Machine, RecoveryCause, encode};
use crate::clock::{Clock, Manual, Timestamp};
use crate::job::State;
use crate::job::job_record;
use crate::queue::local::Observers;
use crate::queue::local::memory::MemoryRecords;
use crate::queue::local::store::{Batch, RecordStore, Table};
use crate::queue::local::{key, read};
use crate::queue::{ClaimRequest, CrashAttribution, LeaseState, Place, QueueError, QueueSettings, Settlement};

type TestResult = Result<(), QueueError>;

const LEASE: Duration = Duration::from_mins(1);

fn recover(records: &Arc<MemoryRecords>, clock: &Arc<Manual>) -> Result<Machine<MemoryRecords>, QueueError> {
    let (settings, attribution) = (QueueSettings::default(), CrashAttribution::NoJob);
    let (clock, observers) = (clock.clone(), Observers::default());
    Machine::recover(Arc::clone(records), settings, clock, observers, attribution, RecoveryCause::ServerStarted)
}

fn fixture() -> (Arc<MemoryRecords>, Arc<Manual>) {
    (Arc::default(), Arc::new(Manual::at(Timestamp::from_millis(1_750_000_000_000))))
}

fn one() -> ClaimRequest {
    ClaimRequest { max: 1, place: Place::Regular, memory: u64::MAX, lease: LEASE }
}

#[test]
fn an_ended_job_among_the_live_ones_is_not_scheduled_and_delays_no_other() -> TestResult {
    let (records, clock) = fixture();
    let mut machine = recover(&records, &clock)?;
    for n in 1..=2 {
        machine.enqueue(job_record(n))?;
    }
    let mut ended = read::stored(&*records, &job_record(1).id)?.expect("it was queued");
    ended.job.state = State::Completed;
    let mut damage = Batch::default();
    damage.put(Table::Jobs, *job_record(1).id.as_bytes(), encode(&ended)?);
    records.apply(&damage)?;

    let mut machine = recover(&records, &clock)?;
    assert_eq!(machine.status().counts.pending, 1);
    let claimed: Vec<_> = machine.claim(one())?.claims.into_iter().map(|claim| claim.job.record.id).collect();
    assert_eq!(claimed, [job_record(2).id]);
    assert!(machine.claim(one())?.claims.is_empty());
    Ok(())
}

#[test]
fn leases_outlive_a_store_that_had_to_be_opened_anew_however_long_that_took() -> TestResult {
    let (records, clock) = fixture();
    let mut machine = recover(&records, &clock)?;
    for n in 1..=2 {
        machine.enqueue(job_record(n))?;
    }
    let [lapsed, held] = [machine.claim(one())?.claims.remove(0), machine.claim(one())?.claims.remove(0)];
    machine.made(&held.lease)?;
    clock.advance(LEASE / 2);
    machine.extend(&held.lease, LEASE)?;
    clock.advance(LEASE / 2);
    assert_eq!(machine.expired_leases(10), [lapsed.lease.id]);
    machine.sync()?;

    let known = machine.recovery_state();
    clock.advance(10 * LEASE);
    let (settings, attribution) = (QueueSettings::default(), CrashAttribution::NoJob);
    let cause = RecoveryCause::StoreReopened(known);
    let mut machine = Machine::recover(records, settings, clock.clone(), Observers::default(), attribution, cause)?;
    assert_eq!(machine.expired_leases(10), [lapsed.lease.id], "what nobody could renew has its term again");
    assert_eq!(machine.status().counts.storing, 1);
    assert!(matches!(machine.extend(&held.lease, LEASE)?, LeaseState::Held(_)));
    clock.advance(LEASE);
    assert_eq!(machine.expired_leases(10).len(), 2);
    Ok(())
}

#[test]
fn a_stale_note_of_when_a_job_ended_is_purged_without_the_job() -> TestResult {
    let (records, clock) = fixture();
    let mut machine = recover(&records, &clock)?;
    for n in 1..=2 {
        machine.enqueue(job_record(n))?;
    }
    let claim = machine.claim(one())?.claims.remove(0);
    machine.settle(&claim.lease, Settlement::Completed { files: Vec::new(), placeholder: None })?;
    let long_ago = Timestamp::from_millis(1);
    let mut damage = Batch::default();
    // One that ended just now, one that lives, one that nobody knows.
    for n in 1..=3 {
        damage.put(Table::ByDone, key::done(long_ago, &job_record(n).id), Vec::new());
    }
    records.apply(&damage)?;

    let before = clock.now().before(Duration::from_secs(1));
    assert_eq!(machine.purge(before, 10)?, 0);
    let left = key::done_before(before);
    assert_eq!(records.count(Table::ByDone, &left.start..&left.end)?, 0);
    for (n, state) in [(1, State::Completed), (2, State::Pending)] {
        let job = read::job(&*records, &job_record(n).id)?;
        assert_eq!(job.map(|job| job.state), Some(state));
    }
    clock.advance(Duration::from_secs(2));
    assert_eq!(machine.purge(clock.now(), 10)?, 1, "the note of its real end is there still");
    Ok(())
}

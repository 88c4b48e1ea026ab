//! From the records to a running queue: at the start of the server, and after the store had to be opened anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::delivery::put_delivery;
use super::requests::Requests;
use super::{Machine, PLACES_RESERVED, RESERVED, Sequence, ended_count, live};
use crate::clock::{SharedClock, Timestamp};
use crate::error_chain::ErrorChain;
use crate::job::{ErrorCode, JobError, JobId, State};
use crate::queue::local::Observers;
use crate::queue::local::deliveries::{DeliverySchedule, ScheduledDelivery};
use crate::queue::local::schedule::{CrashIsolation, HeldLease, Schedule};
use crate::queue::local::store::{Batch, RecordStore, RecordStoreError, ScanOrder, Table};
use crate::queue::local::{key, read};
use crate::queue::metrics::AttemptOutcome;
use crate::queue::record::{self, RecordError, SCHEMA, StoredDelivery, StoredJob, StoredRecipient};
use crate::queue::{Counts, CrashAttribution, Filter, Lease, QueueError, QueueSettings, Settlement, rules};

/// Records read from the store in one go.
const READ_AT_ONCE: usize = 512;
/// Jobs that are listed in one batch.
const LISTED_AT_ONCE: usize = 64;

/// Why the records are read.
#[derive(Debug)]
pub(in crate::queue::local) enum RecoveryCause {
    /// Whoever held a lease is dead.
    ServerStarted,
    /// The server and its workers went on meanwhile.
    StoreReopened(RecoveryState),
}

/// What a running server knows and its store may not.
#[derive(Clone, Debug, Default)]
pub(in crate::queue::local) struct RecoveryState {
    leases: Leases,
    requests: Requests,
    seq: u64,
    token: u64,
}

/// Who holds which job.
pub(super) type Leases = HashMap<JobId, HeldLease>;

impl<S: RecordStore> Machine<S> {
    /// Reads what is there, and requeues what nobody works on any more. Durable when it returns.
    pub(in crate::queue::local) fn recover(
        records: Arc<S>,
        settings: QueueSettings,
        clock: SharedClock,
        observers: Observers,
        attribution: CrashAttribution,
        cause: RecoveryCause,
    ) -> Result<Self, QueueError> {
        check_schema(&*records)?;
        let isolation = match attribution {
            CrashAttribution::NoJob => CrashIsolation::Shared,
            CrashAttribution::JobsInFlight => CrashIsolation::Exclusive,
        };
        let (known, blamed, drained) = match cause {
            RecoveryCause::ServerStarted if records.get(Table::Meta, key::DRAINING)?.is_some() => {
                (RecoveryState::default(), CrashAttribution::NoJob, true)
            }
            RecoveryCause::ServerStarted => (RecoveryState::default(), attribution, false),
            // A server that was stopping is stopping still: the mark stays.
            RecoveryCause::StoreReopened(known) => (known, CrashAttribution::NoJob, false),
        };
        let mut machine = Self {
            seq: sequence(&*records, key::SEQ, known.seq, PLACES_RESERVED)?,
            token: sequence(&*records, key::TOKEN, known.token, RESERVED)?,
            schedule: Schedule::new(isolation, settings.realtime_run_max),
            deliveries: DeliverySchedule::default(),
            requests: known.requests.clone(),
            memory_left: [u64::MAX; 2],
            ended: count_ended(&*records)?,
            records,
            settings,
            clock,
            acknowledged: Leases::default(),
            observers,
            changed: Vec::new(),
            dirty: true,
            broken: None,
        };
        machine.recover_jobs(&known, blamed)?;
        machine.recover_deliveries()?;
        machine.forget_clear_callbacks()?;
        machine.list_by_users()?;
        if drained {
            // Only now: a start that is cut short must find it again.
            let mut batch = Batch::default();
            batch.remove(Table::Meta, key::DRAINING);
            machine.apply(&batch)?;
        }
        machine.sync()?;
        Ok(machine)
    }

    /// What a machine on the next store has to be told.
    pub(in crate::queue::local) fn recovery_state(&self) -> RecoveryState {
        RecoveryState {
            leases: self.acknowledged.clone(),
            requests: self.requests.clone(),
            seq: self.seq.next,
            token: self.token.next,
        }
    }

    pub(super) fn leases(&self) -> Leases {
        self.schedule.leases().collect()
    }

    /// Notes that the server is stopping, so that the next start attributes its death to no job.
    pub(in crate::queue::local) fn mark_draining(&mut self) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        batch.put(Table::Meta, key::DRAINING, Vec::new());
        self.apply(&batch)
    }

    /// Requeues, unharmed, every job that is still leased: a stop is no job's fault.
    pub(in crate::queue::local) fn release_leases(&mut self) -> Result<(), QueueError> {
        for (id, HeldLease { token, expires, .. }) in self.leases() {
            self.settle(&Lease { id, token, expires }, Settlement::Released)?;
        }
        Ok(())
    }

    fn recover_jobs(&mut self, known: &RecoveryState, attribution: CrashAttribution) -> Result<(), QueueError> {
        // By seq, so that owners take turns in the order of their first jobs.
        let mut jobs: Vec<StoredJob> = self.read_all(Table::Jobs)?.into_iter().map(|(_, stored)| stored).collect();
        jobs.sort_by_key(|stored| stored.job.seq);
        for stored in jobs {
            let id = stored.job.record.id;
            match (stored.job.state, known.leases.get(&id)) {
                (State::Processing, Some(held)) if held.token == stored.token => {
                    self.schedule.wait(live(&stored), None);
                    self.schedule.lease(&id, held.restarted(self.clock.elapsed()));
                }
                (State::Processing, _) => self.recover_orphan(stored, attribution)?,
                // It could never be claimed, and would keep the others waiting.
                (state, _) if state.is_terminal() => {
                    tracing::error!(job_id = %id, %state, "ended job found among the live ones; not scheduled");
                }
                _ => {
                    let wait = stored.job.not_before.map(|due| self.wait_left(due, stored.wait_ms));
                    self.schedule.wait(live(&stored), wait.map(|wait| self.clock.elapsed() + wait));
                }
            }
        }
        Ok(())
    }

    /// Lists every job by its user, and notes since when places tell the time. Once for a store: versions before 0.3.0 did
    /// neither.
    fn list_by_users(&mut self) -> Result<(), QueueError> {
        if self.records.get(Table::Meta, key::TIMED_PLACES)?.is_some() {
            return Ok(());
        }
        for table in Table::OF_JOBS {
            let mut from = Vec::new();
            loop {
                let entries = self.records.range(table, &from..key::AFTER_IDS, ScanOrder::Ascending, LISTED_AT_ONCE)?;
                let Some((last, _)) = entries.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                let mut batch = Batch::default();
                // One that can't be read is set aside by whoever looks it up.
                for stored in entries.iter().filter_map(|(_, bytes)| record::decode::<StoredJob>(bytes).ok()) {
                    key::list_by_user(&mut batch, &stored.job);
                }
                self.apply(&batch)?;
            }
        }
        let mut batch = Batch::default();
        batch.put(Table::Meta, key::TIMED_PLACES, self.clock.now().as_millis().to_be_bytes());
        self.apply(&batch)
    }

    /// A job whose worker died with the server.
    fn recover_orphan(&mut self, mut stored: StoredJob, attribution: CrashAttribution) -> Result<(), QueueError> {
        self.schedule.wait(live(&stored), None);
        stored.job.changes += rules::CHANGES_OF_A_LOST_ATTEMPT;
        let is_blamed = attribution == CrashAttribution::JobsInFlight && !stored.is_made;
        let outcome = if is_blamed { AttemptOutcome::Crashed } else { AttemptOutcome::Lost };
        self.observers.metrics.attempt_ended(outcome);
        if is_blamed {
            stored.job.error = Some(JobError::new(ErrorCode::Crashed, "the server died while it worked on this job"));
            if rules::count_crash(&mut stored, &self.settings) {
                self.set_aside_if_unreadable(&stored.job.record.id)?;
                return self.end(stored, State::Failed);
            }
        }
        let next = rules::release(&mut stored);
        self.go_on(stored, next).map(drop)
    }

    fn recover_deliveries(&mut self) -> Result<(), QueueError> {
        for (key, mut delivery) in self.read_all::<StoredDelivery>(Table::Outbox)? {
            let Some(id) = key::delivery_id(&key) else { continue };
            if delivery.recipient.is_none() || delivery.seq.is_none() {
                let job = read::job(&*self.records, &id.job)?;
                delivery.recipient = job.as_ref().map(StoredRecipient::of).or(delivery.recipient);
                delivery.seq = job.as_ref().map(|job| job.seq);
                let mut batch = Batch::default();
                put_delivery(&mut batch, id, &delivery)?;
                self.apply(&batch)?;
            }
            let Some(StoredRecipient { owner, host }) = delivery.recipient else {
                tracing::error!(job_id = %id.job, "callback dropped: its job has no readable record");
                let mut batch = Batch::default();
                batch.remove(Table::Outbox, key);
                self.apply(&batch)?;
                continue;
            };
            let due = self.clock.elapsed() + self.wait_left(delivery.due, delivery.wait_ms);
            let since = delivery.since.unwrap_or(delivery.due);
            self.deliveries.set(id, ScheduledDelivery { due, attempts: delivery.attempts, owner, host, since });
        }
        Ok(())
    }

    /// How long to wait still. A wall clock that was set back must not make it longer than it was meant to be.
    pub(super) fn wait_left(&self, due: Timestamp, wait_ms: u64) -> Duration {
        due.since(self.clock.now()).min(Duration::from_millis(wait_ms))
    }

    /// Every record of a table. One that can't be read is set aside, with an error in the log, instead of stopping the server: an
    /// accepted job is in the spool still.
    fn read_all<T: DeserializeOwned>(&mut self, table: Table) -> Result<Vec<(Vec<u8>, T)>, QueueError> {
        let mut records = Vec::new();
        let mut from = Vec::new();
        loop {
            let entries = self.records.range(table, &from..key::AFTER_IDS, ScanOrder::Ascending, READ_AT_ONCE)?;
            let Some((last, _)) = entries.last() else { return Ok(records) };
            from = [last.as_slice(), &[0]].concat();
            for (key, bytes) in entries {
                match record::decode(&bytes) {
                    Ok(value) => records.push((key, value)),
                    Err(error) => self.set_aside_unreadable(table, key, bytes, &error)?,
                }
            }
        }
    }

    /// Sets a job's record aside if it can't be read: one that can't must not keep the others waiting, nor be written over.
    /// A job that had not ended is in the spool still, and is requeued from there.
    pub(super) fn set_aside_if_unreadable(&mut self, id: &JobId) -> Result<(), QueueError> {
        for table in Table::OF_JOBS {
            let Some(bytes) = self.records.get(table, id.as_bytes())? else { continue };
            if let Err(error) = record::decode::<StoredJob>(&bytes) {
                self.set_aside_unreadable(table, id.as_bytes().to_vec(), bytes, &error)?;
                if table == Table::Jobs {
                    self.schedule.remove(id);
                }
            }
        }
        Ok(())
    }

    fn set_aside_unreadable(
        &mut self,
        table: Table,
        key: Vec<u8>,
        bytes: Vec<u8>,
        why: &RecordError,
    ) -> Result<(), QueueError> {
        tracing::error!(table = table.name(), key = %hex::encode(&key), error = %ErrorChain(why),
            "unreadable record set aside");
        let mut batch = Batch::default();
        batch.put(Table::Unreadable, [table.name().as_bytes(), b"/", &key].concat(), bytes);
        batch.remove(table, key);
        self.apply(&batch)
    }
}

fn check_schema<S: RecordStore>(store: &S) -> Result<(), QueueError> {
    let Some(bytes) = store.get(Table::Meta, key::SCHEMA)? else {
        let mut batch = Batch::default();
        batch.put(Table::Meta, key::SCHEMA, SCHEMA.to_be_bytes());
        return Ok(store.apply(&batch)?);
    };
    let found = bytes.try_into().map_or(u32::MAX, u32::from_be_bytes);
    if found > SCHEMA {
        return Err(QueueError::SchemaTooNew { found, known: SCHEMA });
    }
    Ok(())
}

fn sequence<S: RecordStore>(
    store: &S,
    key: &'static [u8],
    at_least: u64,
    reserved_at_once: u64,
) -> Result<Sequence, RecordStoreError> {
    let reserved = store.get(Table::Meta, key)?.and_then(|bytes| bytes.try_into().ok()).map_or(1, u64::from_be_bytes);
    Ok(Sequence { key, next: reserved.max(at_least), reserved, reserved_at_once })
}

fn count_ended<S: RecordStore>(store: &S) -> Result<Counts, RecordStoreError> {
    let mut counts = Counts::default();
    for state in State::ALL {
        if let Some(count) = ended_count(&mut counts, state) {
            let keys = key::listing(&Filter::in_state(state));
            *count = store.count(Table::Listing, &keys.start..&keys.end)?;
        }
    }
    Ok(counts)
}

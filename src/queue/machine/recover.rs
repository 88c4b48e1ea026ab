//! From the records to a running queue: at the start of the server, and after the store had to be opened anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::settle::{poison, refund};
use super::{Machine, Numbers, ended_count, live};
use crate::clock::{SharedClock, Timestamp};
use crate::job::{ErrorCode, JobError, JobId, State};
use crate::queue::outbox::{Outbox, Owed};
use crate::queue::record::{self, RecordError, SCHEMA, StoredDelivery, StoredJob};
use crate::queue::schedule::{Schedule, Suspects};
use crate::queue::store::{Batch, Order, Store, StoreError, Table};
use crate::queue::{Blame, Counts, Filter, QueueError, QueueSettings, key};

/// Records read from the store in one go.
const READ_AT_ONCE: usize = 512;

/// Why the records are read.
#[derive(Debug)]
pub(in crate::queue) enum Start {
    /// The server starts: whoever held a lease is dead.
    Server,
    /// The store was opened anew under a running server, whose workers go on.
    Store(Carried),
}

/// What outlives a store in memory.
#[derive(Clone, Debug, Default)]
pub(in crate::queue) struct Carried {
    leases: Leases,
    seq: u64,
    token: u64,
}

/// Who holds which job: its token, and when it lapses.
pub(super) type Leases = HashMap<JobId, (u64, Duration)>;

impl<S: Store> Machine<S> {
    /// Reads what is there, and puts back what nobody works on any more. Durable when it returns.
    pub(in crate::queue) fn recover(
        store: Arc<S>,
        settings: QueueSettings,
        clock: SharedClock,
        blame: Blame,
        start: Start,
    ) -> Result<Self, QueueError> {
        check_schema(&*store)?;
        let suspects = match blame {
            Blame::Nobody => Suspects::AmongOthers,
            Blame::InFlight => Suspects::Alone,
        };
        let (carried, blame, drained) = match start {
            Start::Server if store.get(Table::Meta, key::DRAINING)?.is_some() => {
                (Carried::default(), Blame::Nobody, true)
            }
            Start::Server => (Carried::default(), blame, false),
            // A server that was stopping is stopping still: the mark stays.
            Start::Store(carried) => (carried, Blame::Nobody, false),
        };
        let mut machine = Self {
            seq: numbers(&*store, key::SEQ, carried.seq)?,
            token: numbers(&*store, key::TOKEN, carried.token)?,
            schedule: Schedule::new(suspects, settings.realtime_run_max),
            outbox: Outbox::default(),
            ended: count_ended(&*store)?,
            store,
            settings,
            clock,
            acknowledged: Leases::default(),
            dirty: true,
            broken: None,
        };
        machine.recover_jobs(&carried, blame)?;
        machine.recover_outbox()?;
        if drained {
            // Only now: a start that is cut short must find it again.
            let mut batch = Batch::default();
            batch.remove(Table::Meta, key::DRAINING);
            machine.apply(&batch)?;
        }
        machine.sync()?;
        Ok(machine)
    }

    /// What the next store has to be told.
    pub(in crate::queue) fn carry(&self) -> Carried {
        Carried { leases: self.acknowledged.clone(), seq: self.seq.next, token: self.token.next }
    }

    pub(super) fn leases(&self) -> Leases {
        self.schedule.leases().map(|(id, token, expires)| (id, (token, expires))).collect()
    }

    /// Notes that the server is stopping, so that the next start blames nobody for its death.
    pub(in crate::queue) fn drain_begins(&mut self) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        batch.put(Table::Meta, key::DRAINING, Vec::new());
        self.apply(&batch)
    }

    /// Gives back, unharmed, every job that is still leased: nobody is to blame for a server that stops.
    pub(in crate::queue) fn stand_down(&mut self) -> Result<(), QueueError> {
        for (id, (token, expires)) in self.leases() {
            self.release(&crate::queue::Lease { id, token, expires })?;
        }
        Ok(())
    }

    fn recover_jobs(&mut self, carried: &Carried, blame: Blame) -> Result<(), QueueError> {
        // By seq, so that owners take turns in the order of their first jobs.
        let mut jobs: Vec<StoredJob> = self.read_all(Table::Jobs)?.into_iter().map(|(_, stored)| stored).collect();
        jobs.sort_by_key(|stored| stored.job.seq);
        for stored in jobs {
            let id = stored.job.record.id;
            match (stored.job.state, carried.leases.get(&id)) {
                (State::Processing, Some(&(token, expires))) if token == stored.token => {
                    self.schedule.wait(live(&stored.job), None);
                    self.schedule.lease(&id, token, expires);
                }
                (State::Processing, _) => self.recover_orphan(stored, blame)?,
                _ => {
                    let wait = stored.job.not_before.map(|due| self.wait_left(due, stored.wait_ms));
                    self.schedule.wait(live(&stored.job), wait.map(|wait| self.clock.elapsed() + wait));
                }
            }
        }
        Ok(())
    }

    /// A job whose worker died with the server.
    fn recover_orphan(&mut self, mut stored: StoredJob, blame: Blame) -> Result<(), QueueError> {
        self.schedule.wait(live(&stored.job), None);
        if blame == Blame::InFlight {
            stored.job.crashes += 1;
            stored.job.error = Some(JobError::new(ErrorCode::Crashed, "the server died while it worked on this job"));
            if stored.job.crashes >= self.settings.crashes_max {
                poison(&mut stored);
                self.end_failed(stored)?;
                return Ok(());
            }
        }
        refund(&mut stored);
        self.put_back(stored, State::Processing, None)
    }

    fn recover_outbox(&mut self) -> Result<(), QueueError> {
        for (key, delivery) in self.read_all::<StoredDelivery>(Table::Outbox)? {
            let Some(id) = key::id(&key) else { continue };
            let wait = self.wait_left(delivery.due, delivery.wait_ms);
            self.outbox.set(id, Owed { due: self.clock.elapsed() + wait, attempts: delivery.attempts });
        }
        Ok(())
    }

    /// How long to wait still. A wall clock that was set back must not make it longer than it was meant to be.
    fn wait_left(&self, due: Timestamp, wait_ms: u64) -> Duration {
        due.since(self.clock.now()).min(Duration::from_millis(wait_ms))
    }

    /// Every record of a table. One that can't be read is put away, loudly, instead of stopping the server: an
    /// accepted job is in the spool still.
    fn read_all<T: DeserializeOwned>(&mut self, table: Table) -> Result<Vec<(Vec<u8>, T)>, QueueError> {
        const END: &[u8] = &[0xFF; 17];
        let mut records = Vec::new();
        let mut from = Vec::new();
        loop {
            let entries = self.store.range(table, &from..END, Order::Ascending, READ_AT_ONCE)?;
            let Some((last, _)) = entries.last() else { return Ok(records) };
            from = [last.as_slice(), &[0]].concat();
            for (key, bytes) in entries {
                match record::decode(&bytes) {
                    Ok(value) => records.push((key, value)),
                    Err(error) => self.put_away(table, key, bytes, &error)?,
                }
            }
        }
    }

    /// Puts a live job's record away if it can't be read: one that can't must not keep the others waiting. The job is
    /// in the spool still, and comes again from there.
    pub(super) fn put_away_if_unreadable(&mut self, id: &JobId) -> Result<(), QueueError> {
        let Some(bytes) = self.store.get(Table::Jobs, id.as_bytes())? else { return Ok(()) };
        let Err(error) = record::decode::<StoredJob>(&bytes) else { return Ok(()) };
        self.put_away(Table::Jobs, id.as_bytes().to_vec(), bytes, &error)?;
        self.schedule.remove(id);
        Ok(())
    }

    fn put_away(&mut self, table: Table, key: Vec<u8>, bytes: Vec<u8>, why: &RecordError) -> Result<(), QueueError> {
        tracing::error!(table = table.name(), key = %hex::encode(&key), error = %why,
            "a record can't be read; it is kept among the unreadable ones");
        let mut batch = Batch::default();
        batch.put(Table::Unreadable, [table.name().as_bytes(), b"/", &key].concat(), bytes);
        batch.remove(table, key);
        self.apply(&batch)
    }
}

fn check_schema<S: Store>(store: &S) -> Result<(), QueueError> {
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

fn numbers<S: Store>(store: &S, key: &'static [u8], at_least: u64) -> Result<Numbers, StoreError> {
    let reserved = store.get(Table::Meta, key)?.and_then(|bytes| bytes.try_into().ok()).map_or(1, u64::from_be_bytes);
    Ok(Numbers { key, next: reserved.max(at_least), reserved })
}

fn count_ended<S: Store>(store: &S) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    for state in State::ALL {
        if let Some(count) = ended_count(&mut counts, state) {
            let keys = key::listing(&Filter { state: Some(state), owner: None });
            *count = store.count(Table::Listing, &keys.start..&keys.end)?;
        }
    }
    Ok(counts)
}

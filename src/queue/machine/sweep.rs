//! What has to be looked for: lapsed leases, and ended jobs that may be forgotten.

use super::{Machine, ended_count};
use crate::clock::Timestamp;
use crate::job::{ErrorCode, JobError, JobId, State, StoredFile};
use crate::queue::store::{Batch, Order, Store, Table};
use crate::queue::{Job, QueueError, key, read};

/// Jobs forgotten in one batch: batches are kept small, since each holds up all others.
const FORGOTTEN_AT_ONCE: usize = 32;

impl<S: Store> Machine<S> {
    pub(in crate::queue) fn expired(&self, limit: usize) -> Vec<JobId> {
        self.schedule.expired(self.clock.elapsed(), limit)
    }

    pub(in crate::queue) fn reap(&mut self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError> {
        if !self.schedule.has_lapsed(id, self.clock.elapsed()) {
            return Ok(None);
        }
        let Some(mut stored) = read::stored_in(&*self.store, Table::Jobs, id)? else {
            self.put_away_if_unreadable(id)?;
            tracing::error!(job = %id, "a leased job has no record; it comes again from the spool");
            self.schedule.remove(id);
            return Ok(None);
        };
        if !files.is_empty() {
            stored.job.files = files;
        }
        if stored.job.attempts < self.settings.attempts_max {
            self.put_back(stored, State::Processing, None)?;
            return Ok(Some(State::Pending));
        }
        let detail = format!("the worker of attempt {} was not heard of again", stored.job.attempts);
        stored.job.error = Some(JobError::new(ErrorCode::LeaseExpired, detail));
        self.end_failed(stored)?;
        Ok(Some(State::Failed))
    }

    pub(in crate::queue) fn purge(&mut self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        let keys = key::done_before(finished_before);
        let mut from = keys.start;
        let mut forgotten = 0;
        while forgotten < limit {
            let at_once = FORGOTTEN_AT_ONCE.min(limit - forgotten);
            let entries = self.store.range(Table::ByDone, &from..&keys.end, Order::Ascending, at_once)?;
            let Some((last, _)) = entries.last() else { break };
            // The first key behind it.
            from = [last.as_slice(), &[0]].concat();
            forgotten += self.forget(&entries)?;
        }
        Ok(forgotten)
    }

    pub(in crate::queue) fn forget_live(&mut self, id: &JobId) -> Result<bool, QueueError> {
        let Some(stored) = read::stored_in(&*self.store, Table::Jobs, id)? else { return Ok(false) };
        let mut batch = Batch::default();
        key::forget(&mut batch, &stored.job);
        self.apply(&batch)?;
        self.schedule.remove(id);
        Ok(true)
    }

    fn forget(&mut self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<usize, QueueError> {
        let mut batch = Batch::default();
        let mut jobs: Vec<Job> = Vec::new();
        for (done, _) in entries {
            let Some(id) = key::id_of_done(done) else { continue };
            if self.outbox.get(&id).is_some() {
                continue;
            }
            match read::job(&*self.store, &id)? {
                Some(job) => {
                    key::forget(&mut batch, &job);
                    jobs.push(job);
                }
                None => batch.remove(Table::ByDone, done.as_slice()),
            }
        }
        self.apply(&batch)?;
        for job in &jobs {
            if let Some(count) = ended_count(&mut self.ended, job.state) {
                *count = count.saturating_sub(1);
            }
        }
        Ok(jobs.len())
    }
}

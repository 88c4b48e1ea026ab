//! What has to be looked for: lapsed leases, and ended jobs that are old enough to be removed.

use super::settle::{add_files, refund};
use super::{Machine, ended_count};
use crate::clock::Timestamp;
use crate::job::{ErrorCode, JobError, JobId, State, StoredFile};
use crate::queue::local::store::{Batch, RecordStore, ScanOrder, Table};
use crate::queue::local::{key, read};
use crate::queue::metrics::AttemptOutcome;
use crate::queue::{EndedJob, Job, KnownJob, QueueError};

/// Jobs removed in one batch: batches are kept small, since each holds up all others.
const PURGED_AT_ONCE: usize = 32;

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn expired_leases(&mut self, limit: usize) -> Vec<JobId> {
        self.schedule.end_expired(self.clock.elapsed(), limit)
    }

    pub(in crate::queue::local) fn reap(
        &mut self,
        id: &JobId,
        files: Vec<StoredFile>,
    ) -> Result<Option<State>, QueueError> {
        if !self.schedule.has_lapsed(id, self.clock.elapsed()) {
            return Ok(None);
        }
        self.set_aside_if_unreadable(id)?;
        let Some(mut stored) = read::stored_in(&*self.records, Table::Jobs, id)? else {
            tracing::error!(job_id = %id, "leased job has no readable record; it will be requeued from the spool");
            self.schedule.remove(id);
            return Ok(None);
        };
        add_files(&mut stored, files);
        self.observers.metrics.attempt_ended(AttemptOutcome::Lost);
        if self.schedule.is_storing(id) {
            // Waiting for a store is no attempt, and no reason to fail.
            refund(&mut stored);
            self.requeue(stored, None)?;
            return Ok(Some(State::Pending));
        }
        if stored.job.attempts < self.settings.attempts_max {
            self.requeue(stored, None)?;
            return Ok(Some(State::Pending));
        }
        let detail = format!("the worker of attempt {} did not renew its lease", stored.job.attempts);
        stored.job.error = Some(JobError::new(ErrorCode::LeaseExpired, detail));
        self.end_failed(stored).map(Some)
    }

    pub(in crate::queue::local) fn known(&self, ids: &[JobId]) -> Result<Vec<KnownJob>, QueueError> {
        let now = self.clock.now();
        let known = |id: &JobId| {
            let Some(job) = read::job(&*self.records, id)? else { return Ok(KnownJob::Unknown) };
            if !job.state.is_terminal() {
                return Ok(KnownJob::Live);
            }
            let ago = now.since(job.finished_at.unwrap_or(now));
            Ok(KnownJob::Ended(EndedJob { state: job.state, ago, owes_callback: self.owes_callbacks(*id) }))
        };
        ids.iter().map(known).collect()
    }

    pub(in crate::queue::local) fn purge(
        &mut self,
        finished_before: Timestamp,
        limit: usize,
    ) -> Result<usize, QueueError> {
        let keys = key::done_before(finished_before);
        let mut from = keys.start;
        let mut purged = 0;
        while purged < limit {
            let at_once = PURGED_AT_ONCE.min(limit - purged);
            let entries = self.records.range(Table::ByDone, &from..&keys.end, ScanOrder::Ascending, at_once)?;
            let Some((last, _)) = entries.last() else { break };
            // The first key behind it.
            from = [last.as_slice(), &[0]].concat();
            purged += self.remove_ended(&entries)?;
        }
        Ok(purged)
    }

    pub(in crate::queue::local) fn forget_used_tokens(&mut self, limit: usize) -> Result<usize, QueueError> {
        let keys = key::done_before(self.clock.now());
        let limit = limit.min(PURGED_AT_ONCE);
        let ended = self.records.range(Table::UsedTokensByEnd, &keys.start..&keys.end, ScanOrder::Ascending, limit)?;
        if ended.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::default();
        for (end, _) in &ended {
            batch.remove(Table::UsedTokensByEnd, end.as_slice());
            if let Some(digest) = key::digest_of_used_token_end(end) {
                batch.remove(Table::UsedTokens, digest);
            }
        }
        self.apply(&batch)?;
        Ok(ended.len())
    }

    pub(in crate::queue::local) fn drop_live(&mut self, id: &JobId) -> Result<bool, QueueError> {
        let Some(stored) = read::stored_in(&*self.records, Table::Jobs, id)? else { return Ok(false) };
        let mut batch = Batch::default();
        key::remove(&mut batch, &stored.job);
        self.remove_deliveries(&mut batch, *id)?;
        self.apply(&batch)?;
        self.schedule.remove(id);
        for owed in self.deliveries.of_job(*id).collect::<Vec<_>>() {
            self.deliveries.remove(&owed);
        }
        Ok(true)
    }

    fn remove_ended(&mut self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<usize, QueueError> {
        let mut batch = Batch::default();
        let mut jobs: Vec<Job> = Vec::new();
        for (done, _) in entries {
            let Some(id) = key::id_of_done(done) else { continue };
            if self.owes_callbacks(id) {
                continue;
            }
            match read::job(&*self.records, &id)? {
                Some(job) if job.finished_at.is_some_and(|finished| key::done(finished, &id) == *done) => {
                    key::remove(&mut batch, &job);
                    self.remove_deliveries(&mut batch, id)?;
                    jobs.push(job);
                }
                // Its record was set aside as unreadable; if the spool had it still, it lives again, or has ended again.
                Some(_) => batch.remove(Table::ByDone, done.as_slice()),
                None => {
                    batch.remove(Table::ByDone, done.as_slice());
                    self.remove_deliveries(&mut batch, id)?;
                }
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

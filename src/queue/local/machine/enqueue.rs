//! Jobs coming in.

use super::{Machine, encode, live};
use crate::failpoint::{Step, reached};
use crate::job::{JobRecord, State};
use crate::queue::local::store::{Batch, RecordStore, RecordStoreError, Table};
use crate::queue::local::{key, read};
use crate::queue::record::{StoredAnswer, StoredJob};
use crate::queue::{Enqueued, Job, QueueError, RECORD_BYTES_MAX};

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn enqueue(&mut self, mut record: JobRecord) -> Result<Enqueued, QueueError> {
        let answered = record.take_answer();
        let json = serde_json::to_vec(&record).map_err(|e| RecordStoreError::failed("writing a record", e))?;
        if json.len() > RECORD_BYTES_MAX {
            return Err(QueueError::TooLarge { bytes: json.len(), max: RECORD_BYTES_MAX });
        }
        self.set_aside_if_unreadable(&record.id)?;
        // What is known is known, however full the queue is.
        if read::stored(&*self.records, &record.id)?.is_some() {
            return Ok(Enqueued::Known);
        }
        if let Some((key, _)) = &answered
            && let Some(StoredAnswer { answer, job, .. }) = self.valid_answer(key)?
            // A job whose record was lost comes again from the spool: it is what its request was answered with.
            && job != Some(record.id)
        {
            return Ok(Enqueued::Repeated(answer));
        }
        if let Some(token) = &record.once
            && let Some(id) = read::user_of_token(&*self.records, &token.digest)?
            // A job whose record was lost comes again from the spool: it is what the token was used for.
            && id != record.id
        {
            return Ok(Enqueued::TokenUsed(id));
        }
        let retried = match record.retry_of {
            Some(id) => read::stored(&*self.records, &id)?,
            None => None,
        };
        if let Some(other) = retried.as_ref().and_then(|retried| retried.job.retried_as)
            && other != record.id
        {
            return Ok(Enqueued::RetriedAlready(other));
        }
        if let Some(live) = self.newest_duplicate(&record)?
            && !record.waits_for(&live.record)
        {
            return Ok(Enqueued::Duplicate(Box::new(live)));
        }
        self.check_depth(&record)?;

        let mut batch = Batch::default();
        let seq = self.seq.take_from(&mut batch, self.clock.now().as_millis().saturating_mul(1000));
        let stored = StoredJob { job: fresh(record, seq), token: 0, wait_ms: 0, is_called_off: false, is_made: false };
        batch.put(Table::Jobs, *stored.job.record.id.as_bytes(), encode(&stored)?);
        key::add(&mut batch, &stored.job);
        if let Some(token) = &stored.job.record.once {
            batch.put(Table::UsedTokens, *token.digest.as_bytes(), *stored.job.record.id.as_bytes());
            batch.put(Table::UsedTokensByEnd, key::used_token_end(token), Vec::new());
        }
        if let Some((key, answer)) = &answered {
            self.put_answer(&mut batch, key, answer.clone(), Some(stored.job.record.id))?;
        }
        // In the same batch: a job is run again once, whatever is killed.
        if let Some(mut retried) = retried {
            retried.job.retried_as = Some(stored.job.record.id);
            retried.job.changes += 1;
            batch.put(key::home(retried.job.state), *retried.job.record.id.as_bytes(), encode(&retried)?);
            self.changed.push(retried.job.record.id);
        }
        self.apply(&batch)?;
        reached(Step::EnqueueApplied);
        if let Some((key, _)) = &answered {
            self.requests.remove(key);
        }
        self.schedule.wait(live(&stored), None);
        Ok(Enqueued::Created)
    }

    /// The newest live job of the same bytes and owner. One that waits for another may have been cancelled since, so the
    /// newest of all says nothing.
    fn newest_duplicate(&self, record: &JobRecord) -> Result<Option<Job>, QueueError> {
        match self.schedule.newest_duplicate(&record.owner.digest(), &record.original.sha256) {
            Some(id) => read::job(&*self.records, &id),
            None => Ok(None),
        }
    }

    fn check_depth(&self, record: &JobRecord) -> Result<(), QueueError> {
        let depth = self.schedule.depth();
        if depth >= self.settings.depth_max {
            return Err(QueueError::Full { depth });
        }
        let depth = self.schedule.tenant_depth(&record.owner.tenant_key());
        if depth >= self.settings.owner_depth_max {
            return Err(QueueError::OwnerFull { depth });
        }
        Ok(())
    }
}

fn fresh(record: JobRecord, seq: u64) -> Job {
    Job {
        record,
        state: State::Pending,
        seq,
        attempts: 0,
        crashes: 0,
        not_before: None,
        started_at: None,
        finished_at: None,
        error: None,
        files: Vec::new(),
        changes: 1,
        placeholder: None,
        retried_as: None,
    }
}

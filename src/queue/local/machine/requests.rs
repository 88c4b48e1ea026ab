//! Requests that may be repeated: under way, and answered.

use std::collections::HashMap;
use std::time::Duration;

use super::{Machine, encode};
use crate::job::{IdempotencyKey, JobId, KeptAnswer};
use crate::queue::local::store::{Batch, RecordStore, ScanOrder, Table};
use crate::queue::local::{key, read};
use crate::queue::record::StoredAnswer;
use crate::queue::{BegunRequest, QueueError, RequestFate, RequestLease};

/// Answers forgotten in one batch: batches are kept small, since each holds up all others.
const FORGOTTEN_AT_ONCE: usize = 32;

/// Those under way, and those of which nobody knows whether they became a job. They end with the server: whatever the spool has of
/// them is queued when it starts again.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    by_key: HashMap<IdempotencyKey, Request>,
    last_token: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    token: u64,
    /// When its lease lapses, by the monotonic clock.
    expires: Duration,
    /// The job that it, or an earlier one with this key, was about to become.
    job: Option<JobId>,
    /// When that job is remembered no more.
    remembered_until: Duration,
}

impl Requests {
    /// The one with this lease, whether that has lapsed or not.
    fn of(&mut self, lease: &RequestLease) -> Option<&mut Request> {
        self.by_key.get_mut(&lease.key).filter(|request| request.token == lease.token)
    }

    pub(super) fn remove(&mut self, key: &IdempotencyKey) {
        self.by_key.remove(key);
    }
}

impl Request {
    fn remembered(&self, now: Duration) -> Option<JobId> {
        self.job.filter(|_| now < self.remembered_until)
    }
}

impl<S: RecordStore> Machine<S> {
    pub(in crate::queue::local) fn begin_request(
        &mut self,
        key: IdempotencyKey,
        lease: Duration,
    ) -> Result<BegunRequest, QueueError> {
        if let Some(StoredAnswer { answer, .. }) = self.valid_answer(&key)? {
            return Ok(BegunRequest::Answered(answer));
        }
        let now = self.clock.elapsed();
        let before = self.requests.by_key.get(&key).copied();
        if before.is_some_and(|request| now < request.expires) {
            return Ok(BegunRequest::InFlight);
        }
        self.requests.last_token += 1;
        let token = self.requests.last_token;
        let earlier = before.and_then(|request| request.remembered(now));
        let remembered_until = before.map_or(now, |request| request.remembered_until);
        let request = Request { token, expires: now.saturating_add(lease), job: earlier, remembered_until };
        self.requests.by_key.insert(key, request);
        Ok(BegunRequest::Begun { lease: RequestLease { key, token }, earlier })
    }

    pub(in crate::queue::local) fn extend_request(
        &mut self,
        lease: &RequestLease,
        by: Duration,
        job: Option<JobId>,
    ) -> bool {
        let now = self.clock.elapsed();
        let Some(request) = self.requests.of(lease) else { return false };
        request.expires = now.saturating_add(by);
        if job.is_some() {
            request.job = job;
            request.remembered_until = now.saturating_add(IdempotencyKey::KEPT_FOR);
        }
        true
    }

    pub(in crate::queue::local) fn keep_answer(
        &mut self,
        lease: &RequestLease,
        answer: KeptAnswer,
    ) -> Result<(), QueueError> {
        // Whoever was quicker has said what it is answered with.
        if self.requests.of(lease).is_none() {
            return Ok(());
        }
        let mut batch = Batch::default();
        self.put_answer(&mut batch, &lease.key, answer, None)?;
        self.apply(&batch)?;
        self.requests.remove(&lease.key);
        Ok(())
    }

    pub(in crate::queue::local) fn end_request(&mut self, lease: &RequestLease, fate: RequestFate) {
        let next_token = self.requests.last_token + 1;
        let Some(request) = self.requests.of(lease) else { return };
        match fate {
            RequestFate::Unknown if request.job.is_some() => {
                // Nobody's from now on: whoever held it neither renews it nor ends it again.
                (request.token, request.expires) = (next_token, Duration::ZERO);
                self.requests.last_token = next_token;
            }
            RequestFate::Unknown | RequestFate::Free => self.requests.remove(&lease.key),
        }
    }

    /// What the request with this key is answered with.
    pub(super) fn valid_answer(&self, key: &IdempotencyKey) -> Result<Option<StoredAnswer>, QueueError> {
        let now = self.clock.now();
        Ok(read::answer(&*self.records, key)?.filter(|stored| now < stored.until))
    }

    /// What the request with this key is answered with from now on. One that is given again no more is forgotten with that.
    pub(super) fn put_answer(
        &self,
        batch: &mut Batch,
        key: &IdempotencyKey,
        answer: KeptAnswer,
        job: Option<JobId>,
    ) -> Result<(), QueueError> {
        let until = self.clock.now().after(IdempotencyKey::KEPT_FOR);
        self.replace_answer(batch, key, &StoredAnswer { answer, job, until })
    }

    pub(super) fn replace_answer(
        &self,
        batch: &mut Batch,
        key: &IdempotencyKey,
        answer: &StoredAnswer,
    ) -> Result<(), QueueError> {
        if let Some(before) = read::answer(&*self.records, key)? {
            batch.remove(Table::AnswersByEnd, key::answer_end(before.until, key));
        }
        batch.put(Table::Answers, *key.as_bytes(), encode(answer)?);
        batch.put(Table::AnswersByEnd, key::answer_end(answer.until, key), Vec::new());
        Ok(())
    }

    pub(in crate::queue::local) fn forget_answers(&mut self, limit: usize) -> Result<usize, QueueError> {
        let now = self.clock.elapsed();
        self.requests.by_key.retain(|_, request| now < request.expires || request.remembered(now).is_some());
        let keys = key::done_before(self.clock.now());
        let limit = limit.min(FORGOTTEN_AT_ONCE);
        let ended = self.records.range(Table::AnswersByEnd, &keys.start..&keys.end, ScanOrder::Ascending, limit)?;
        if ended.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::default();
        for (end, _) in &ended {
            batch.remove(Table::AnswersByEnd, end.as_slice());
            if let Some(key) = key::key_of_answer_end(end) {
                batch.remove(Table::Answers, key);
            }
        }
        self.apply(&batch)?;
        Ok(ended.len())
    }
}

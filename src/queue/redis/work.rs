//! Jobs coming in, going out, and ending.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::change::{Change, Decision, DeliveryChange, Found, With, wait_of};
use super::fields::{self, DIGEST_BYTES, Fields, constants, json, owner_key, packed};
use super::requests::{answer_of, request_key};
use super::scripts::{
    CLAIM, CLAIM_MADE, DROP_LIVE, ENQUEUE, ERASE, EXPIRED, EXTEND, FORGET_TOKENS, KNOWN, LEFT_SPOOL, MADE, PURGE,
    PUT_OFF,
};
use super::waiting::{MemoryAtHand, WorkKind};
use super::{RedisQueue, answered, random, unreadable};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::job::{
    ContentHash, HashKey, IdempotencyKey, JobId, JobRecord, KeptAnswer, Owner, RecordVersion, State, StoredFile,
};
use crate::queue::metrics::AttemptOutcome;
use crate::queue::record::StoredJob;
use crate::queue::rules::{self, Next, ToldCallbacks};
use crate::queue::{
    CancelOutcome, Claim, ClaimRequest, Claimed, EndedJob, Enqueued, ErasedRecord, Job, JobIntake, JobMaintenance,
    JobWork, KnownJob, Lease, LeaseState, PASS_MAX, Place, QueueError, RECORD_BYTES_MAX, Settled, Settlement,
};

/// Leases have random numbers below this: Lua counts no further.
const TOKENS: u64 = 1 << 53;
/// Nobody's lease is ended before Redis has answered for so long.
const CALM_BEFORE_REAPING: Duration = Duration::from_secs(20);
/// A job whose record can't be read is not looked at for so long.
const UNREADABLE_FOR: Duration = Duration::from_mins(1);
/// Jobs that a script looks up at once.
const KNOWN_AT_ONCE: usize = 500;
/// Jobs that a script removes at once: each script holds up all others.
const PURGED_AT_ONCE: usize = 32;

#[async_trait]
impl JobIntake for RedisQueue {
    async fn enqueue(&self, mut record: JobRecord) -> Result<Enqueued, QueueError> {
        self.usable()?;
        let request = record.take_answer();
        let text = json(&record)?;
        if text.len() > RECORD_BYTES_MAX {
            return Err(QueueError::TooLarge { bytes: text.len(), max: RECORD_BYTES_MAX });
        }
        let token = record.once.as_ref();
        let request = request.as_ref().map(|(key, answer)| Ok::<_, QueueError>((request_key(key), packed(answer)?)));
        let (request, answer) = request.transpose()?.unwrap_or_default();
        let args: [Vec<u8>; 12] = [
            record.id.to_string().into(),
            constants(&record).into(),
            record.memory.unwrap_or(0).to_string().into(),
            text,
            token.map(|token| token.digest.to_string()).unwrap_or_default().into(),
            token.map(|token| token.good_until.as_millis().to_string()).unwrap_or_default().into(),
            self.settings.depth_max.to_string().into(),
            self.settings.owner_depth_max.to_string().into(),
            request.into(),
            answer,
            IdempotencyKey::KEPT_FOR.as_millis().to_string().into(),
            record.retry_of.map(|id| id.to_string()).unwrap_or_default().into(),
        ];
        let answer: Vec<Value> = self.scripts.run(&ENQUEUE, &args).await?;
        let word = |at: usize| answer.get(at).map(answered::<String>).transpose().map(Option::unwrap_or_default);
        let depth = || Ok::<usize, QueueError>(word(1)?.parse().unwrap_or(usize::MAX));
        match word(0)?.as_str() {
            "created" => {
                self.events.recorded(record.id);
                Ok(Enqueued::Created)
            }
            "known" => Ok(Enqueued::Known),
            "token" => Ok(Enqueued::TokenUsed(word(1)?.parse().map_err(|error| unreadable("reading an id", error))?)),
            "repeated" => Ok(Enqueued::Repeated(answer_of(answer.get(1))?)),
            "retried" => {
                Ok(Enqueued::RetriedAlready(word(1)?.parse().map_err(|error| unreadable("reading an id", error))?))
            }
            "duplicate" => match fields::job(&answered(&answer[2])?)? {
                Some(live) => Ok(Enqueued::Duplicate(Box::new(live.job))),
                None => Err(QueueError::Unavailable { what: "a duplicate has no record".to_owned(), source: None }),
            },
            "full" => Err(QueueError::Full { depth: depth()? }),
            _ => Err(QueueError::OwnerFull { depth: depth()? }),
        }
    }

    async fn find_live(&self, hash: &HashKey, owner: &Owner) -> Result<Option<Job>, QueueError> {
        // The live jobs of the same bytes, of which the hash begins with the SHA-256.
        let bytes = hash.as_str().get(..2 * DIGEST_BYTES).unwrap_or_default();
        self.newest_in(&format!("dup:{}:{bytes}", owner_key(owner)), |job| job.record.owner == *owner).await
    }

    async fn user_of_token(&self, token: &ContentHash) -> Result<Option<JobId>, QueueError> {
        self.usable()?;
        let command = redis::Cmd::hget(self.scripts.key("once"), token.to_string());
        let id: Option<String> = self.scripts.client.query("looking for a used token", &command).await?;
        Ok(id.and_then(|id| id.parse().ok()))
    }

    async fn cancel(&self, id: &JobId, files: Vec<StoredFile>) -> Result<CancelOutcome, QueueError> {
        let cancelled = self.change(id, With::Callbacks, |found| {
            let before = found.stored.job.state;
            if before.is_terminal() {
                return Ok(Decision::Leave((CancelOutcome::Ended(before), None)));
            }
            let is_ours = self.held.lock().get(id).is_some_and(|lease| lease.token == found.stored.token);
            if before == State::Processing && !is_ours {
                let is_asked = std::mem::replace(&mut found.stored.is_called_off, true);
                let answer = (CancelOutcome::Stopping, None);
                return Ok(if is_asked { Decision::Leave(answer) } else { Decision::Apply(Change::default(), answer) });
            }
            rules::add_files(&mut found.stored, files.clone());
            let (change, _) = self.go_on(found, Next::Ends(State::Cancelled))?;
            let outcome = match before {
                State::Processing => CancelOutcome::CancelledProcessing,
                _ => CancelOutcome::CancelledPending,
            };
            Ok(Decision::Apply(change, (outcome, Some(found.stored.job.clone()))))
        });
        let Some((outcome, ended)) = cancelled.await? else { return Ok(CancelOutcome::Unknown) };
        if outcome == CancelOutcome::Stopping {
            // Each time it is asked for: it may have been lost. The next renewal says so, too.
            let publish = redis::Cmd::publish(self.scripts.key("stop"), id.to_string());
            let _: Result<u64, _> = self.scripts.client.query("asking a node to stop a job", &publish).await;
        }
        if let Some(job) = ended {
            self.metrics.ended(&job);
            if outcome == CancelOutcome::CancelledProcessing {
                self.held.lock().remove(id);
                self.metrics.attempt_ended(AttemptOutcome::Settled);
            }
        }
        Ok(outcome)
    }
}

#[async_trait]
impl JobWork for RedisQueue {
    async fn claim(&self, request: ClaimRequest) -> Result<Claimed, QueueError> {
        self.usable()?;
        let ClaimRequest { max, place, memory, lease } = request;
        let tokens = tokens(max)?;
        let mut args = vec![
            WorkKind::of(place).word().to_owned(),
            memory.to_string(),
            self.options.memory_total.to_string(),
            lease.as_millis().to_string(),
            self.settings.realtime_run_max.max(1).to_string(),
            PASS_MAX.as_millis().to_string(),
            RecordVersion::newest().number().to_string(),
        ];
        args.extend(tokens.iter().map(u64::to_string));
        let began = self.clock.elapsed();
        // Not twice: it would give out twice as much.
        let (short, left, next_due, given): (String, String, String, Vec<(String, Fields)>) =
            self.scripts.run_once(&CLAIM, &args).await?;
        let found = given.len();
        let claims = self.claims(given, &tokens, began, lease).await?;
        let next_takes: Option<u64> = short.parse().ok();
        let left = if next_takes.is_some() { left.parse().unwrap_or(0) } else { u64::MAX };
        let at_hand = MemoryAtHand { left, total: self.options.memory_total };
        self.waiting(WorkKind::of(place)).looked(found < max, wait_of(&next_due), at_hand);
        Ok(Claimed { claims, next_takes })
    }

    async fn wait_ready(&self, place: Place, at_most: Duration) {
        self.waiting(WorkKind::of(place)).wait(at_most).await;
    }

    fn idle_poll(&self) -> Duration {
        self.poll_among_nodes()
    }

    async fn made(&self, lease: &Lease) -> Result<(), QueueError> {
        self.usable()?;
        let _: u64 = self.scripts.run(&MADE, &[lease.id.to_string(), lease.token.to_string()]).await?;
        Ok(())
    }

    async fn claim_made(&self, max: usize, lease: Duration) -> Result<Vec<Claim>, QueueError> {
        self.usable()?;
        let tokens = tokens(max)?;
        let mut args = vec![lease.as_millis().to_string(), RecordVersion::newest().number().to_string()];
        args.extend(tokens.iter().map(u64::to_string));
        let began = self.clock.elapsed();
        let (next_due, given): (String, Vec<(String, Fields)>) = self.scripts.run_once(&CLAIM_MADE, &args).await?;
        self.waiting(WorkKind::Made).looked(given.len() < max, wait_of(&next_due), MemoryAtHand::ANY);
        self.claims(given, &tokens, began, lease).await
    }

    async fn wait_made(&self, at_most: Duration) {
        self.waiting(WorkKind::Made).wait(at_most).await;
    }

    async fn extend(&self, lease: &Lease, by: Duration) -> Result<LeaseState, QueueError> {
        self.usable()?;
        let began = self.clock.elapsed();
        let args = [by.as_millis().to_string(), lease.id.to_string(), lease.token.to_string()];
        let states: Vec<String> = self.scripts.run(&EXTEND, &args).await?;
        Ok(match states.first().map(String::as_str) {
            Some("held") => LeaseState::Held(began.saturating_add(by)),
            Some("stop") => LeaseState::CalledOff,
            other => {
                // Whoever is told so doesn't settle.
                self.let_go(lease);
                if other == Some("cancelled") { LeaseState::Cancelled } else { LeaseState::Lost }
            }
        })
    }

    async fn next_stop(&self) -> JobId {
        match self.stops.lock().await.recv().await {
            Some(id) => id,
            None => std::future::pending().await,
        }
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn file_stored(&self, lease: &Lease, index: u16, file: StoredFile) -> Result<(), QueueError> {
        let told = self.change(&lease.id, With::Callbacks, |found| {
            if !is_held(found, lease) {
                return Ok(Decision::Leave(()));
            }
            let job = &found.stored.job;
            let changes = job.changes + self.events.unrecorded(lease.id);
            let mut last = found.last_sequence()?;
            let owed = rules::owed_of_file(job, index, file.clone(), &*found, &mut last, found.now, changes)?;
            Ok(match owed {
                Some((id, delivery)) => {
                    let deliveries = vec![DeliveryChange::put(id, delivery)];
                    Decision::Apply(Change { deliveries, ..Change::default() }, ())
                }
                None => Decision::Leave(()),
            })
        });
        told.await.map(|_| ())
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<Settled, QueueError> {
        let settled = self.change(&lease.id, With::Callbacks, |found| {
            if !is_held(found, lease) {
                return Ok(Decision::Leave(None));
            }
            let next = rules::settle(&mut found.stored, settlement.clone(), &self.settings);
            let (change, state) = self.go_on(found, next)?;
            Ok(Decision::Apply(change, Some((state, found.stored.clone()))))
        });
        let settled = settled.await?.flatten();
        self.let_go(lease);
        let Some((state, StoredJob { job, wait_ms, .. })) = settled else { return Ok(Settled::Stale) };
        self.metrics.attempt_ended(AttemptOutcome::of(&settlement)(state));
        if state.is_terminal() {
            self.metrics.ended(&job);
        } else {
            for kind in [WorkKind::Regular, WorkKind::Spare, WorkKind::Made] {
                self.waiting(kind).due_within(Duration::from_millis(wait_ms));
            }
        }
        Ok(Settled::Applied(state))
    }
}

#[async_trait]
impl JobMaintenance for RedisQueue {
    async fn expired_leases(&self, limit: usize) -> Result<Vec<JobId>, QueueError> {
        self.usable()?;
        // Whoever holds them couldn't renew them either: they go first.
        if self.scripts.client.last_failure().is_some_and(|ago| ago < CALM_BEFORE_REAPING) {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = self.scripts.run(&EXPIRED, &[limit.to_string()]).await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    async fn reap(&self, id: &JobId, files: Vec<StoredFile>) -> Result<Option<State>, QueueError> {
        let reaped = self.change(id, With::Callbacks, |found| {
            if found.stored.job.state != State::Processing || !found.has_lapsed {
                return Ok(Decision::Leave(None));
            }
            // Waiting for a store is no attempt, and neither is one whose worker never heard of it.
            let is_refunded = found.stored.is_made || found.is_unconfirmed;
            // What happened in it, its node alone has counted.
            if !self.held.lock().contains_key(id) {
                found.stored.job.changes += rules::CHANGES_OF_A_LOST_ATTEMPT;
            }
            let next = rules::reap(&mut found.stored, files.clone(), is_refunded, &self.settings);
            let (change, state) = self.go_on(found, next)?;
            let change = Change { only_lapsed: true, ..change };
            Ok(Decision::Apply(change, Some((state, found.stored.job.clone()))))
        });
        let Some((state, job)) = reaped.await?.flatten() else { return Ok(None) };
        self.metrics.attempt_ended(AttemptOutcome::Lost);
        if state.is_terminal() {
            self.metrics.ended(&job);
        }
        Ok(Some(state))
    }

    async fn known(&self, ids: &[JobId]) -> Result<Vec<KnownJob>, QueueError> {
        self.usable()?;
        let mut known = Vec::with_capacity(ids.len());
        for ids in ids.chunks(KNOWN_AT_ONCE) {
            let ids: Vec<String> = ids.iter().map(JobId::to_string).collect();
            let answer: Vec<(String, u64, u64)> = self.scripts.run(&KNOWN, &ids).await?;
            known.extend(answer.iter().map(|(word, ago_ms, owed)| match fields::state_of(word) {
                None => KnownJob::Unknown,
                Some(state) if state.is_terminal() => {
                    let ago = Duration::from_millis(*ago_ms);
                    KnownJob::Ended(EndedJob { state, ago, owes_callback: *owed > 0 })
                }
                Some(_) => KnownJob::Live,
            }));
        }
        Ok(known)
    }

    async fn record_files(&self, id: &JobId, files: Vec<StoredFile>) -> Result<(), QueueError> {
        let recorded = self.change(id, With::JobAlone, |found| {
            if !matches!(found.stored.job.state, State::Failed | State::Cancelled) {
                return Ok(Decision::Leave(()));
            }
            found.stored.job.files.clone_from(&files);
            found.stored.job.changes += 1;
            Ok(Decision::Apply(Change::default(), ()))
        });
        recorded.await.map(|_| ())
    }

    async fn purge(&self, finished_before: Timestamp, limit: usize) -> Result<usize, QueueError> {
        self.usable()?;
        // As an age: of the clocks of many nodes only Redis' counts.
        let age = self.clock.now().since(finished_before).as_millis().to_string();
        let (mut from, mut purged) = (0, 0);
        while purged < limit {
            let at_once = PURGED_AT_ONCE.min(limit - purged);
            let args = [age.clone(), from.to_string(), at_once.to_string()];
            // Run twice it removes what comes next, too, which is as old.
            let (looked_at, removed, kept): (usize, usize, usize) = self.scripts.run(&PURGE, &args).await?;
            purged += removed;
            from += kept;
            if looked_at < at_once {
                break;
            }
        }
        Ok(purged)
    }

    async fn left_spool(&self, ids: &[JobId]) -> Result<(), QueueError> {
        self.usable()?;
        for ids in ids.chunks(KNOWN_AT_ONCE) {
            let ids: Vec<String> = ids.iter().map(JobId::to_string).collect();
            let _: u64 = self.scripts.run(&LEFT_SPOOL, &ids).await?;
        }
        Ok(())
    }

    async fn forget_used_tokens(&self, limit: usize) -> Result<usize, QueueError> {
        self.usable()?;
        Ok(self.scripts.run(&FORGET_TOKENS, &[limit.min(PURGED_AT_ONCE).to_string()]).await?)
    }

    /// Redis does.
    async fn forget_answers(&self, _: usize) -> Result<usize, QueueError> {
        self.usable()?;
        Ok(0)
    }

    async fn drop_live(&self, id: &JobId) -> Result<bool, QueueError> {
        self.usable()?;
        let dropped: u64 = self.scripts.run(&DROP_LIVE, &[id.to_string()]).await?;
        Ok(dropped > 0)
    }

    async fn erase(&self, id: &JobId) -> Result<ErasedRecord, QueueError> {
        let found = self.load(id, With::JobAlone).await?;
        let request = found.and_then(|found| found.stored.job.record.idempotency);
        let request = request.map(|request| request_key(&request.key)).unwrap_or_default();
        let args: [Vec<u8>; 3] = [id.to_string().into(), request.into(), packed(&KeptAnswer::erased())?];
        let erased: u64 = self.scripts.run(&ERASE, &args).await?;
        Ok(match erased {
            2 => ErasedRecord::Gone,
            1 => ErasedRecord::Live,
            _ => ErasedRecord::Unknown,
        })
    }
}

impl RedisQueue {
    /// What a claim was answered. Until it is confirmed, the jobs are this node's for seconds only, so that an answer that is lost
    /// costs no more than those.
    async fn claims(
        &self,
        given: Vec<(String, Fields)>,
        tokens: &[u64],
        began: Duration,
        lease: Duration,
    ) -> Result<Vec<Claim>, QueueError> {
        let mut claims = Vec::with_capacity(given.len());
        for ((id, fields), token) in given.iter().zip(tokens) {
            let read = fields::job(fields);
            match read {
                Ok(Some(stored)) => {
                    let id = stored.job.record.id;
                    let lease = Lease { id, token: *token, expires: began.saturating_add(lease) };
                    claims.push(Claim { lease, job: stored.job });
                }
                Ok(None) => {}
                // Damaged, or of a newer version: then for a node of that.
                Err(error) => {
                    tracing::error!(job_id = id, error = %ErrorChain(&error), "claimed job can't be read; put off");
                    let args = [id.clone(), token.to_string(), UNREADABLE_FOR.as_millis().to_string()];
                    let _: u64 = self.scripts.run(&PUT_OFF, &args).await?;
                }
            }
        }
        if claims.is_empty() {
            return Ok(claims);
        }
        let mut args = vec![lease.as_millis().to_string()];
        for Claim { lease, .. } in &claims {
            args.extend([lease.id.to_string(), lease.token.to_string()]);
        }
        let states: Vec<String> = self.scripts.run(&EXTEND, &args).await?;
        let mut states = states.into_iter();
        // One that was called off meanwhile ends so with its first renewal.
        claims.retain(|_| states.next().is_some_and(|state| state == "held" || state == "stop"));
        let mut held = self.held.lock();
        for Claim { lease, job } in &claims {
            held.insert(lease.id, lease.clone());
            if job.attempts == 1 {
                self.metrics.first_attempt(job);
            }
            self.events.recorded(lease.id);
        }
        Ok(claims)
    }

    /// Notes that a lease is this node's no more.
    fn let_go(&self, lease: &Lease) {
        let mut held = self.held.lock();
        if held.get(&lease.id).is_some_and(|now| now.token == lease.token) {
            held.remove(&lease.id);
        }
    }
}

/// Whether a job is held under this very lease.
fn is_held(found: &Found, lease: &Lease) -> bool {
    found.stored.job.state == State::Processing && found.stored.token == lease.token
}

fn tokens(max: usize) -> Result<Vec<u64>, QueueError> {
    (0..max).map(|_| random().map(|token| token % TOKENS)).collect()
}

//! One job, from claim to settlement, in two stages: its variants are made, which takes a worker and memory; they are
//! stored, which takes neither, however long a store can't be reached.

mod admission;
mod error;
mod making;
mod renewal;
mod settlement;

pub(super) use error::AttemptError;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, warn};

use self::renewal::LeaseRenewal;
use self::settlement::{Timings, settle};
use super::WorkerContext;
use super::place::PlaceGuard;
use super::uploader::{FileUploader, upload_queues};
use crate::active_jobs::{ActiveAttempt, StopReason, StoreState};
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobRecord, StoredFile, TraceContext};
use crate::pipeline::PipelineError;
use crate::queue::{Claim, Lease, LeaseState, Retry, Settlement};
use crate::retry::Backoff;
use crate::spool::Journal;
use crate::telemetry::{SpanKind, TraceSpan, attempt_span};
use crate::writer::{GiveUpTime, WriteErrorKind, WriteSignals};

/// For an attempt to end by itself when the server stops: longer than writes to stores take to be cancelled.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// How long a job waits that was postponed for want of something of the server's.
const SHORTAGE_BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_secs(5), backoff_factor: 1.0, backoff_max: Duration::from_secs(5) };

/// Between tries to tell the queue that all is made.
const MADE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What ends attempts when the server stops.
#[derive(Clone, Debug, Default)]
pub(super) struct StopSignals {
    /// Wait for no store any more.
    pub(super) draining: CancellationToken,
    /// Release the job.
    pub(super) release: CancellationToken,
}

/// Works on `claim`, until it is settled, or is no longer this worker's. `place` is given back once its variants are made;
/// a job that was claimed as made has none.
pub(super) async fn run(context: Arc<WorkerContext>, claim: Claim, place: Option<PlaceGuard>, signals: StopSignals) {
    let record = &claim.job.record;
    let mut trace = TraceSpan::start(SpanKind::Internal, format_args!("attempt"), record.trace.as_ref());
    trace.set("pixerve.job_id", record.id);
    trace.set("pixerve.hash", &record.hash);
    trace.set_number("pixerve.attempt", claim.job.attempts.into());
    let span = attempt_span(&record.id, &record.hash, claim.job.attempts, trace.context());
    run_claim(&context, &claim, place, &signals, &mut trace).instrument(span).await;
}

async fn run_claim(
    context: &Arc<WorkerContext>,
    claim: &Claim,
    place: Option<PlaceGuard>,
    signals: &StopSignals,
    trace: &mut TraceSpan,
) {
    let record = &claim.job.record;
    info!(files = record.spec.file_count(), "attempt started");
    reached(Step::ClaimAfter);
    let guard = context.active_jobs.start(record.id, record.spec.file_count());
    // A cancellation from here on finds the attempt and waits for its end; one before has voided the lease.
    let lease = context.queue.extend(&claim.lease, context.settings.lease).await;
    match lease {
        Ok(LeaseState::Cancelled) => return info!("job cancelled before its attempt began"),
        // Most often after the whole process stood still.
        Ok(LeaseState::Lost) => return info!("lease lost before the attempt began; the job is another's"),
        Ok(LeaseState::CalledOff) => guard.attempt().stop_for(StopReason::CalledOff),
        // The renewal says so if it stays so.
        Ok(LeaseState::Held(_)) | Err(_) => {}
    }
    let renewal = LeaseRenewal::start(context, &claim.lease, guard.attempt(), signals.release.clone());
    let attempt = Attempt {
        context,
        record,
        trace: trace.context(),
        active: guard.attempt(),
        lease: &claim.lease,
        attempts: claim.job.attempts,
        no_waiting: signals.draining.child_token(),
        timings: Timings::start(&context.clock),
    };
    let work = async {
        // What an earlier attempt is storing must be in the journal before this one reads that: it is not to be stored
        // again, and is to be in the record.
        guard.stop_earlier().await;
        attempt.work(place).await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        // The renewal has stopped the attempt, which gives its writes up: the next start writes those files again, to the
        // same names. One that takes too long for that is abandoned, half-written objects and all.
        () = sleep_after(&signals.release, STOP_TIMEOUT) => Settlement::Released,
    };
    let timings = attempt.timings;
    tell_outcome(trace, &outcome);
    let outcome = match guard.attempt().stopped_for() {
        Some(StopReason::CalledOff) if outcome == Settlement::Released => {
            Settlement::Stopped { files: stored(context, record, guard.attempt()).await }
        }
        _ => outcome,
    };
    let is_stopped = guard.attempt().stop().is_cancelled() && !signals.release.is_cancelled();
    match outcome {
        // Whoever cancelled the job settles it, or whoever has its lease now.
        Settlement::Released if is_stopped && guard.attempt().stopped_for().is_none() => info!("attempt stopped"),
        outcome => settle(context, &claim.lease, record, outcome, &signals.release, &timings).await,
    }
    // Before the next attempt of the job may look for anything.
    context.spool.attempt_ended(record.id).await;
    drop(renewal);
    drop(guard);
}

/// What is stored of a job whose attempt was stopped, maybe before it knew that.
async fn stored(context: &WorkerContext, record: &JobRecord, attempt: &ActiveAttempt) -> Vec<StoredFile> {
    if let Some(stored) = attempt.stored() {
        return stored;
    }
    journaled(context, record).await
}

/// What the journal of a job says is stored of it; nothing if that can't be read.
pub(super) async fn journaled(context: &WorkerContext, record: &JobRecord) -> Vec<StoredFile> {
    context.spool.stored_files(record).await.unwrap_or_else(|error| {
        warn!(job_id = %record.id, error = %ErrorChain(&error), "journal can't be read");
        Vec::new()
    })
}

fn tell_outcome(trace: &mut TraceSpan, outcome: &Settlement) {
    let word = match outcome {
        Settlement::Completed { .. } => "completed",
        Settlement::Failed { error, .. } | Settlement::Crashed { error, .. } => {
            trace.fail(&error.code);
            "failed"
        }
        Settlement::Postponed { error, .. } => {
            trace.fail(&error.code);
            "postponed"
        }
        Settlement::Stopped { .. } => "cancelled",
        Settlement::Unmade { .. } | Settlement::Outgrown { .. } | Settlement::Released => "requeued",
    };
    trace.set("pixerve.outcome", word);
}

async fn sleep_after(stop: &CancellationToken, duration: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(duration).await;
}

struct Attempt<'a> {
    context: &'a WorkerContext,
    record: &'a JobRecord,
    /// Its span.
    trace: Option<&'a TraceContext>,
    active: &'a ActiveAttempt,
    lease: &'a Lease,
    /// This one included.
    attempts: u32,
    /// Fires when stores are no longer waited for.
    no_waiting: CancellationToken,
    timings: Timings,
}

impl Attempt<'_> {
    async fn work(&self, place: Option<PlaceGuard>) -> Settlement {
        let WorkerContext { spool, stores, .. } = self.context;
        let journal = match spool.journal(self.record.id).await {
            Ok(journal) => journal,
            Err(error) => return self.failed(AttemptError::Spool(error), Vec::new()).await,
        };
        let give_up = GiveUpTime::default();
        let signals = WriteSignals { stop: self.active.stop().clone(), no_waiting: self.no_waiting.clone() };
        let stores = stores.of_job(self.record, &give_up, &signals);
        self.active.set_stores(stores.iter().map(|store| Arc::clone(store) as Arc<dyn StoreState>).collect());
        let uploader =
            match FileUploader::new(self.record, self.trace, self.active, self.lease, &stores, self.context, &journal)
                .await
            {
                Ok(uploader) => uploader,
                Err(error) => return self.failed(AttemptError::Spool(error), Vec::new()).await,
            };
        let (uploads, queues) = upload_queues(&stores);
        let making = async {
            uploader.queue_existing(&uploads);
            let made = self.make_variants(&uploader, uploads, place).await;
            match made {
                Ok(()) if !self.is_stopped() => {
                    // What is only served has no second stage, with its manifest neither.
                    uploader.serve_manifest().await;
                    self.note_made(&uploader, &journal, &give_up).await;
                }
                Ok(()) => {}
                // What is on its way may arrive; what would have to wait has its next chance in the next attempt.
                Err(_) => self.no_waiting.cancel(),
            }
            made
        };
        let (making, storing) = tokio::join!(making, uploader.store_all(queues, &self.no_waiting));
        let storing = match (&making, storing) {
            (Ok(()), Ok(())) if !self.is_stopped() => uploader.store_manifest(&self.no_waiting).await,
            (_, storing) => storing,
        };
        if self.is_stopped() {
            return Settlement::Released;
        }
        let files = uploader.files();
        match (making, storing) {
            (Ok(()), _) if uploader.is_complete() => {
                self.context.shortage.end();
                Settlement::Completed { files, placeholder: uploader.placeholder() }
            }
            // The server stops.
            (Ok(()), Err(AttemptError::Store(error))) if error.kind == WriteErrorKind::Cancelled => {
                Settlement::Released
            }
            (Err(error), _) | (Ok(()), Err(error)) => self.failed(error, files).await,
            (Ok(()), Ok(())) => {
                let detail = "some files were neither stored nor refused; this is a bug in Pixerve";
                self.failed(AttemptError::Panicked(detail.to_owned()), files).await
            }
        }
    }

    /// From now on the job's stores have so long to take its files.
    async fn note_made(&self, uploader: &FileUploader<'_>, journal: &Journal, give_up: &GiveUpTime) {
        reached(Step::VariantsMade);
        self.timings.set_made(&self.context.clock);
        if uploader.is_complete() {
            return;
        }
        let now = self.context.clock.now();
        let made_at = journal.earlier().all_made_at.unwrap_or(now);
        self.active.set_made(made_at);
        if journal.earlier().all_made_at.is_none()
            && let Err(error) = journal.append_all_made(now).await
        {
            warn!(error = %ErrorChain(&error), "end of making can't be journaled");
        }
        let settings = self.context.settings.stores;
        // A server that was away for days gives a store that is back a chance, too.
        let least = settings.refused_give_up_after.min(settings.give_up_after);
        // A clock that jumped says nothing about how long ago that was.
        let age = if self.context.clock_trust.is_trusted() { now.since(made_at) } else { Duration::ZERO };
        let left = settings.give_up_after.saturating_sub(age).max(least);
        give_up.set(self.context.clock.elapsed().saturating_add(left));
        self.tell_queue_made(uploader).await;
    }

    /// Until the queue knows it, a restart has the job wait for a place that it doesn't need. Storing goes on meanwhile.
    async fn tell_queue_made(&self, uploader: &FileUploader<'_>) {
        let mut is_first = true;
        while !uploader.is_complete() && !self.no_waiting.is_cancelled() && !self.is_stopped() {
            match self.context.queue.made(self.lease).await {
                Ok(()) => return,
                Err(error) if is_first => {
                    warn!(error = %ErrorChain(&error), "queue can't be told that all is made; will be retried");
                }
                Err(_) => {}
            }
            is_first = false;
            tokio::select! {
                () = tokio::time::sleep(MADE_RETRY_DELAY) => {}
                () = self.no_waiting.cancelled() => {}
                () = self.active.stop().cancelled() => {}
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.active.stop().is_cancelled()
    }

    async fn failed(&self, error: AttemptError, files: Vec<StoredFile>) -> Settlement {
        match error {
            AttemptError::Unmade => return Settlement::Unmade { files },
            AttemptError::Outgrown { memory } => return Settlement::Outgrown { memory },
            _ => {}
        }
        let had_ended = matches!(&error, AttemptError::Spool(error) if error.had_ended());
        if had_ended && self.is_forgotten().await {
            return Settlement::Released;
        }
        if let AttemptError::Spool(error) = &error {
            // The record doesn't say which file it is.
            warn!(error = %ErrorChain(error), "spool can't be used");
        }
        if let AttemptError::Pixels(PipelineError::Panicked { detail, .. }) = &error {
            // The record doesn't say so: it means nothing to whoever reads that.
            error!(panic = detail, "image codec panicked");
        }
        let job_error = error.for_record(self.context.settings.job_timeout);
        if had_ended || error.is_shortage() || self.lacks_spool(&error).await {
            self.context.shortage.note(&job_error);
            self.context.disks.recheck();
            return Settlement::Postponed { error: job_error, files, wait: SHORTAGE_BACKOFF.wait_after(1) };
        }
        if error.is_crash() {
            return Settlement::Crashed { error: job_error, files };
        }
        let retry = if error.is_transient() {
            Retry::After(self.context.settings.backoff.wait_after(self.attempts))
        } else {
            Retry::Never
        };
        Settlement::Failed { error: job_error, files, retry }
    }

    /// Whether the queue forgets the job, whose original has left the spool: it had ended, and to work on it again would end
    /// it twice. What the lease is settled with then says nothing any more.
    async fn is_forgotten(&self) -> bool {
        match self.context.queue.drop_live(&self.record.id).await {
            Ok(was_live) => {
                if was_live {
                    error!("job had ended, but its record is lost");
                }
                true
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "job that had ended can't be dropped; will be retried");
                false
            }
        }
    }

    /// Whether a file of the job is missing because all of the spool is.
    async fn lacks_spool(&self, error: &AttemptError) -> bool {
        matches!(error, AttemptError::Spool(error) if error.is_of_machine())
            && !self.context.spool.is_there().await.unwrap_or(false)
    }
}

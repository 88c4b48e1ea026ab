//! One job, from claim to settle.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use super::budget::MemoryShare;
use super::keeper::{Failure, Keeper};
use super::renderer::{Order, Rendering};
use super::{WorkerContext, retry};
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobError, JobRecord, State, StoredFile, VariantSpec};
use crate::pipeline::{Admission, InspectError, PipelineError, inspect};
use crate::queue::{Claim, Lease, LeaseState, Retry, Settled};
use crate::running::RunningJob;
use crate::sandbox::CageError;
use crate::spool::SpoolError;
use crate::telemetry::attempt_span;

/// Between tries to settle a job whose queue fails.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// For an attempt to stop by itself when the server does: a little longer than a store's writes take to be given up.
const LET_GO: Duration = Duration::from_secs(6);

/// Works on `claim`, for which `memory` was put aside, until it is settled, or until it is not this worker's any more.
pub(super) async fn run(context: Arc<WorkerContext>, claim: Claim, memory: MemoryShare, drain: CancellationToken) {
    let record = &claim.job.record;
    let span = attempt_span(&record.id, &record.hash, claim.job.attempts);
    async {
        info!(files = record.spec.file_count(), "working on it");
        reached(Step::ClaimAfter);
        let guard = context.running.start(record.id, record.spec.file_count());
        // Whoever cancels from here on finds it running and waits for it; whoever did before has voided the lease.
        let held = context.queue.extend(&claim.lease, context.settings.lease).await;
        if matches!(held, Ok(LeaseState::Cancelled | LeaseState::Lost)) {
            return info!("cancelled before it began");
        }
        let renewal = Renewal::start(&context, &claim.lease, guard.job(), drain.clone());
        let attempt =
            Attempt { context: &context, record, running: Arc::clone(guard.job()), attempts: claim.job.attempts };
        let mut rendering = None;
        let alone = async {
            // What an earlier attempt still stores is to be in the journal before this one reads that: not to be stored
            // again, and to be on record.
            guard.stop_earlier().await;
            attempt.work(memory, &mut rendering).await
        };
        let outcome = tokio::select! {
            outcome = alone => outcome,
            // The work has been told to stop, and gives up what is on its way to a store: the next start writes it again,
            // to the same name. Should that take too long it is let go, half-written objects and all.
            () = after(&drain, LET_GO) => Outcome::Stopped,
        };
        match outcome {
            // Whoever cancelled it settles it; whoever else has it will settle it.
            Outcome::Stopped if !drain.is_cancelled() => info!("stopped"),
            outcome => {
                reached(Step::SettleBefore);
                settle(&context, &claim.lease, record, outcome, &drain).await;
            }
        }
        drop(renewal);
        drop(guard);
        // A stopped job's pixels may still be worked on for a moment, in this process. Nothing comes of it, but the next
        // job waits, so that there are never more of them in memory than there are workers.
        if let Some(rendering) = rendering.filter(|_| !drain.is_cancelled()) {
            let _ = rendering.await;
        }
    }
    .instrument(span)
    .await;
}

/// How an attempt ended.
enum Outcome {
    Completed(Vec<StoredFile>),
    Failed {
        error: JobError,
        files: Vec<StoredFile>,
        retry: Retry,
    },
    /// The child that worked on it died.
    Crashed {
        error: JobError,
        files: Vec<StoredFile>,
    },
    Stopped,
}

/// Writes down how the attempt ended, however often the queue must be asked.
async fn settle(
    context: &WorkerContext,
    lease: &Lease,
    record: &JobRecord,
    outcome: Outcome,
    drain: &CancellationToken,
) {
    loop {
        let settled = match &outcome {
            Outcome::Completed(files) => context.queue.complete(lease, files.clone()).await,
            Outcome::Failed { error, files, retry } => {
                context.queue.fail(lease, error.clone(), files.clone(), *retry).await
            }
            Outcome::Crashed { error, files } => context.queue.crashed(lease, error.clone(), files.clone()).await,
            Outcome::Stopped => context.queue.release(lease).await,
        };
        match settled {
            Ok(settled) => return leave(context, record, &outcome, settled).await,
            Err(error) if drain.is_cancelled() => {
                return warn!(%error, "the server stops before the queue could take the outcome; the next start tries again");
            }
            Err(error) => {
                warn!(%error, "can't settle it yet; trying again");
                tokio::time::sleep(SETTLE_AGAIN).await;
            }
        }
    }
}

/// Logs what became of the job and, once its terminal record is durable, takes it out of the spool.
async fn leave(context: &WorkerContext, record: &JobRecord, outcome: &Outcome, settled: Settled) {
    match (settled, outcome) {
        (Settled::Applied(State::Completed), Outcome::Completed(files)) => info!(files = files.len(), "completed"),
        (Settled::Applied(State::Failed), Outcome::Failed { error, .. } | Outcome::Crashed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "failed for good");
        }
        (Settled::Applied(State::Pending), Outcome::Failed { error, .. } | Outcome::Crashed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "failed; will be tried again");
        }
        (Settled::Applied(state), _) => info!(%state, "put back"),
        (Settled::Stale, _) => return info!("the lease was lost; what this attempt did doesn't count"),
    }
    if !matches!(settled, Settled::Applied(state) if state.is_terminal()) {
        return;
    }
    reached(Step::SettleAfter);
    if let Err(error) = context.spool.remove(record.id).await {
        warn!(%error, "an ended job is still in the spool; the next start removes it");
    }
    reached(Step::SpoolRemoved);
}

struct Attempt<'a> {
    context: &'a WorkerContext,
    record: &'a JobRecord,
    running: Arc<RunningJob>,
    attempts: u32,
}

impl Attempt<'_> {
    /// What is left in `rendering` when this returns goes on for a moment; nobody needs what comes of it.
    async fn work(&self, memory: MemoryShare, rendering: &mut Option<Rendering>) -> Outcome {
        let journal = match self.context.spool.journal(self.record.id).await {
            Ok(journal) => journal,
            Err(error) => return self.spool_failed(&error, Vec::new()),
        };
        let stores = self.context.stores.of_job(self.record);
        let keeper = Keeper::new(self.record, &self.running, &stores, &journal);
        let (variants, original) =
            tokio::join!(self.variants(&keeper, memory, rendering), keeper.original(self.context));
        if self.running.stop().is_cancelled() {
            return Outcome::Stopped;
        }
        let result = match (variants, original) {
            (Err(first), Err(second)) => Err(first.worse(second)),
            (variants, original) => variants.and(original),
        };
        self.judge(result, &keeper)
    }

    /// Makes every variant that some store still lacks and stores it as soon as it is there.
    async fn variants(
        &self,
        keeper: &Keeper<'_>,
        memory: MemoryShare,
        rendering: &mut Option<Rendering>,
    ) -> Result<(), Failure> {
        let variants = &self.record.spec.variants;
        let wanted: Vec<usize> =
            (0..variants.len()).filter(|index| keeper.lacks(&keeper.name_of(&variants[*index]))).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let original = self.context.spool.open_original(self.record.id).await.map_err(Failure::Spool)?;
        let admission = self.admitted(original, memory, variants);
        let Admitted { original, admission, memory } = tokio::select! {
            admitted = admission => admitted?,
            () = self.running.stop().cancelled() => return Ok(()),
        };
        reached(Step::RenderBefore);
        let (work, mut rendered) = self.context.renderer.start(Order {
            admission,
            memory,
            original,
            variants: variants.clone(),
            wanted,
            owner: self.record.owner.digest(),
            stop: self.running.stop().clone(),
            timeout: self.context.settings.job_timeout,
        });
        let work = rendering.insert(work);
        let mut puts = FuturesUnordered::new();
        let mut failure = None;
        let mut more = true;
        let mut expired = pin!(tokio::time::sleep(self.context.settings.job_timeout));
        while more || !puts.is_empty() {
            tokio::select! {
                // When the job is stopped nothing new is begun, but what was begun is seen through.
                () = self.running.stop().cancelled(), if more => more = false,
                // In this process a decoder can't be stopped in the middle of a picture, but it isn't waited for either.
                () = &mut expired, if more => {
                    more = false;
                    failure = Some(Failure::Pixels(PipelineError::Cancelled));
                }
                next = rendered.recv(), if more => match next {
                    Some((index, file)) => puts.push(keeper.variant(&variants[index], file)),
                    None => more = false,
                },
                Some(stored) = puts.next() => if let Err(error) = stored {
                    failure = Some(match failure {
                        Some(earlier) => Failure::worse(earlier, error),
                        None => error,
                    });
                },
            }
        }
        if self.running.stop().is_cancelled() {
            return Ok(());
        }
        if !work.is_finished() && expired.is_elapsed() {
            return Err(failure.unwrap_or(Failure::Pixels(PipelineError::Cancelled)));
        }
        let outcome = work.await;
        *rendering = None;
        match outcome {
            Ok(Ok(())) => failure.map_or(Ok(()), Err),
            Ok(Err(CageError::Pixels(error))) => Err(Failure::Pixels(error)),
            Ok(Err(error)) => Err(Failure::Child(error)),
            Err(panic) => Err(Failure::Panicked(panic.to_string())),
        }
    }

    /// Sees to it that there is memory for making `variants`: it was put aside before the claim, unless settings have
    /// changed since the upload, so that the job takes more now. The time for that is not the job's.
    async fn admitted(
        &self,
        original: File,
        mut memory: MemoryShare,
        variants: &[VariantSpec],
    ) -> Result<Admitted, Failure> {
        let limit = self.context.memory_limit;
        let unreadable = |source| Failure::Child(CageError::Io { what: "the original can't be read", source });
        let looked = spawn_blocking(move || {
            let mut original = original;
            let bytes = original.metadata()?.len();
            let info = inspect(BufReader::new(&original), &limit.pixels);
            original.rewind()?;
            Ok((original, bytes, info))
        });
        let (original, bytes, info) =
            looked.await.map_err(|error| Failure::Panicked(error.to_string()))?.map_err(unreadable)?;
        let admitted = info.and_then(|info| limit.admit(&info, bytes, variants));
        let admission = admitted.map_err(|error| match error {
            InspectError::Io(source) => unreadable(source),
            other => Failure::Pixels(other.into()),
        })?;
        if !memory.covers(admission.bytes) {
            // Given back first: two that hold some and wait for more would wait for each other.
            drop(memory);
            memory = self.context.memory.take(admission.bytes).await;
        }
        Ok(Admitted { original, admission, memory })
    }

    fn judge(&self, result: Result<(), Failure>, keeper: &Keeper<'_>) -> Outcome {
        let files = keeper.files();
        let failure = match result {
            Ok(()) if keeper.is_done() => return Outcome::Completed(files),
            Ok(()) => Failure::Panicked("some files were neither stored nor refused; this is a bug in Pixerve".into()),
            Err(failure) => failure,
        };
        let (error, transient) = match failure {
            Failure::Spool(error) => return self.spool_failed(&error, files),
            Failure::Pixels(PipelineError::Cancelled) => {
                let secs = self.context.settings.job_timeout.as_secs();
                (JobError::new("timeout", format!("making the variants took longer than {secs} s")), false)
            }
            Failure::Pixels(error) => (JobError::new(error.code(), error.to_string()), error.can_pass_on_retry()),
            Failure::Child(error @ CageError::Io { .. }) => {
                (JobError::new("internal", ErrorChain(&error).to_string()), true)
            }
            // The same job would be given the same memory again.
            Failure::Child(error @ CageError::OutOfMemory { .. }) => {
                (JobError::new("out_of_memory", error.to_string()), false)
            }
            Failure::Child(error) => {
                return Outcome::Crashed { error: JobError::new("crashed", error.to_string()), files };
            }
            Failure::Panicked(detail) => (JobError::new("internal", detail), true),
            Failure::Store(error) => {
                let code = if error.transient { "store_unreachable" } else { "store_refused" };
                (JobError::new(code, error.to_string()), error.transient)
            }
        };
        Outcome::Failed { error, files, retry: self.retry(transient) }
    }

    fn spool_failed(&self, error: &SpoolError, files: Vec<StoredFile>) -> Outcome {
        // Which file on which path is for the log: records and callbacks are for strangers.
        warn!(%error, "the spool failed");
        let error_for_all = if error.is_missing() {
            JobError::new("original_missing", "the uploaded image is no longer on the server's disk")
        } else {
            JobError::new("spool", "the uploaded image could not be read from the server's disk")
        };
        Outcome::Failed { error: error_for_all, files, retry: self.retry(!error.is_missing()) }
    }

    fn retry(&self, transient: bool) -> Retry {
        if transient {
            Retry::After(retry::back_off(self.attempts, self.context.settings.retry_base))
        } else {
            Retry::Never
        }
    }
}

/// A job for which there is memory.
struct Admitted {
    original: File,
    admission: Admission,
    memory: MemoryShare,
}

/// Keeps a lease alive, and stops the job when it is cancelled, lost, or the server stops.
struct Renewal(JoinHandle<()>);

impl Renewal {
    fn start(context: &Arc<WorkerContext>, lease: &Lease, job: &Arc<RunningJob>, drain: CancellationToken) -> Self {
        let (context, lease, job) = (Arc::clone(context), lease.clone(), Arc::clone(job));
        let renew = async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(context.settings.lease_renew) => {}
                    () = drain.cancelled() => return job.stop().cancel(),
                }
                match context.queue.extend(&lease, context.settings.lease).await {
                    Ok(LeaseState::Held(_)) => {}
                    Ok(LeaseState::Cancelled | LeaseState::Lost) => return job.stop().cancel(),
                    // The lease may still hold; if it doesn't, the next call says so, or the settlement is stale.
                    Err(error) => warn!(%error, "can't renew the lease; trying again"),
                }
            }
        };
        Self(tokio::spawn(renew.in_current_span()))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `patience` after `stop` has fired.
async fn after(stop: &CancellationToken, patience: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(patience).await;
}

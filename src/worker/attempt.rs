//! One job, from claim to settle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use super::shelf::Shelf;
use super::stores::Store;
use super::{WorkerContext, retry};
use crate::job::{ContentHash, JobError, JobRecord, State, StoredFile, VariantSpec, variant_name};
use crate::pipeline::{PipelineError, Rendered};
use crate::queue::{Claim, Lease, LeaseState, QueueError, Retry, Settled};
use crate::running::RunningJob;
use crate::spool::{Journal, SpoolError, StoredLine};
use crate::telemetry::attempt_span;
use crate::writer::{Body, Object, WriteError};

/// Files of one job on their way to stores at once.
const PUTS_AT_ONCE: usize = 8;
/// Between tries to settle a job whose queue fails.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Works on `claim` until it is settled, or until it is not this worker's any more.
pub(super) async fn run(context: Arc<WorkerContext>, claim: Claim, drain: CancellationToken) {
    let record = &claim.job.record;
    let span = attempt_span(&record.id, &record.hash, claim.job.attempts);
    async {
        info!(files = record.spec.file_count(), "working on it");
        let guard = context.running.start(record.id, record.spec.file_count());
        let renewal = Renewal::start(&context, &claim.lease, guard.job(), drain.clone());
        let attempt =
            Attempt { context: &context, record, running: Arc::clone(guard.job()), attempts: claim.job.attempts };
        let mut rendering = None;
        let outcome = attempt.work(&mut rendering).await;
        match outcome {
            // Whoever cancelled it settles it; whoever else has it will settle it.
            Outcome::Stopped if !drain.is_cancelled() => info!("stopped"),
            outcome => settle(&context, &claim.lease, record, outcome, &drain).await,
        }
        drop(renewal);
        drop(guard);
        // A stopped job's pixels may still be worked on for a moment. Nothing comes of it, but the next job waits, so
        // that there are never more of them in memory than there are workers.
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
    Failed { error: JobError, files: Vec<StoredFile>, retry: Retry },
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
            Outcome::Stopped => context.queue.release(lease).await,
        };
        match settled {
            Ok(settled) => return leave(context, record, &outcome, settled).await,
            Err(QueueError::Unavailable { .. }) if drain.is_cancelled() => {
                return warn!("the server stops before the queue could take the outcome; the next start tries again");
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
        (Settled::Applied(State::Failed), Outcome::Failed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "failed for good");
        }
        (Settled::Applied(State::Pending), Outcome::Failed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "failed; will be tried again");
        }
        (Settled::Applied(state), _) => info!(%state, "put back"),
        (Settled::Stale, _) => return info!("the lease was lost; what this attempt did doesn't count"),
    }
    let ended = matches!(settled, Settled::Applied(state) if state.is_terminal());
    if ended && let Err(error) = context.spool.remove(record.id).await {
        warn!(%error, "an ended job is still in the spool; the next start removes it");
    }
}

struct Attempt<'a> {
    context: &'a WorkerContext,
    record: &'a JobRecord,
    running: Arc<RunningJob>,
    attempts: u32,
}

/// The thread that works on a job's pixels.
type Rendering = JoinHandle<Result<(), PipelineError>>;

impl Attempt<'_> {
    /// What is left in `rendering` when this returns goes on for a moment; nobody needs what comes of it.
    async fn work(&self, rendering: &mut Option<Rendering>) -> Outcome {
        let journal = match self.context.spool.journal(self.record.id).await {
            Ok(journal) => journal,
            Err(error) => return self.spool_failed(&error, Vec::new()),
        };
        let stores = self.context.stores.of_job(self.record);
        let shelf = Shelf::new(self.record, journal.earlier());
        self.running.set_stored(shelf.files(), shelf.complete(stores.len()));
        let keeper = Keeper {
            record: self.record,
            running: &self.running,
            stores: &stores,
            journal: &journal,
            shelf: &shelf,
            places: Semaphore::new(PUTS_AT_ONCE),
        };
        let (variants, original) = tokio::join!(self.variants(&keeper, rendering), keeper.original(self.context));
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
    async fn variants(&self, keeper: &Keeper<'_>, rendering: &mut Option<Rendering>) -> Result<(), Failure> {
        let missing: Vec<VariantSpec> =
            self.record.spec.variants.iter().filter(|v| keeper.lacks(&keeper.name_of(v))).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let source = self.context.spool.read_original(self.record.id).await.map_err(Failure::Spool)?;
        let (thread, mut rendered) = self.render(source, missing.clone());
        let thread = rendering.insert(thread);
        let mut puts = FuturesUnordered::new();
        let mut failure = None;
        let mut more = true;
        while more || !puts.is_empty() {
            tokio::select! {
                // When the job is stopped nothing new is begun, but what was begun is seen through.
                () = self.running.stop().cancelled(), if more => more = false,
                next = rendered.recv(), if more => match next {
                    Some((index, file)) => puts.push(keeper.variant(&missing[index], file)),
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
        let outcome = thread.await;
        *rendering = None;
        match outcome {
            Ok(Ok(())) => failure.map_or(Ok(()), Err),
            Ok(Err(error)) => Err(Failure::Pixels(error)),
            Err(panic) => Err(Failure::Panicked(panic.to_string())),
        }
    }

    /// Starts the pixel work on a thread of its own; files come out of the channel as they are done.
    fn render(
        &self,
        source: Vec<u8>,
        variants: Vec<VariantSpec>,
    ) -> (Rendering, mpsc::UnboundedReceiver<(usize, Rendered)>) {
        // Unbounded, since a slow store must not hold up the encoders of all jobs; a job's own limits bound it.
        let (deliver, delivered) = mpsc::unbounded_channel();
        let engine = Arc::clone(&self.context.engine);
        let clock = Arc::clone(&self.context.clock);
        let deadline = clock.elapsed() + self.context.settings.job_timeout;
        let stop = self.running.stop().clone();
        let span = tracing::Span::current();
        let thread = spawn_blocking(move || {
            let _entered = span.entered();
            let cancelled = || stop.is_cancelled() || clock.elapsed() >= deadline;
            engine.render(&source, &variants, &cancelled, &|index, file| {
                // Nobody listens once the job is stopped.
                let _ = deliver.send((index, file));
            })
        });
        (thread, delivered)
    }

    fn judge(&self, result: Result<(), Failure>, keeper: &Keeper<'_>) -> Outcome {
        let files = keeper.shelf.files();
        let complete = keeper.shelf.complete(keeper.stores.len()) == self.record.spec.file_count();
        let failure = match result {
            Ok(()) if complete => return Outcome::Completed(files),
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
            Failure::Panicked(detail) => (JobError::new("internal", detail), true),
            Failure::Store(error) => {
                let code = if error.transient { "store_unreachable" } else { "store_refused" };
                (JobError::new(code, error.to_string()), error.transient)
            }
        };
        Outcome::Failed { error, files, retry: self.retry(transient) }
    }

    fn spool_failed(&self, error: &SpoolError, files: Vec<StoredFile>) -> Outcome {
        let code = if error.is_missing() { "original_missing" } else { "spool" };
        Outcome::Failed { error: JobError::new(code, error.to_string()), files, retry: self.retry(!error.is_missing()) }
    }

    fn retry(&self, transient: bool) -> Retry {
        if transient {
            Retry::After(retry::back_off(self.attempts, self.context.settings.retry_base))
        } else {
            Retry::Never
        }
    }
}

/// Why an attempt failed.
enum Failure {
    Spool(SpoolError),
    Pixels(PipelineError),
    Panicked(String),
    Store(WriteError),
}

impl Failure {
    /// Of two failures, the one that decides: a final one, else the first.
    fn worse(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Store(first), Self::Store(second)) if first.transient && !second.transient => other,
            _ => self,
        }
    }
}

/// Puts files into stores and remembers that.
struct Keeper<'a> {
    record: &'a JobRecord,
    running: &'a RunningJob,
    stores: &'a [Store],
    journal: &'a Journal,
    shelf: &'a Shelf,
    places: Semaphore,
}

impl Keeper<'_> {
    fn name_of(&self, variant: &VariantSpec) -> String {
        variant_name(&self.record.hash, &self.record.stem, variant.height, variant.width, variant.format)
    }

    fn lacks(&self, name: &str) -> bool {
        self.stores.iter().any(|store| !self.shelf.has(name, store.name(), None))
    }

    async fn variant(&self, variant: &VariantSpec, rendered: Rendered) -> Result<(), Failure> {
        let Rendered { width, height, bytes } = rendered;
        let bytes = Bytes::from(bytes);
        let hashed = bytes.clone();
        let sha256 = spawn_blocking(move || ContentHash::of(&hashed))
            .await
            .map_err(|error| Failure::Panicked(format!("hashing a variant: {error}")))?;
        let object = Object {
            sub_dir: self.record.spec.sub_dir.clone(),
            name: self.name_of(variant),
            media_type: variant.format.media_type(),
            sha256,
            body: Body::Bytes(bytes),
        };
        self.everywhere(&object, variant.format.extension(), (width, height)).await
    }

    async fn original(&self, context: &WorkerContext) -> Result<(), Failure> {
        let original = &self.record.original;
        let name = self.record.original_name();
        if !self.record.spec.keep_original || !self.lacks(&name) {
            return Ok(());
        }
        let object = Object {
            sub_dir: self.record.spec.sub_dir.clone(),
            name,
            media_type: original.format.media_type(),
            sha256: original.sha256,
            body: Body::File { path: context.spool.original(self.record.id), bytes: original.bytes },
        };
        self.everywhere(&object, original.format.extension(), (original.width, original.height)).await
    }

    /// Puts one file into every store that lacks it. A store that fails doesn't keep the others from getting theirs.
    async fn everywhere(&self, object: &Object, format: &str, (width, height): (u32, u32)) -> Result<(), Failure> {
        let puts: FuturesUnordered<_> = self
            .stores
            .iter()
            .filter(|store| !self.shelf.has(&object.name, store.name(), Some(&object.sha256)))
            .map(|store| self.one(store, object, format, (width, height)))
            .collect();
        let failures = puts.filter_map(|put| std::future::ready(put.err())).collect::<Vec<_>>().await;
        failures.into_iter().reduce(Failure::worse).map_or(Ok(()), Err)
    }

    async fn one(
        &self,
        store: &Store,
        object: &Object,
        format: &str,
        (width, height): (u32, u32),
    ) -> Result<(), Failure> {
        let Ok(_place) = self.places.acquire().await else { return Ok(()) };
        if self.running.stop().is_cancelled() {
            return Ok(());
        }
        let stored = store.put(object, self.running.stop()).await.map_err(Failure::Store)?;
        let line = StoredLine {
            name: object.name.clone(),
            format: format.to_owned(),
            width,
            height,
            bytes: object.body.len(),
            sha256: object.sha256,
            stored,
        };
        // The store has it; should the journal fail, a restart merely writes it again.
        if let Err(error) = self.journal.append(&line).await {
            warn!(%error, "can't note that a file is stored");
        }
        self.shelf.put(line);
        self.running.set_stored(self.shelf.files(), self.shelf.complete(self.stores.len()));
        Ok(())
    }
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

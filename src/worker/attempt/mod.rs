//! One job, from claim to settlement.

mod admission;
mod error;
mod renewal;
mod settlement;

pub(super) use error::AttemptError;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use self::admission::admit;
use self::renewal::LeaseRenewal;
use self::settlement::settle;
use super::WorkerContext;
use super::budget::MemoryShare;
use super::renderer::{RenderJob, RenderTask, RenderedVariants};
use super::uploader::FileUploader;
use crate::active_jobs::ActiveAttempt;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobRecord, SourceInfo, StoredFile};
use crate::pipeline::{Admission, Output, RenderRequest};
use crate::queue::{Claim, LeaseState, Retry, Settlement};
use crate::telemetry::attempt_span;

/// For an attempt to end by itself when the server stops: longer than writes to stores take to be cancelled.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// Works on `claim`, for which `memory` is reserved, until it is settled, or is no longer this worker's. Once `drain` has
/// fired, the job is released.
pub(super) async fn run(context: Arc<WorkerContext>, claim: Claim, memory: MemoryShare, drain: CancellationToken) {
    let record = &claim.job.record;
    let span = attempt_span(&record.id, &record.hash, claim.job.attempts);
    run_claim(&context, &claim, memory, &drain).instrument(span).await;
}

async fn run_claim(context: &Arc<WorkerContext>, claim: &Claim, memory: MemoryShare, drain: &CancellationToken) {
    let record = &claim.job.record;
    info!(files = record.spec.file_count(), "attempt started");
    reached(Step::ClaimAfter);
    let guard = context.active_jobs.start(record.id, record.spec.file_count());
    // A cancellation from here on finds the attempt and waits for its end; one before has voided the lease.
    let lease = context.queue.extend(&claim.lease, context.settings.lease).await;
    if matches!(lease, Ok(LeaseState::Cancelled | LeaseState::Lost)) {
        return info!("job cancelled before its attempt began");
    }
    let renewal = LeaseRenewal::start(context, &claim.lease, guard.attempt(), drain.clone());
    let attempt = Attempt { context, record, active: guard.attempt(), attempts: claim.job.attempts };
    let mut render_task = None;
    let work = async {
        // What an earlier attempt is storing must be in the journal before this one reads that: it is not to be stored
        // again, and is to be in the record.
        guard.stop_earlier().await;
        attempt.work(memory, &mut render_task).await
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        // The renewal has stopped the attempt, which gives its writes up: the next start writes those files again, to the
        // same names. One that takes too long for that is abandoned, half-written objects and all.
        () = sleep_after(drain, STOP_TIMEOUT) => Settlement::Released,
    };
    match outcome {
        // Whoever cancelled the job settles it, or whoever has its lease now.
        Settlement::Released if !drain.is_cancelled() => info!("attempt stopped"),
        outcome => settle(context, &claim.lease, record, outcome, drain).await,
    }
    drop(renewal);
    drop(guard);
    // In this process a stopped job's pixels are worked on a little longer. The worker waits for that, so that there are
    // never more jobs in memory than workers.
    if let Some(render_task) = render_task.filter(|_| !drain.is_cancelled()) {
        let _ = render_task.await;
    }
}

async fn sleep_after(stop: &CancellationToken, duration: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(duration).await;
}

struct Attempt<'a> {
    context: &'a WorkerContext,
    record: &'a JobRecord,
    active: &'a ActiveAttempt,
    /// This one included.
    attempts: u32,
}

impl Attempt<'_> {
    /// Leaves in `render_task` what still runs; nobody needs what comes of it.
    async fn work(&self, memory: MemoryShare, render_task: &mut Option<RenderTask>) -> Settlement {
        let journal = match self.context.spool.journal(self.record.id).await {
            Ok(journal) => journal,
            Err(error) => return self.failed(&AttemptError::Spool(error), Vec::new()),
        };
        let stores = self.context.stores.of_job(self.record, self.active.stop());
        let uploader = FileUploader::new(self.record, self.active, &stores, &journal);
        let (variants, original) = tokio::join!(
            self.make_variants(&uploader, memory, render_task),
            uploader.upload_original(&self.context.spool)
        );
        if self.is_stopped() {
            return Settlement::Released;
        }
        let files = uploader.files();
        match AttemptError::worse_of(variants, original) {
            Ok(()) if uploader.is_complete() => Settlement::Completed { files },
            Ok(()) => {
                let detail = "some files were neither stored nor refused; this is a bug in Pixerve";
                self.failed(&AttemptError::Panicked(detail.to_owned()), files)
            }
            Err(error) => self.failed(&error, files),
        }
    }

    /// Makes every variant that some store lacks, and uploads each as soon as it is made.
    async fn make_variants(
        &self,
        uploader: &FileUploader<'_>,
        memory: MemoryShare,
        render_task: &mut Option<RenderTask>,
    ) -> Result<(), AttemptError> {
        let wanted = uploader.missing_variants();
        if wanted.is_empty() {
            return Ok(());
        }
        let (source, admission, memory) = tokio::select! {
            admitted = admit(self.context, self.record, memory) => admitted?,
            () = self.active.stop().cancelled() => return Ok(()),
        };
        let original = self.context.spool.open_original(self.record.id).await.map_err(AttemptError::Spool)?;
        reached(Step::RenderBefore);
        let request = self.render_request(wanted, &source, admission);
        let (task, rendered) = self.context.renderer.start(RenderJob {
            request,
            original,
            owner: self.record.owner.digest(),
            stop: self.active.stop().clone(),
            timeout: self.context.settings.job_timeout,
            memory,
        });
        let task = render_task.insert(task);
        let result = self.upload_as_rendered(uploader, rendered).await;
        if self.is_stopped() {
            return Ok(());
        }
        // In this process a decoder can't be stopped in the middle of a picture; it isn't waited for.
        if matches!(result, Err(AttemptError::TimedOut)) && !task.is_finished() {
            return result;
        }
        let outcome = task.await;
        *render_task = None;
        AttemptError::of_rendering(outcome).and(result)
    }

    fn render_request(&self, wanted: Vec<usize>, source: &SourceInfo, admission: Admission) -> RenderRequest {
        let variants = self.record.spec.variants.clone();
        RenderRequest {
            outputs: variants.iter().map(|variant| Output::of(variant, source)).collect(),
            variants,
            wanted,
            source_bytes: self.record.original.bytes,
            limits: self.context.limit_of(self.record).pixels,
            admission,
            avif_engine: self.context.settings.avif_engine,
        }
    }

    /// Returns when everything is rendered and uploaded; when the attempt is stopped or rendering takes too long, as soon
    /// as the uploads that have begun are over.
    async fn upload_as_rendered(
        &self,
        uploader: &FileUploader<'_>,
        mut rendered: RenderedVariants,
    ) -> Result<(), AttemptError> {
        let mut uploads = FuturesUnordered::new();
        let mut result = Ok(());
        let mut is_rendering = true;
        let mut timeout = pin!(tokio::time::sleep(self.context.settings.job_timeout));
        while is_rendering || !uploads.is_empty() {
            tokio::select! {
                () = self.active.stop().cancelled(), if is_rendering => is_rendering = false,
                () = &mut timeout, if is_rendering => {
                    is_rendering = false;
                    result = Err(AttemptError::TimedOut);
                }
                next = rendered.recv(), if is_rendering => match next {
                    Some((index, file)) => uploads.push(uploader.upload_variant(&self.record.spec.variants[index], file)),
                    None => is_rendering = false,
                },
                Some(next) = uploads.next() => result = AttemptError::worse_of(result, next),
            }
        }
        result
    }

    fn is_stopped(&self) -> bool {
        self.active.stop().is_cancelled()
    }

    fn failed(&self, error: &AttemptError, files: Vec<StoredFile>) -> Settlement {
        if let AttemptError::Spool(error) = error {
            // The record doesn't say which file it is.
            warn!(error = %ErrorChain(&error), "spool can't be read");
        }
        let job_error = error.for_record(self.context.settings.job_timeout);
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
}

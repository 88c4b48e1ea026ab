//! Carries out orders to erase jobs, whatever is killed or can't be reached meanwhile.
//!
//! An order is written down before anything is erased (`src/routes/erase.rs`), and every step here can be done twice. Of each job
//! first goes what tells that there is one: it ends, if it lives; its original leaves the spool, and its record the queue. What
//! is stored where is in the ledger by then, and stays there until it is deleted, so that a start after any death finds what is
//! left to be done. Whoever takes an order in carries it out, and the leader what others have left.
//!
//! How files are deleted is in `eraser/deletion.rs`; jobs whose time is over are ordered to be erased in `eraser/expiry.rs`.

mod deletion;
mod expiry;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::deletion::{Deleted, FileDeletion, UNKNOWN_STORE};
use super::BATCH;
use crate::canceller::{CancelError, Cancellation, JobCanceller};
use crate::clock::Timestamp;
use crate::error_chain::ErrorChain;
use crate::failpoint::{ErasureStep, reached};
use crate::job::{JobId, SealedText, StoredFile};
use crate::ledger::{
    EraseSettings, ErasedJob, Erasure, ErasureId, ErasureOutcome, ErasureState, LedgerEntry, LedgerError, PendingJob,
    Place,
};
use crate::nodes::Leadership;
use crate::queue::{ErasedRecord, Job, QueueError};
use crate::register::{SealError, Sealer};
use crate::retry::Backoff;
use crate::spool::SpoolError;
use crate::worker::WorkerContext;

/// How often it looks for what others have left.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A younger order is still carried out by the node that took it in. Two that carry out the same do no harm: what one has deleted
/// the other counts as missing, if it is the first to say so.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(30);
/// How often databases and old erasures are looked after.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// Between tries at what a store doesn't delete.
const BACKOFF: Backoff =
    Backoff { backoff_min: Duration::from_secs(2), backoff_factor: 3.0, backoff_max: Duration::from_hours(1) };
/// For how long that is tried.
const GIVE_UP_AFTER: Duration = Duration::from_hours(7 * 24);
/// Before the next look at a place that a live job may be writing to.
const WAIT_FOR_LIVE: Duration = Duration::from_secs(1);
/// How long it is known which jobs were erased, and what became of orders.
const KEPT_FOR: Duration = Duration::from_hours(30 * 24);
/// Jobs of one order that are looked at in one go.
const JOBS_AT_ONCE: usize = 100_000;
/// Jobs that take a step together: what they share of it, such as a sync of the disk, is done once for all of them.
const JOBS_OF_A_STEP: usize = 256;
/// Jobs that are worked on at the same time where each takes more than a write that all share.
const CONCURRENT_JOBS: usize = 64;
/// With no more jobs under way, and no more records to copy, databases are rewritten at once.
const QUIET_JOBS: u64 = 16;
const QUIET_RECORDS: u64 = 200_000;

/// Why a job could not be taken out of sight yet.
#[derive(Debug, thiserror::Error)]
enum EraseError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Cancel(#[from] CancelError),
    #[error("the job lives again")]
    Live,
    #[error("sealing what is told of the job")]
    Seal(#[from] SealError),
}

/// How far one go at an order came.
enum Progress {
    Ended,
    /// The next try of something is due then.
    Waits(Timestamp),
}

/// One for each server: it takes up what is asked for there, and where it leads all the rest.
pub struct Eraser(Arc<Inner>);

struct Inner {
    context: Arc<WorkerContext>,
    canceller: JobCanceller,
    sealer: Arc<Sealer>,
    leadership: Leadership,
    settings: EraseSettings,
    /// The orders that this process carries out.
    carried_out: Mutex<HashSet<ErasureId>>,
    /// Orders that are incomplete, since when databases have been rewritten all the same.
    rewritten: Mutex<HashSet<ErasureId>>,
    /// Locked while databases are rewritten.
    purging: tokio::sync::Mutex<()>,
    /// Locked while it is looked whose time is over.
    expiring: tokio::sync::Mutex<()>,
}

impl Eraser {
    /// One that has not started.
    #[must_use]
    pub fn new(
        context: Arc<WorkerContext>,
        sealer: Arc<Sealer>,
        settings: EraseSettings,
        leadership: Leadership,
    ) -> Self {
        Self(Arc::new(Inner {
            canceller: context.canceller(),
            context,
            sealer,
            leadership,
            settings,
            carried_out: Mutex::default(),
            rewritten: Mutex::default(),
            purging: tokio::sync::Mutex::default(),
            expiring: tokio::sync::Mutex::default(),
        }))
    }

    /// Carries out what is ordered, and what was left by a process that died, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Self(eraser) = self;
        let (mut tasks, mut leadership) = (JoinSet::new(), eraser.leadership.clone());
        let (mut looks, mut tidying) = (interval(LOOK_EVERY), interval(TIDY_EVERY));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tidying.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What has begun is done again by the next start.
                () = stop.cancelled() => return,
                orders = eraser.context.erasures.next_orders() => {
                    for id in orders {
                        eraser.begin(&mut tasks, id);
                    }
                }
                _ = looks.tick() => {
                    for id in eraser.left_by_others().await {
                        eraser.begin(&mut tasks, id);
                    }
                }
                _ = tidying.tick() => {
                    let eraser = Arc::clone(&eraser);
                    tasks.spawn(async move {
                        eraser.expire().await;
                        eraser.tidy_up().await;
                    });
                }
                // Whoever led before may not have come to it.
                () = leadership.called_upon() => {
                    let eraser = Arc::clone(&eraser);
                    tasks.spawn(async move { eraser.expire().await });
                }
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(panic) = ended {
                        error!(error = %ErrorChain(&panic), "erasing failed; will be retried");
                    }
                }
            }
        }
    }
}

impl Inner {
    fn begin(self: &Arc<Self>, tasks: &mut JoinSet<()>, id: ErasureId) {
        if !self.carried_out.lock().insert(id) {
            return;
        }
        let running = RunningOrder { eraser: Arc::clone(self), id };
        self.tell_running();
        tasks.spawn(async move {
            running.eraser.carry_out(&running.id).await;
            let eraser = Arc::clone(&running.eraser);
            drop(running);
            eraser.tidy_up().await;
        });
    }

    fn tell_running(&self) {
        self.context.erasures.set_running(self.carried_out.lock().len());
    }

    /// Orders that nobody carries out.
    async fn left_by_others(&self) -> Vec<ErasureId> {
        if !self.leadership.holds() {
            return Vec::new();
        }
        let left =
            async {
                let mut left = Vec::new();
                for id in self.context.ledger.running().await? {
                    let is_left =
                        !self.context.queue.is_shared()
                            || self.context.ledger.erasure(&id).await?.is_some_and(|order| {
                                self.context.clock.now().since(order.created_at) >= TAKEN_OVER_AFTER
                            });
                    left.extend(is_left.then_some(id));
                }
                Ok::<_, LedgerError>(left)
            };
        left.await.unwrap_or_else(|error| {
            warn!(error = %ErrorChain(&error), "erasures that are under way can't be listed; will be retried");
            Vec::new()
        })
    }

    async fn carry_out(&self, id: &ErasureId) {
        let (mut failures, files) = (0, FileDeletion::new(Arc::clone(&self.context)));
        loop {
            let outcome = self.go_on(id, &files).await;
            self.context.erasures.progressed();
            let wait = match outcome {
                Ok(Progress::Ended) => return,
                Ok(Progress::Waits(until)) => {
                    failures = 0;
                    until.since(self.context.clock.now())
                }
                Err(error) => {
                    failures += 1;
                    warn!(erasure_id = %id, error = %ErrorChain(&error), "erasing failed; will be retried");
                    BACKOFF.wait_after(failures)
                }
            };
            sleep(wait.min(BACKOFF.backoff_max)).await;
        }
    }

    /// One try at everything of an order that is due.
    async fn go_on(&self, id: &ErasureId, files: &FileDeletion) -> Result<Progress, EraseError> {
        let WorkerContext { ledger, clock, .. } = &*self.context;
        let Some(order) = ledger.erasure(id).await?.filter(|order| order.state == ErasureState::Running) else {
            return Ok(Progress::Ended);
        };
        let order = &order;
        let pending = ledger.pending(id, clock.now(), JOBS_AT_ONCE).await?;
        // All of them before the first file: from here on nobody sees any.
        let mut failed = None;
        let mut unseen: Vec<PendingJob> = Vec::with_capacity(pending.len());
        for jobs in pending.chunks(JOBS_OF_A_STEP) {
            for (job, outcome) in jobs.iter().zip(self.take_out(jobs).await) {
                match outcome {
                    Ok(()) => unseen.push(job.clone()),
                    Err(error) => {
                        warn!(erasure_id = %id, job_id = %job.job_id, error = %ErrorChain(&error), "job can't be erased yet; will be retried");
                        failed = Some(error);
                    }
                }
            }
        }
        let being_erased = &self.being_erased().await?;
        // What this server serves itself goes before anything that takes a store's time.
        let mut own = Vec::with_capacity(unseen.len());
        for jobs in unseen.chunks(self.written_at_once()) {
            own.extend(files.delete_own(jobs, being_erased).await);
        }
        if failed.is_none() && own.iter().all(|own| own.as_ref().is_ok_and(|own| own.left.is_empty())) {
            self.context.erasures.set_hidden(*id);
        }
        let settled = stream::iter(unseen.into_iter().zip(own)).map(|(job, own)| async move {
            let mut deleted = own?;
            deleted.add(files.delete_stored(&job, being_erased).await?);
            self.settle(order, &job, deleted).await
        });
        let mut settled = settled.buffer_unordered(self.written_at_once());
        while let Some(outcome) = settled.next().await {
            if let Err(error) = outcome {
                failed = Some(error);
            }
        }
        let is_over = clock.now().since(order.created_at) >= GIVE_UP_AFTER;
        match failed {
            Some(error) if !is_over => Err(error),
            _ => self.finish_if_over(order, is_over).await,
        }
    }

    async fn finish_if_over(&self, order: &Erasure, is_over: bool) -> Result<Progress, EraseError> {
        let WorkerContext { ledger, clock, .. } = &*self.context;
        if let Some(due) = ledger.next_due(&order.id).await? {
            // A store that is registered again has another access key.
            let is_in_vain = |job: &PendingJob| {
                job.tries > 0 && !job.left.is_empty() && job.left.iter().all(|place| place.error == UNKNOWN_STORE)
            };
            let pending = ledger.pending(&order.id, Timestamp::FAR_FUTURE, JOBS_AT_ONCE).await?;
            if !is_over && !pending.iter().all(is_in_vain) {
                return Ok(Progress::Waits(due));
            }
        }
        let state = ledger.finish(&order.id, clock.now()).await?;
        reached(ErasureStep::Finished);
        if state == ErasureState::Incomplete {
            error!(erasure_id = %order.id, jobs = order.jobs, "erasure is incomplete; GET /erasures says what is left");
        } else {
            info!(erasure_id = %order.id, jobs = order.jobs, "jobs erased");
        }
        Ok(Progress::Ended)
    }

    /// Jobs whose end is written down at the same time. On one machine that is few syncs; on many nodes it takes requests of each.
    fn written_at_once(&self) -> usize {
        if self.context.queue.is_shared() { CONCURRENT_JOBS } else { JOBS_OF_A_STEP }
    }

    /// Ends jobs that live, and takes away everything that tells of these, but for what is stored where: what came of each, in their
    /// order.
    async fn take_out(&self, jobs: &[PendingJob]) -> Vec<Result<(), EraseError>> {
        let WorkerContext { queue, spool, .. } = &*self.context;
        let ids: Vec<JobId> = jobs.iter().map(|job| job.job_id).collect();
        let ended = stream::iter(ids).map(|id| async move { self.end(id).await.map(|()| id) });
        let ended: Vec<_> = ended.buffered(CONCURRENT_JOBS).collect().await;
        let ids: Vec<JobId> = ended.iter().filter_map(|ended| ended.as_ref().ok()).copied().collect();
        let have_left_spool = spool.remove_all(&ids).await.is_ok();
        let erased = stream::iter(ended).map(|ended| async move {
            let id = ended?;
            if !have_left_spool {
                // One that can't be removed holds up no other.
                spool.remove_all(&[id]).await?;
            }
            reached(ErasureStep::SpoolLeft);
            match queue.erase(&id).await? {
                ErasedRecord::Gone | ErasedRecord::Unknown => {}
                ErasedRecord::Live => return Err(EraseError::Live),
            }
            reached(ErasureStep::RecordGone);
            Ok(())
        });
        erased.buffered(self.written_at_once()).collect().await
    }

    /// Ends a job if it lives. What is stored of it is in the ledger then.
    async fn end(&self, id: JobId) -> Result<(), EraseError> {
        let WorkerContext { queue, .. } = &*self.context;
        if let Some(job) = queue.get(&id).await?.filter(|job| !job.state.is_terminal()) {
            // What it has to say to its caller goes with its record.
            match self.canceller.cancel(job).await? {
                Cancellation::Cancelled => reached(ErasureStep::Cancelled),
                Cancellation::Ended(_) | Cancellation::Unknown => {}
            }
        }
        if let Some(job) = queue.get(&id).await? {
            self.record_all(&job).await?;
            reached(ErasureStep::Recorded);
        }
        Ok(())
    }

    /// Has the ledger know whatever its record and its journal say that is stored of a job: a version without a ledger may have
    /// stored it, or an attempt that had not stopped when the job ended.
    async fn record_all(&self, job: &Job) -> Result<(), EraseError> {
        let WorkerContext { spool, ledger, clock, .. } = &*self.context;
        let mut files = job.files.clone();
        add_files(&mut files, spool.stored_files(&job.record).await?);
        let mut found = LedgerEntry::of(&job.record, &files, job.finished_at.unwrap_or(clock.now()));
        // Who is to be told is so of a job, too, that has stored nothing.
        if !found.is_needed() && found.recipient.is_none() {
            return Ok(());
        }
        if let Some(known) = ledger.entry(&job.record.id).await? {
            let has_places = found.places().all(|place| known.names(place));
            // It was written a moment before the job's end, which is told as it was before.
            let tells_so = known.recipient.is_some() && known.ended_at == found.ended_at;
            if has_places && (found.recipient.is_none() || tells_so) {
                return Ok(());
            }
            if has_places {
                found.files = known.files;
            }
            found.recipient = found.recipient.or(known.recipient);
        }
        Ok(ledger.record(&found).await?)
    }

    /// Every job of every order under way.
    async fn being_erased(&self) -> Result<HashSet<JobId>, EraseError> {
        let mut jobs = HashSet::new();
        for id in self.context.ledger.running().await? {
            let pending = self.context.ledger.pending(&id, Timestamp::FAR_FUTURE, JOBS_AT_ONCE).await?;
            jobs.extend(pending.into_iter().map(|job| job.job_id));
        }
        Ok(jobs)
    }

    async fn settle(&self, order: &Erasure, job: &PendingJob, deleted: Deleted) -> Result<(), EraseError> {
        let WorkerContext { ledger, clock, .. } = &*self.context;
        let Deleted { tally, is_versioned, kept, left, waits_for_live, gone } = deleted;
        if !left.is_empty() {
            let wait = if waits_for_live { WAIT_FOR_LIVE } else { BACKOFF.wait_after(job.tries + 1) };
            let outcome = ErasureOutcome::Left { left, retry_at: clock.now().after(wait) };
            ledger.settle(&order.id, &job.job_id, &outcome, clock.now()).await?;
            reached(ErasureStep::JobSettled);
            return Ok(());
        }
        reached(ErasureStep::FilesDeleted);
        let event = self.event(order, job, &gone).await?;
        let is_told = event.is_some();
        let outcome = ErasureOutcome::Erased { tally, is_versioned, kept, event };
        ledger.settle(&order.id, &job.job_id, &outcome, clock.now()).await?;
        reached(ErasureStep::JobSettled);
        self.context.metrics.erased(order.reason());
        if is_told {
            self.context.erasures.event_owed();
        }
        Ok(())
    }

    /// What is told of a job of which these places are gone, sealed; nothing if its owner doesn't want to be told.
    async fn event(&self, order: &Erasure, job: &PendingJob, gone: &[Place]) -> Result<Option<SealedText>, EraseError> {
        let entry = self.context.ledger.entry(&job.job_id).await?;
        let Some(told) = entry.and_then(|entry| ErasedJob::of(&entry, gone, order.reason())) else { return Ok(None) };
        let told = serde_json::to_vec(&told).map_err(|_| SealError::NotJson)?;
        Ok(Some(self.sealer.seal_erased(&job.job_id, &told)?))
    }

    /// Rewrites databases, if it is time for that, and forgets what is old.
    async fn tidy_up(&self) {
        if let Err(error) = self.purge().await {
            warn!(error = %ErrorChain(&error), "databases can't be rewritten without what was erased; will be retried");
        }
        // By a clock that was set wrong, everything would be old.
        if !self.leadership.holds() || !self.context.clock_trust.is_trusted() {
            return;
        }
        let before = self.context.clock.now().before(KEPT_FOR);
        loop {
            match self.context.ledger.forget(before, BATCH).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    return warn!(error = %ErrorChain(&error), "old erasures can't be forgotten; will be retried");
                }
            }
        }
    }

    async fn purge(&self) -> Result<(), EraseError> {
        let WorkerContext { ledger, queue, clock, .. } = &*self.context;
        let Ok(_alone) = self.purging.try_lock() else { return Ok(()) };
        let (mut done, mut incomplete, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
        for id in ledger.unpurged().await? {
            let Some(order) = ledger.erasure(&id).await? else { continue };
            if order.state == ErasureState::Done {
                done.push(id);
            } else if self.rewritten.lock().contains(&id) {
                continue;
            } else {
                incomplete.push(id);
            }
            longest = longest.max(clock.now().since(order.done_at.unwrap_or(order.created_at)));
        }
        let is_overdue = longest >= self.settings.purge_within;
        if (done.is_empty() && incomplete.is_empty()) || (!is_overdue && !self.is_quiet().await?) {
            return Ok(());
        }
        queue.rewrite().await?;
        reached(ErasureStep::QueueRewritten);
        ledger.purge().await?;
        reached(ErasureStep::Purged);
        ledger.mark_purged(&done, clock.now()).await?;
        self.rewritten.lock().extend(incomplete);
        self.context.erasures.progressed();
        Ok(())
    }

    /// Whether few would wait while databases are rewritten, and not for long.
    async fn is_quiet(&self) -> Result<bool, EraseError> {
        let counts = self.context.queue.counts().await?;
        let records = counts.completed + counts.failed + counts.cancelled;
        Ok(counts.pending + counts.processing <= QUIET_JOBS && records <= QUIET_RECORDS)
    }
}

/// An order that this process carries out, until it is dropped.
struct RunningOrder {
    eraser: Arc<Inner>,
    id: ErasureId,
}

impl Drop for RunningOrder {
    fn drop(&mut self) {
        self.eraser.carried_out.lock().remove(&self.id);
        self.eraser.context.erasures.let_go(&self.id);
        self.eraser.tell_running();
    }
}

/// Adds what `more` says is stored to `files`.
pub(super) fn add_files(files: &mut Vec<StoredFile>, more: Vec<StoredFile>) {
    for file in more {
        match files.iter_mut().find(|known| known.name == file.name) {
            Some(known) => {
                for stored in file.stored {
                    if !known.stored.contains(&stored) {
                        known.stored.push(stored);
                    }
                }
            }
            None => files.push(file),
        }
    }
}

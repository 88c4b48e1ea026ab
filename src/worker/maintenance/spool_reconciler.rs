//! Makes the queue agree with the spool, which is right: an upload that the queue doesn't know is queued, and one whose job
//! has ended leaves as soon as the spool lets it. At start, and once a minute, since an upload whose duplicate is live must
//! wait for its end, and since a queue can lose its records while it runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::{SharedClock, Timestamp};
use crate::error_chain::ErrorChain;
use crate::job::{JobId, JobRecord, State, StoredFile};
use crate::ledger::{ErasableLedger, LedgerError, record_stored};
use crate::nodes::Leadership;
use crate::queue::{EndedJob, Enqueued, Filter, Job, JobQueue, KnownJob, PAGE_MAX, Page, PageRequest, QueueError};
use crate::spool::{EndedUpload, Removal, Spool, SpoolEntry, SpoolError, SpoolPage, SpooledUpload};

const PERIOD: Duration = Duration::from_mins(1);

/// A younger upload may just be on its way from the spool to the queue. To queue one all the same does no harm.
const AGE_MIN: Duration = Duration::from_secs(10);

/// Jobs that one call asks about.
const KNOWN_AT_ONCE: usize = 1000;

/// Uploads that are looked at in the bucket at once: one that Redis has forgotten takes some trips there, and all are to be known
/// again soon.
const SHARED_AT_ONCE: usize = 16;

/// Why the spool and the queue can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The spool can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The ledger can't be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The queue can't be read.
    #[error("comparing the spool with the queue: {0}")]
    Queue(#[from] QueueError),
}

/// What became of an upload that was looked at.
enum Reconciled {
    /// Nothing was to be done, or can be now.
    Right,
    Queued,
    /// It may leave the spool.
    Ended(EndedUpload),
}

/// Which uploads are queued if the queue doesn't know them. Where the spool has a clock of its own, as that of many nodes does,
/// it is those that have been there for a while, whatever is said here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileScope {
    /// All. Only before the server takes uploads.
    AtStart,
    /// Those accepted before this: a younger one may just be on its way from the spool to the queue.
    AcceptedBefore(Timestamp),
}

impl ReconcileScope {
    /// Whether an upload of this age is to be looked at; without one its record is to be.
    fn covers_age(age: Option<Duration>) -> bool {
        age.is_none_or(|age| age >= AGE_MIN)
    }

    fn covers(self, age: Option<Duration>, record: &JobRecord) -> bool {
        match self {
            Self::AcceptedBefore(moment) if age.is_none() => record.created_at < moment,
            _ => true,
        }
    }
}

/// One for the whole server.
pub struct SpoolReconciler {
    spool: Arc<dyn Spool>,
    queue: Arc<dyn JobQueue>,
    clock: SharedClock,
    /// What is written down of jobs, where it is.
    ledger: Option<Arc<dyn ErasableLedger>>,
    /// What is damaged and has been logged: once is enough.
    logged: Mutex<HashSet<String>>,
}

impl SpoolReconciler {
    /// A reconciler that has not started.
    #[must_use]
    pub fn new(spool: Arc<dyn Spool>, queue: Arc<dyn JobQueue>, clock: SharedClock) -> Self {
        Self { spool, queue, clock, ledger: None, logged: Mutex::default() }
    }

    /// The same, which queues nothing that has been erased, and has it written down what ended jobs have stored.
    #[must_use]
    pub fn heeding(self, ledger: Arc<dyn ErasableLedger>) -> Self {
        Self { ledger: Some(ledger), ..self }
    }

    /// Reconciles now and then once a minute as long as it is this node's to do, and at once when it has become so or the queue was
    /// found empty, until `stop`.
    pub async fn run(self, mut leadership: Leadership, stop: CancellationToken) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // What had only just come in then is looked for once it is old enough.
                () = leadership.called_upon() => again = Some(Instant::now() + 2 * AGE_MIN),
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => again = None,
                _ = ticks.tick() => {}
            }
            if leadership.holds() {
                let scope = ReconcileScope::AcceptedBefore(self.clock.now().before(AGE_MIN));
                // What it has done it needn't do again; what it hasn't, the next does.
                let Some(reconciled) = stop.run_until_cancelled(self.reconcile(scope)).await else { return };
                if let Err(error) = reconciled {
                    warn!(error = %ErrorChain(&error), "spool and queue can't be compared; will be retried");
                }
            }
        }
    }

    /// Compares every upload in `scope` with the queue.
    ///
    /// # Errors
    /// If the spool can't be listed, or the queue as a whole fails. What concerns one upload is logged.
    pub async fn reconcile(&self, scope: ReconcileScope) -> Result<(), ReconcileError> {
        let (mut requeued, mut from) = (0, None);
        loop {
            let SpoolPage { uploads, strange, next } = self.spool.uploads(from).await?;
            for place in strange {
                self.log_damaged(place, "it is no upload");
            }
            for uploads in uploads.chunks(KNOWN_AT_ONCE) {
                requeued += self.reconcile_some(uploads, scope).await?;
            }
            from = next;
            if from.is_none() {
                break;
            }
        }
        if requeued > 0 {
            warn!(jobs = requeued, "accepted uploads were missing from the queue; requeued");
        }
        Ok(())
    }

    /// After a queue came back older than it was: drops the jobs that it takes for unfinished and that are not in the
    /// spool. They had ended; to work on them again would end them twice. A job that is queued has been in the spool before,
    /// so one that is not there when it is looked for after the queue named it has left, however young it is.
    ///
    /// # Errors
    /// If the spool or the queue fails; nothing is dropped that was not looked for.
    pub async fn drop_jobs_missing_from_spool(&self) -> Result<(), ReconcileError> {
        let spooled = self.spooled().await?;
        for state in [State::Pending, State::Processing] {
            let filter = Filter::in_state(state);
            let mut cursor = None;
            loop {
                let page = PageRequest { limit: PAGE_MAX, cursor };
                let Page { jobs, next } = self.queue.list(&filter, page).await?;
                for Job { record, .. } in jobs {
                    let is_there = spooled.contains(&record.id) || self.spool.holds(record.id).await?;
                    if !is_there && self.queue.drop_live(&record.id).await? {
                        error!(job_id = %record.id, hash = %record.hash, "job had ended, but its record is lost");
                    }
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The jobs whose uploads the spool has, or had a moment ago.
    async fn spooled(&self) -> Result<HashSet<JobId>, ReconcileError> {
        let (mut spooled, mut from) = (HashSet::new(), None);
        loop {
            let page = self.spool.uploads(from).await?;
            spooled.extend(page.uploads.into_iter().map(|upload| upload.id));
            from = page.next;
            if from.is_none() {
                return Ok(spooled);
            }
        }
    }

    /// How many of `uploads` had to be queued.
    async fn reconcile_some(&self, uploads: &[SpooledUpload], scope: ReconcileScope) -> Result<usize, ReconcileError> {
        let ids: Vec<_> = uploads.iter().map(|upload| upload.id).collect();
        let known = self.queue.known(&ids).await?;
        // On one machine in the order in which they came.
        let at_once = if self.queue.is_shared() { SHARED_AT_ONCE } else { 1 };
        let mut looked_at = stream::iter(uploads.iter().copied().zip(known))
            .map(|(upload, known)| async move { (upload.id, self.reconcile_one(upload, known, scope).await) })
            .buffered(at_once);
        let (mut requeued, mut ended) = (0, Vec::new());
        while let Some((id, reconciled)) = looked_at.next().await {
            match reconciled {
                Ok(Reconciled::Right) => {}
                Ok(Reconciled::Queued) => requeued += 1,
                Ok(Reconciled::Ended(upload)) => ended.push(upload),
                // One that concerns one job alone must not keep the others waiting.
                Err(ReconcileError::Queue(error)) if error.is_outage() => {
                    self.remove_ended(&ended).await;
                    return Err(error.into());
                }
                Err(error) => {
                    error!(job_id = %id, error = %ErrorChain(&error), "upload can't be reconciled; will be retried");
                }
            }
        }
        self.remove_ended(&ended).await;
        Ok(requeued)
    }

    async fn reconcile_one(
        &self,
        upload: SpooledUpload,
        known: KnownJob,
        scope: ReconcileScope,
    ) -> Result<Reconciled, ReconcileError> {
        match known {
            KnownJob::Live => Ok(Reconciled::Right),
            KnownJob::Unknown => {
                let is_queued = self.reconcile_unknown(upload, scope).await?;
                Ok(if is_queued { Reconciled::Queued } else { Reconciled::Right })
            }
            KnownJob::Ended(EndedJob { state, ago, owes_callback }) => {
                self.record_files(upload.id, state).await?;
                Ok(Reconciled::Ended(EndedUpload { id: upload.id, state, ago, owes_callback }))
            }
        }
    }

    /// Whether the upload had to be queued.
    async fn reconcile_unknown(&self, upload: SpooledUpload, scope: ReconcileScope) -> Result<bool, ReconcileError> {
        if !ReconcileScope::covers_age(upload.age) {
            return Ok(false);
        }
        let id = upload.id;
        let record = match self.spool.manifest(id).await? {
            // It has left meanwhile.
            None => return Ok(false),
            Some(SpoolEntry::Damaged { place, why }) => {
                self.log_damaged(place, &why);
                return Ok(false);
            }
            Some(SpoolEntry::Whole(record)) => *record,
        };
        if !scope.covers(upload.age, &record) {
            return Ok(false);
        }
        if let Some(ledger) = &self.ledger
            && ledger.erased_at(&id).await?.is_some()
        {
            self.spool.remove(id).await?;
            info!(job_id = %id, "upload removed from the spool; its job has been erased");
            return Ok(false);
        }
        let again = self.queue.is_shared().then(|| JobRecord { once: None, idempotency: None, ..record.clone() });
        match self.queue.enqueue(record).await {
            Ok(Enqueued::Created | Enqueued::Known) => Ok(true),
            // Its client may have been told of it, so it is a job of its own, to be queued once its duplicate has
            // ended.
            Ok(Enqueued::Duplicate(_)) | Err(QueueError::Full { .. } | QueueError::OwnerFull { .. }) => Ok(false),
            // A full Redis takes it later; what has ended can leave meanwhile.
            Err(QueueError::StorageFull) if self.queue.is_shared() => Ok(false),
            // Two requests to run one job again were under way when the server died.
            Ok(Enqueued::RetriedAlready(by)) => self.remove_retry(id, by).await,
            // Its client was answered that much, or nothing: two uploads with one token were under way when the server died.
            // Of nodes whose Redis was emptied, either may have been told of: both are jobs.
            Ok(Enqueued::TokenUsed(used_by)) => {
                if let Some(again) = again {
                    return Ok(self.queue.enqueue(again).await? == Enqueued::Created);
                }
                self.spool.remove(id).await?;
                info!(job_id = %id, %used_by, "upload removed from the spool; its token was good for another one");
                Ok(false)
            }
            // The same: it was sent again, and answered then.
            Ok(Enqueued::Repeated(_)) => {
                if let Some(again) = again {
                    return match self.queue.enqueue(again).await? {
                        Enqueued::RetriedAlready(by) => self.remove_retry(id, by).await,
                        enqueued => Ok(enqueued == Enqueued::Created),
                    };
                }
                self.spool.remove(id).await?;
                info!(job_id = %id, "upload removed from the spool; it was sent again and answered then");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a job that was to run another again, which `by` does.
    async fn remove_retry(&self, id: JobId, by: JobId) -> Result<bool, ReconcileError> {
        self.spool.remove(id).await?;
        info!(job_id = %id, %by, "upload removed from the spool; another job runs the same one again");
        Ok(false)
    }

    /// A job that failed or was cancelled without its worker may have stored more than its record says.
    async fn record_files(&self, id: JobId, state: State) -> Result<(), ReconcileError> {
        if state == State::Completed {
            return Ok(());
        }
        let Some(job) = self.queue.get(&id).await? else { return Ok(()) };
        let files = self.spool.stored_files(&job.record).await?;
        if let Some(ledger) = &self.ledger {
            self.note_stored(&**ledger, &job, &files).await?;
        }
        if copies(&files) > copies(&job.files) {
            self.queue.record_files(&id, files).await?;
        }
        Ok(())
    }

    /// Has the ledger know what a job has stored that ended without its worker, and when it is to be erased.
    async fn note_stored(
        &self,
        ledger: &dyn ErasableLedger,
        job: &Job,
        files: &[StoredFile],
    ) -> Result<(), ReconcileError> {
        let id = job.record.id;
        // A journal that is gone must not stand for what is known.
        if files.is_empty() && (job.record.spec.expires_after.is_none() || ledger.entry(&id).await?.is_some()) {
            return Ok(());
        }
        if ledger.erased_at(&id).await?.is_some() {
            return Ok(());
        }
        let ended_at = job.finished_at.unwrap_or(self.clock.now());
        Ok(record_stored(ledger, &job.record, files, ended_at).await?)
    }

    async fn remove_ended(&self, ended: &[EndedUpload]) {
        let Removal { removed, failures } = self.spool.remove_ended(ended).await;
        if let Err(error) = self.queue.left_spool(&removed).await {
            warn!(error = %ErrorChain(&error), "queue can't be told whose originals are gone; their records stay for longer");
        }
        let removed: HashSet<_> = removed.into_iter().collect();
        for upload in ended.iter().filter(|upload| removed.contains(&upload.id)) {
            info!(job_id = %upload.id, state = %upload.state, "ended job removed from the spool");
        }
        for error in failures {
            error!(error = %ErrorChain(&error), "ended job can't be removed from the spool; will be retried");
        }
    }

    fn log_damaged(&self, place: String, why: &str) {
        let mut logged = self.logged.lock();
        if !logged.contains(&place) {
            error!(path = place, why, "accepted upload is damaged; it stays in the spool");
            logged.insert(place);
        }
    }
}

/// How many copies of files there are in all stores together.
fn copies(files: &[StoredFile]) -> usize {
    files.iter().map(|file| file.stored.len()).sum()
}

//! The jobs that this process works on: how far each of them is, and a way to stop it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::{Serialize, Serializer};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::events::JobEvents;
use crate::job::{JobId, StoredFile};

/// Every job that this process works on, and the workers that do. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ActiveJobs {
    events: JobEvents,
    /// The newest attempt last. A job has several only while one that lost its lease hasn't stopped yet.
    attempts: Arc<Mutex<HashMap<JobId, Vec<Arc<ActiveAttempt>>>>>,
    workers: Arc<AtomicUsize>,
    making: Arc<AtomicUsize>,
}

impl ActiveJobs {
    /// None yet; what happens to them is told to `events`.
    #[must_use]
    pub fn new(events: JobEvents) -> Self {
        Self { events, attempts: Arc::default(), workers: Arc::default(), making: Arc::default() }
    }

    /// Registers an attempt at `id` until the guard is dropped.
    #[must_use]
    pub fn start(&self, id: JobId, files_total: usize) -> AttemptGuard {
        let attempt = Arc::new(ActiveAttempt {
            stop: CancellationToken::new(),
            stopped_for: OnceLock::new(),
            ended: CancellationToken::new(),
            id,
            events: self.events.clone(),
            files_total,
            progress: Mutex::default(),
            stores: Mutex::default(),
            made_at: Mutex::default(),
        });
        self.attempts.lock().entry(id).or_default().push(Arc::clone(&attempt));
        AttemptGuard { jobs: self.clone(), id, attempt }
    }

    /// Stops every attempt at `id` and waits for their end, after which nothing more of the job is stored. Answers what
    /// is stored of it by then, if this process worked on it and got so far as to know.
    pub async fn stop(&self, id: JobId) -> Option<Vec<StoredFile>> {
        let attempts = self.attempts.lock().get(&id).cloned()?;
        stop_all(&attempts).await;
        attempts.last()?.stored()
    }

    /// Tells the attempts at `id` that the job was called off. They settle it themselves.
    pub fn call_off(&self, id: JobId) {
        for attempt in self.attempts.lock().get(&id).into_iter().flatten() {
            attempt.stop_for(StopReason::CalledOff);
        }
    }

    /// What is stored of a job so far, if this process works on it: none until the newest attempt has read what earlier
    /// ones stored.
    #[must_use]
    pub fn progress(&self, id: JobId) -> Option<Progress> {
        self.attempts.lock().get(&id)?.last()?.progress.lock().clone()
    }

    /// The stores that a job waits for, if this process works on it.
    #[must_use]
    pub fn outages(&self, id: JobId) -> Vec<StoreOutage> {
        let attempt = self.attempts.lock().get(&id).and_then(|attempts| attempts.last().cloned());
        attempt
            .map_or_else(Vec::new, |attempt| attempt.stores.lock().iter().filter_map(|store| store.outage()).collect())
    }

    /// Of each kind of store that jobs wait for: since when the oldest of those has been made.
    #[must_use]
    pub fn storing_since(&self) -> HashMap<&'static str, Timestamp> {
        let newest: Vec<_> = self.attempts.lock().values().filter_map(|attempts| attempts.last().cloned()).collect();
        let mut oldest: HashMap<&'static str, Timestamp> = HashMap::new();
        for attempt in newest {
            let Some(made_at) = *attempt.made_at.lock() else { continue };
            for backend in attempt.stores.lock().iter().filter_map(|store| store.wanting()) {
                oldest.entry(backend).and_modify(|since| *since = made_at.min(*since)).or_insert(made_at);
            }
        }
        oldest
    }

    /// How many workers make variants at the moment.
    #[must_use]
    pub fn making(&self) -> usize {
        self.making.load(Ordering::Relaxed)
    }

    /// Counts a worker as making variants until the guard is dropped.
    #[must_use]
    pub fn begin_making(&self) -> CountGuard {
        CountGuard::of(&self.making)
    }

    /// Registers a worker until the guard is dropped.
    #[must_use]
    pub fn add_worker(&self) -> CountGuard {
        CountGuard::of(&self.workers)
    }

    /// How many workers take jobs.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }
}

/// Asks all of `attempts` to stop before it waits for the first.
async fn stop_all(attempts: &[Arc<ActiveAttempt>]) {
    for attempt in attempts {
        attempt.stop.cancel();
    }
    for attempt in attempts {
        attempt.ended.cancelled().await;
    }
}

/// How far a job is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Every file that is in some store, in the order in which the job asked for them.
    pub files: Vec<StoredFile>,
    /// How many of them are in every store of the job.
    pub done: usize,
}

/// That a job waits for a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StoreOutage {
    /// `directHost`, `s3` or `gcs`, as the claims call it.
    pub backend: &'static str,
    /// What the claims call the store by; none for the serve directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub access_key: Option<String>,
    /// Since when.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = "date-time")]
    pub since: Timestamp,
    /// Why.
    pub reason: OutageReason,
}

/// Why a job waits for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutageReason {
    /// It can't be reached, or answers that it can't take anything now.
    Unreachable,
    /// It answers, and refuses.
    Refused,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference to the field")]
fn as_rfc3339<S: Serializer>(since: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&since.rfc3339())
}

/// A store that a job's files go to.
pub trait StoreState: Send + Sync {
    /// Its kind, while some file is still to be written there.
    fn wanting(&self) -> Option<&'static str>;

    /// Whether the job waits for it.
    fn outage(&self) -> Option<StoreOutage>;
}

/// Why an attempt is stopped that settles its job all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The job was called off through another node.
    CalledOff,
    /// Its lease could not be renewed for so long that another node may be given the job.
    LeaseInDoubt,
}

/// One attempt at a job.
pub struct ActiveAttempt {
    stop: CancellationToken,
    stopped_for: OnceLock<StopReason>,
    ended: CancellationToken,
    id: JobId,
    events: JobEvents,
    files_total: usize,
    progress: Mutex<Option<Progress>>,
    stores: Mutex<Vec<Arc<dyn StoreState>>>,
    /// When all of its variants were made.
    made_at: Mutex<Option<Timestamp>>,
}

impl fmt::Debug for ActiveAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveAttempt").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl ActiveAttempt {
    /// Fires when the attempt is to stop.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Stops the attempt, which settles its job itself.
    pub fn stop_for(&self, reason: StopReason) {
        // The first reason stays: the attempt may have gone by it already.
        let _ = self.stopped_for.set(reason);
        self.stop.cancel();
    }

    /// Why it is to settle its job itself, if it was stopped for that.
    #[must_use]
    pub fn stopped_for(&self) -> Option<StopReason> {
        self.stopped_for.get().copied()
    }

    /// Publishes what is stored of the job so far; `files_done` of the files are in all of its stores.
    pub fn set_stored(&self, files: Vec<StoredFile>, files_done: usize) {
        *self.progress.lock() = Some(Progress { files, done: files_done.min(self.files_total) });
        // Whoever stops an attempt records what became of the job; nothing would count this any more.
        if !self.stop.is_cancelled() {
            self.events.changed(self.id);
        }
    }

    /// Publishes that its variants are made, since then.
    pub fn set_made(&self, since: Timestamp) {
        *self.made_at.lock() = Some(since);
    }

    /// Publishes which stores the job's files go to.
    pub fn set_stores(&self, stores: Vec<Arc<dyn StoreState>>) {
        *self.stores.lock() = stores;
    }

    /// What is stored of the job so far, if the attempt got so far as to know.
    #[must_use]
    pub fn stored(&self) -> Option<Vec<StoredFile>> {
        self.progress.lock().as_ref().map(|progress| progress.files.clone())
    }
}

/// Keeps an attempt among the active ones.
#[derive(Debug)]
pub struct AttemptGuard {
    jobs: ActiveJobs,
    id: JobId,
    attempt: Arc<ActiveAttempt>,
}

impl AttemptGuard {
    /// What other threads see of the attempt.
    #[must_use]
    pub fn attempt(&self) -> &Arc<ActiveAttempt> {
        &self.attempt
    }

    /// Stops the earlier attempts at the same job, which lost their lease and haven't noticed yet, and waits for their
    /// end.
    pub async fn stop_earlier(&self) {
        let earlier: Vec<_> = {
            let attempts = self.jobs.attempts.lock();
            let of_job = attempts.get(&self.id).into_iter().flatten();
            of_job.take_while(|attempt| !Arc::ptr_eq(attempt, &self.attempt)).cloned().collect()
        };
        stop_all(&earlier).await;
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        let mut attempts = self.jobs.attempts.lock();
        if let Entry::Occupied(mut of_job) = attempts.entry(self.id) {
            of_job.get_mut().retain(|attempt| !Arc::ptr_eq(attempt, &self.attempt));
            if of_job.get().is_empty() {
                of_job.remove();
            }
        }
        drop(attempts);
        self.attempt.ended.cancel();
    }
}

/// Keeps a worker counted.
#[derive(Debug)]
pub struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

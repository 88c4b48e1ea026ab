//! The jobs that this process is working on: how far they are, and a way to stop them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::job::{JobId, StoredFile};

/// Every job in this process's hands. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// More than one of a job only while an attempt that lost its lease hasn't noticed yet.
    jobs: Arc<Mutex<HashMap<JobId, Vec<Arc<RunningJob>>>>>,
    workers: Arc<AtomicUsize>,
}

impl Running {
    /// Notes that `id` is being worked on, until the guard is dropped.
    #[must_use]
    pub fn start(&self, id: JobId, files_total: usize) -> RunningGuard {
        let job = Arc::new(RunningJob {
            stop: CancellationToken::new(),
            over: CancellationToken::new(),
            files_done: AtomicUsize::new(0),
            files_total,
            stored: Mutex::default(),
        });
        self.lock().entry(id).or_default().push(Arc::clone(&job));
        RunningGuard { running: self.clone(), id, job }
    }

    /// Stops `id` if it runs here, and waits until nothing of it can appear any more: what is stored of it then.
    pub async fn stop(&self, id: JobId) -> Option<Vec<StoredFile>> {
        let attempts = self.lock().get(&id).cloned()?;
        stop_all(&attempts).await;
        attempts.last().map(|newest| newest.stored())
    }

    /// How many of a job's files are stored, if it runs here.
    #[must_use]
    pub fn files_done(&self, id: JobId) -> Option<usize> {
        self.lock().get(&id)?.last().map(|job| job.files_done.load(Ordering::Relaxed))
    }

    /// How many jobs run here.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Notes that a worker's loop runs, until the guard is dropped.
    #[must_use]
    pub fn worker(&self) -> WorkerGuard {
        self.workers.fetch_add(1, Ordering::Relaxed);
        WorkerGuard(Arc::clone(&self.workers))
    }

    /// Workers whose loop runs.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Vec<Arc<RunningJob>>>> {
        self.jobs.lock()
    }
}

/// Waits until all of them have stopped, and nothing of them can appear any more.
async fn stop_all(attempts: &[Arc<RunningJob>]) {
    for attempt in attempts {
        attempt.stop.cancel();
    }
    for attempt in attempts {
        attempt.over.cancelled().await;
    }
}

/// One job that is being worked on.
#[derive(Debug)]
pub struct RunningJob {
    stop: CancellationToken,
    over: CancellationToken,
    files_done: AtomicUsize,
    files_total: usize,
    stored: Mutex<Vec<StoredFile>>,
}

impl RunningJob {
    /// Fires when the job is to stop.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Tells how far the job is: everything stored of it so far.
    pub fn set_stored(&self, files: Vec<StoredFile>, files_done: usize) {
        self.files_done.store(files_done.min(self.files_total), Ordering::Relaxed);
        *self.stored.lock() = files;
    }

    /// Everything stored of it so far.
    #[must_use]
    pub fn stored(&self) -> Vec<StoredFile> {
        self.stored.lock().clone()
    }
}

/// Keeps a job among the running ones.
#[derive(Debug)]
pub struct RunningGuard {
    running: Running,
    id: JobId,
    job: Arc<RunningJob>,
}

impl RunningGuard {
    /// The job.
    #[must_use]
    pub fn job(&self) -> &Arc<RunningJob> {
        &self.job
    }

    /// Stops the attempts at the same job that began before this one and haven't noticed yet that they lost their lease,
    /// and waits until nothing of them can appear any more.
    pub async fn stop_earlier(&self) {
        let earlier: Vec<_> = {
            let jobs = self.running.lock();
            let attempts = jobs.get(&self.id).into_iter().flatten();
            attempts.take_while(|attempt| !Arc::ptr_eq(attempt, &self.job)).cloned().collect()
        };
        stop_all(&earlier).await;
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let mut jobs = self.running.lock();
        if let Entry::Occupied(mut attempts) = jobs.entry(self.id) {
            attempts.get_mut().retain(|attempt| !Arc::ptr_eq(attempt, &self.job));
            if attempts.get().is_empty() {
                attempts.remove();
            }
        }
        drop(jobs);
        self.job.over.cancel();
    }
}

/// Keeps a worker among those whose loop runs.
#[derive(Debug)]
pub struct WorkerGuard(Arc<AtomicUsize>);

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

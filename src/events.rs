//! That jobs have changed, for those who watch one of them.
//!
//! An event carries nothing: what a job is now, its record and its attempt say. So none can be late or out of order, and a
//! watcher who slept sees the newest. The queue tells of what it has recorded, attempts of what happens between two
//! records.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, OccupiedEntry};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::job::JobId;

/// Where changes are told. Cheap to clone.
#[derive(Clone, Default)]
pub struct JobEvents(Arc<Mutex<HashMap<JobId, WatchedJob>>>);

/// A job that is watched, or has changes that its record doesn't count yet.
struct WatchedJob {
    unrecorded: u64,
    changed: watch::Sender<()>,
}

impl JobEvents {
    /// Something happened to a job that its record doesn't say.
    pub fn changed(&self, id: JobId) {
        let mut jobs = self.0.lock();
        let job = jobs.entry(id).or_default();
        job.unrecorded += 1;
        job.changed.send_replace(());
    }

    /// How many changes of a job its record doesn't count.
    #[must_use]
    pub fn unrecorded(&self, id: JobId) -> u64 {
        self.0.lock().get(&id).map_or(0, |job| job.unrecorded)
    }

    /// So many changes of a job are counted by its record now.
    pub fn counted(&self, id: JobId, changes: u64) {
        if let Some(job) = self.0.lock().get_mut(&id) {
            job.unrecorded = job.unrecorded.saturating_sub(changes);
        }
    }

    /// A job's record has changed.
    pub fn recorded(&self, id: JobId) {
        let mut jobs = self.0.lock();
        let Entry::Occupied(job) = jobs.entry(id) else { return };
        job.get().changed.send_replace(());
        remove_if_needless(job);
    }

    /// All records may have changed.
    pub fn all_recorded(&self) {
        for job in self.0.lock().values() {
            job.changed.send_replace(());
        }
    }

    /// Watches a job from now on.
    #[must_use]
    pub fn watch(&self, id: JobId) -> JobWatch {
        let changed = self.0.lock().entry(id).or_default().changed.subscribe();
        JobWatch { events: self.clone(), id, changed: Some(changed) }
    }
}

impl Default for WatchedJob {
    fn default() -> Self {
        Self { unrecorded: 0, changed: watch::Sender::new(()) }
    }
}

impl fmt::Debug for JobEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobEvents").field("jobs", &self.0.lock().len()).finish()
    }
}

fn remove_if_needless(job: OccupiedEntry<'_, JobId, WatchedJob>) {
    if job.get().unrecorded == 0 && job.get().changed.receiver_count() == 0 {
        job.remove();
    }
}

/// Someone who watches a job.
#[derive(Debug)]
pub struct JobWatch {
    events: JobEvents,
    id: JobId,
    /// None while it is dropped.
    changed: Option<watch::Receiver<()>>,
}

impl JobWatch {
    /// Returns when the job has changed since this was asked last, or since it is watched.
    pub async fn changed(&mut self) {
        if let Some(changed) = &mut self.changed
            && changed.changed().await.is_err()
        {
            // Its sender goes when nobody watches, so never before this does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let mut jobs = self.events.0.lock();
        drop(self.changed.take());
        if let Entry::Occupied(job) = jobs.entry(self.id) {
            remove_if_needless(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;
    use crate::clock::Timestamp;

    fn job() -> (JobEvents, JobId) {
        (JobEvents::default(), JobId::new(Timestamp::from_millis(1)))
    }

    #[tokio::test]
    async fn a_watcher_hears_of_what_happens_after_it_looked_and_once_of_many_changes() {
        let (events, id) = job();
        events.changed(id);
        let mut watch = events.watch(id);
        assert!(poll!(std::pin::pin!(watch.changed())).is_pending(), "that was before");
        events.changed(id);
        events.recorded(id);
        watch.changed().await;
        assert!(poll!(std::pin::pin!(watch.changed())).is_pending());
    }

    #[test]
    fn what_is_recorded_is_counted_by_the_record_alone() {
        let (events, id) = job();
        events.changed(id);
        events.changed(id);
        assert_eq!(events.unrecorded(id), 2);
        events.changed(id);
        // What has come since stays.
        events.counted(id, 2);
        assert_eq!(events.unrecorded(id), 1);
        events.counted(id, 2);
        assert_eq!(events.unrecorded(id), 0);
    }

    #[test]
    fn nothing_is_kept_of_a_job_that_nobody_watches_once_its_record_counts_everything() {
        let (events, id) = job();
        let watch = events.watch(id);
        events.changed(id);
        drop(watch);
        assert_eq!(events.unrecorded(id), 1);
        events.counted(id, 1);
        events.recorded(id);
        assert!(events.0.lock().is_empty());
        drop(events.watch(id));
        assert!(events.0.lock().is_empty());
    }
}

//! What the spool holds and the queue doesn't know is queued again, and what has ended leaves the spool: at start, and
//! now and then, since an upload whose twin is live must wait for it, and since a queue can lose its database while it
//! runs.

use tracing::{error, info, warn};

use super::shelf::Shelf;
use crate::clock::Timestamp;
use crate::job::{JobId, JobRecord, State, StoredFile};
use crate::queue::{Enqueued, Filter, Job, JobQueue, Page, PageRequest, QueueError};
use crate::spool::{Entry, Spool, SpoolError};

/// Why the start-up comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The spool can't be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The queue can't be read.
    #[error("comparing the spool with the queue: {0}")]
    Queue(#[from] QueueError),
}

/// Which uploads to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them, and damaged ones are named: nothing is on its way yet.
    AtStart,
    /// Those accepted before this: a younger one may be on its way from the spool to the queue right now.
    AcceptedBefore(Timestamp),
}

/// Compares the spool with the queue; the spool is right. Returns how many uploads were queued again.
pub async fn reconcile(spool: &Spool, queue: &dyn JobQueue, scope: Scope) -> Result<usize, ReconcileError> {
    let mut requeued = 0;
    for entry in spool.entries().await? {
        match entry {
            Entry::Whole(record) if !scope.covers(&record) => {}
            Entry::Whole(record) => {
                let id = record.id;
                match reconcile_one(spool, queue, *record).await {
                    Ok(queued) => requeued += usize::from(queued),
                    // The queue as a whole: no point in asking about the rest.
                    Err(ReconcileError::Queue(error @ (QueueError::Unavailable { .. } | QueueError::StorageFull))) => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        error!(job_id = %id, %error, "this upload can't be dealt with now; trying again later");
                    }
                }
            }
            Entry::Damaged { path, why } if scope == Scope::AtStart => {
                error!(path = %path.display(), why, "an accepted upload is damaged and can't be worked on; it stays there");
            }
            Entry::Damaged { .. } => {}
        }
    }
    if requeued > 0 {
        warn!(jobs = requeued, "the queue didn't know these accepted uploads; they are queued again");
    }
    Ok(requeued)
}

/// After a queue came back older than it was: forgets the jobs that it takes for unfinished and the spool doesn't have.
/// They had ended, and how is lost; to work on them again would end them twice. Returns how many there were.
pub async fn forget_what_had_ended(spool: &Spool, queue: &dyn JobQueue) -> Result<usize, ReconcileError> {
    const AT_ONCE: usize = 200;
    let mut forgotten = 0;
    for state in [State::Pending, State::Processing] {
        let mut cursor = None;
        loop {
            let page = PageRequest { limit: AT_ONCE, cursor };
            let Page { jobs, next } = queue.list(&Filter { state: Some(state), owner: None }, page).await?;
            for Job { record, .. } in jobs {
                if !spool.holds(record.id).await? && queue.forget_live(&record.id).await? {
                    error!(job_id = %record.id, hash = %record.hash, "this job had ended; the record of how is lost");
                    forgotten += 1;
                }
            }
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(forgotten)
}

impl Scope {
    fn covers(self, record: &JobRecord) -> bool {
        match self {
            Self::AtStart => true,
            Self::AcceptedBefore(moment) => record.created_at < moment,
        }
    }
}

async fn reconcile_one(spool: &Spool, queue: &dyn JobQueue, record: JobRecord) -> Result<bool, ReconcileError> {
    let id: JobId = record.id;
    match queue.get(&id).await? {
        Some(job) if job.state.is_terminal() => {
            info!(job_id = %id, state = %job.state, "had ended; it leaves the spool");
            name_files(spool, queue, &job).await?;
            spool.remove(id).await?;
            Ok(false)
        }
        Some(_) => Ok(false),
        None => match queue.enqueue(record).await {
            Ok(Enqueued::Created | Enqueued::Known) => Ok(true),
            // Its client may have had its answer, so it is a job of its own; its turn comes when its twin has ended.
            Ok(Enqueued::Duplicate(_)) | Err(QueueError::Full { .. } | QueueError::OwnerFull { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        },
    }
}

/// A job that failed with its server, or was cancelled at that moment, may have stored more than its record says.
async fn name_files(spool: &Spool, queue: &dyn JobQueue, job: &Job) -> Result<(), ReconcileError> {
    if job.state == State::Completed {
        return Ok(());
    }
    let files = match stored_files(spool, &job.record).await {
        // It left the spool just now: whoever ended it has named them.
        Err(error) if error.is_missing() => return Ok(()),
        files => files?,
    };
    if places(&files) > places(&job.files) {
        queue.name_files(&job.record.id, files).await?;
    }
    Ok(())
}

/// Everything that the journal says is stored of a job in the spool, by whichever attempt.
pub(super) async fn stored_files(spool: &Spool, record: &JobRecord) -> Result<Vec<StoredFile>, SpoolError> {
    let journal = spool.journal(record.id).await?;
    Ok(Shelf::new(record, journal.earlier()).files())
}

fn places(files: &[StoredFile]) -> usize {
    files.iter().map(|file| file.stored.len()).sum()
}

//! At start: what the spool holds and the queue doesn't know is queued again, and what has ended leaves the spool.

use tracing::{error, info, warn};

use crate::job::{JobId, JobRecord};
use crate::queue::{Enqueued, JobQueue, QueueError};
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

/// Compares the spool with the queue; the spool is right. Returns how many uploads were queued again.
pub async fn reconcile(spool: &Spool, queue: &dyn JobQueue) -> Result<usize, ReconcileError> {
    let mut requeued = 0;
    for entry in spool.entries().await? {
        match entry {
            Entry::Whole(record) => requeued += usize::from(reconcile_one(spool, queue, *record).await?),
            Entry::Damaged { path, why } => {
                error!(path = %path.display(), why, "an accepted upload is damaged and can't be worked on; it stays there");
            }
        }
    }
    if requeued > 0 {
        warn!(jobs = requeued, "the queue didn't know these accepted uploads; they are queued again");
    }
    Ok(requeued)
}

async fn reconcile_one(spool: &Spool, queue: &dyn JobQueue, record: JobRecord) -> Result<bool, ReconcileError> {
    let id: JobId = record.id;
    match queue.get(&id).await? {
        Some(job) if job.state.is_terminal() => {
            info!(job_id = %id, state = %job.state, "had ended; it leaves the spool");
            spool.remove(id).await?;
            Ok(false)
        }
        Some(_) => Ok(false),
        None => match queue.enqueue(record).await? {
            Enqueued::Created | Enqueued::Known => Ok(true),
            // Two were on their way when the server died; neither client had its answer, and one job is enough.
            Enqueued::Duplicate(_) => {
                spool.remove(id).await?;
                Ok(false)
            }
        },
    }
}

//! How an attempt ended, and telling the queue.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::failpoint::{Step, reached};
use crate::job::{JobError, JobRecord, State, StoredFile};
use crate::queue::{Lease, Retry, Settled};
use crate::worker::WorkerContext;

/// Between tries to settle a job with a queue that fails.
const SETTLE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// How an attempt ended.
pub(super) enum Outcome {
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

/// Settles the job, however often the queue must be asked, and once its terminal record is durable, removes it from the
/// spool.
pub(super) async fn settle(
    context: &WorkerContext,
    lease: &Lease,
    record: &JobRecord,
    outcome: Outcome,
    drain: &CancellationToken,
) {
    reached(Step::SettleBefore);
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
            Ok(settled) => {
                log(settled, &outcome);
                return remove_ended(context, record, settled).await;
            }
            Err(error) if drain.is_cancelled() => {
                return warn!(%error, "job can't be settled before the server stops; the next start retries it");
            }
            Err(error) => {
                warn!(%error, "job can't be settled; will be retried");
                tokio::time::sleep(SETTLE_RETRY_DELAY).await;
            }
        }
    }
}

fn log(settled: Settled, outcome: &Outcome) {
    match (settled, outcome) {
        (Settled::Applied(State::Completed), Outcome::Completed(files)) => info!(files = files.len(), "job completed"),
        (Settled::Applied(State::Failed), Outcome::Failed { error, .. } | Outcome::Crashed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "job failed");
        }
        (Settled::Applied(State::Pending), Outcome::Failed { error, .. } | Outcome::Crashed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "attempt failed; will be retried");
        }
        (Settled::Applied(state), _) => info!(%state, "job requeued"),
        (Settled::Stale, _) => info!("lease lost; the attempt's result is discarded"),
    }
}

async fn remove_ended(context: &WorkerContext, record: &JobRecord, settled: Settled) {
    if !matches!(settled, Settled::Applied(state) if state.is_terminal()) {
        return;
    }
    reached(Step::SettleAfter);
    if let Err(error) = context.spool.remove(record.id).await {
        warn!(%error, "ended job can't be removed from the spool; will be retried");
    }
    reached(Step::SpoolRemoved);
}

//! Telling the queue how an attempt ended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobRecord, State};
use crate::queue::{Lease, Settled, Settlement};
use crate::worker::WorkerContext;

/// Between tries to settle a job with a queue that fails.
const SETTLE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Settles the job, however often the queue must be asked, and once its terminal record is durable, removes it from the
/// spool.
pub(super) async fn settle(
    context: &WorkerContext,
    lease: &Lease,
    record: &JobRecord,
    settlement: Settlement,
    drain: &CancellationToken,
) {
    reached(Step::SettleBefore);
    loop {
        match context.queue.settle(lease, settlement.clone()).await {
            Ok(settled) => {
                log(settled, &settlement);
                return remove_ended(context, record, settled).await;
            }
            Err(error) if drain.is_cancelled() => {
                return warn!(
                    error = %ErrorChain(&error),
                    "job can't be settled before the server stops; the next start retries it"
                );
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "job can't be settled; will be retried");
                tokio::time::sleep(SETTLE_RETRY_DELAY).await;
            }
        }
    }
}

fn log(settled: Settled, settlement: &Settlement) {
    match (settled, settlement) {
        (Settled::Applied(State::Completed), Settlement::Completed { files }) => {
            info!(files = files.len(), "job completed");
        }
        (Settled::Applied(State::Failed), Settlement::Failed { error, .. } | Settlement::Crashed { error, .. }) => {
            warn!(code = error.code, error = error.detail, "job failed");
        }
        (Settled::Applied(State::Pending), Settlement::Failed { error, .. } | Settlement::Crashed { error, .. }) => {
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
        warn!(error = %ErrorChain(&error), "ended job can't be removed from the spool; will be retried");
    }
    reached(Step::SpoolRemoved);
}

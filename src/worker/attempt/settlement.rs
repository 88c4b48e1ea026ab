//! Telling the queue how an attempt ended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{SharedClock, millis};
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{JobRecord, State};
use crate::ledger::{LedgerError, record_stored};
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
    timings: &Timings,
) {
    reached(Step::SettleBefore);
    if let Err(error) = record_stored_files(context, record, &settlement, drain).await {
        return warn!(
            error = %ErrorChain(&error),
            "what is stored of the job can't be written down before the server stops; the next start retries it"
        );
    }
    loop {
        match context.queue.settle(lease, settlement.clone()).await {
            Ok(settled) => {
                log(context, record, settled, &settlement, timings);
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

/// Writes down what is stored of a job that this may end, before it does: a store must hold nothing that no one knows of.
async fn record_stored_files(
    context: &WorkerContext,
    record: &JobRecord,
    settlement: &Settlement,
    drain: &CancellationToken,
) -> Result<(), LedgerError> {
    let files = match settlement {
        Settlement::Completed { files, .. }
        | Settlement::Failed { files, .. }
        | Settlement::Crashed { files, .. }
        | Settlement::Stopped { files } => files,
        Settlement::Released
        | Settlement::Postponed { .. }
        | Settlement::Unmade { .. }
        | Settlement::Outgrown { .. } => return Ok(()),
    };
    loop {
        match record_stored(&*context.ledger, record, files, context.clock.now()).await {
            Ok(()) => break,
            Err(error) if drain.is_cancelled() => return Err(error),
            Err(error) => {
                warn!(error = %ErrorChain(&error), "what is stored of the job can't be written down; will be retried");
                tokio::time::sleep(SETTLE_RETRY_DELAY).await;
            }
        }
    }
    reached(Step::SettleRecorded);
    Ok(())
}

fn log(context: &WorkerContext, record: &JobRecord, settled: Settled, settlement: &Settlement, timings: &Timings) {
    match (settled, settlement) {
        (Settled::Applied(State::Completed), Settlement::Completed { files, .. }) => {
            let (making_ms, storing_ms) = timings.stages_ms(&context.clock);
            let duration_ms = millis(context.clock.now().since(record.created_at));
            info!(files = files.len(), duration_ms, making_ms, storing_ms, "job completed");
        }
        (Settled::Applied(State::Pending), Settlement::Postponed { error, wait, .. }) => {
            let wait_s = wait.as_secs();
            warn!(code = error.code, error = error.detail, wait_s, "attempt postponed; it doesn't count");
        }
        (Settled::Applied(State::Pending), Settlement::Unmade { .. }) => {
            warn!("variants that were made are gone; they will be made again");
        }
        (Settled::Applied(State::Pending), Settlement::Outgrown { memory }) => {
            info!(memory, "job takes more memory than when it was accepted; it waits for that");
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

/// When an attempt began, and when its variants were made, by the monotonic clock in milliseconds.
pub(super) struct Timings {
    started_ms: u64,
    made_ms: AtomicU64,
}

impl Timings {
    /// Of an attempt that begins now.
    pub(super) fn start(clock: &SharedClock) -> Self {
        let started_ms = millis(clock.elapsed());
        Self { started_ms, made_ms: AtomicU64::new(started_ms) }
    }

    /// Its variants are made.
    pub(super) fn set_made(&self, clock: &SharedClock) {
        self.made_ms.store(millis(clock.elapsed()), Ordering::Relaxed);
    }

    /// What each stage has taken so far, in milliseconds: making, storing.
    fn stages_ms(&self, clock: &SharedClock) -> (u64, u64) {
        let made = self.made_ms.load(Ordering::Relaxed);
        (made.saturating_sub(self.started_ms), millis(clock.elapsed()).saturating_sub(made))
    }
}

async fn remove_ended(context: &WorkerContext, record: &JobRecord, settled: Settled) {
    let Settled::Applied(state) = settled else { return };
    if !state.is_terminal() {
        return;
    }
    reached(Step::SettleAfter);
    if let Err(error) = context.spool.job_ended(record.id, state).await {
        warn!(error = %ErrorChain(&error), "ended job can't be removed from the spool; will be retried");
    }
    reached(Step::SpoolRemoved);
}

//! Compares what stores have with what the ledger knows: reports, and where it is asked to, writes down what records and names
//! tell of, and deletes what nobody knows.
//!
//! It may be killed at any moment, and begun again: nothing is remembered of a comparison but what it has done. What it deletes
//! has a name of ours, is older than a day, and is named by no entry, no record and no live job at the moment before; what this
//! process would write there waits until it is gone ([`StoreClients::hold`](crate::worker::StoreClients)).

mod adopt;
mod compare;
mod delete;
mod missing;
mod seen;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::compare::Comparison;
use crate::bucket::KeyPrefix;
use crate::clock::millis;
use crate::error_chain::ErrorChain;
use crate::failpoint::{GcStep, reached};
use crate::ledger::{GC_NOTED_EVERY, GcRun, GcSignals, GcState, LedgerError};
use crate::queue::QueueError;
use crate::spool::SpoolError;
use crate::worker::WorkerContext;
use crate::worker::stores::OwnBucket;

/// For how long a comparison goes on that can't be noted: other nodes take it for stopped soon after.
const UNNOTED_MAX: Duration = Duration::from_secs(40);
/// For noting how it ended.
const END_NOTED_WITHIN: Duration = Duration::from_secs(10);
/// Files of a report that are named, of each kind.
const EXAMPLES_MAX: usize = 20;

/// Why a comparison broke off. What is wrong with one store doesn't end it.
#[derive(Debug, thiserror::Error)]
enum GcError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// A comparison's report as it grows.
type Report = Arc<Mutex<GcRun>>;

/// One for each server: it carries out what is asked for there.
pub struct GarbageCollector {
    context: Arc<WorkerContext>,
    signals: GcSignals,
    own_bucket: Option<OwnBucket>,
}

impl GarbageCollector {
    /// One that has not started. `own_bucket` is the bucket of many nodes and what keys in it begin with: whoever registers it as
    /// a store, what lies there is none.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>, signals: GcSignals, own_bucket: Option<(String, KeyPrefix)>) -> Self {
        let own_bucket = own_bucket.map(|(name, prefix)| OwnBucket { name, prefix });
        Self { context, signals, own_bucket }
    }

    /// Carries out what is asked for, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        while let Some(run) = stop.run_until_cancelled(this.signals.next()).await {
            let report: Report = Arc::new(Mutex::new(run));
            let (collector, shared, stop) = (Arc::clone(&this), Arc::clone(&report), stop.clone());
            let ended = tokio::spawn(async move { collector.carry_out(&shared, &stop).await }).await;
            let state = ended.unwrap_or_else(|panic| {
                error!(error = %ErrorChain(&panic), "comparing stores with the ledger failed");
                GcState::Failed
            });
            this.end(&report, state).await;
        }
    }

    async fn carry_out(&self, report: &Report, stop: &CancellationToken) -> GcState {
        let (request, id) = {
            let run = report.lock();
            (run.request, run.id)
        };
        info!(gc_id = %id, adopt = request.adopt, delete = request.delete, "stores are compared with the ledger");
        self.context.metrics.gc_begun();
        let comparison = async {
            let compared = Comparison::new(&self.context, self.own_bucket.as_ref(), report, request).run().await;
            match compared {
                Ok(()) => GcState::Done,
                Err(error) => {
                    warn!(gc_id = %id, error = %ErrorChain(&error), "comparing stores with the ledger broke off");
                    GcState::Failed
                }
            }
        };
        tokio::select! {
            state = comparison => state,
            () = stop.cancelled() => GcState::Stopped,
            () = self.keep_noted(report) => {
                warn!(gc_id = %id, "the comparison is given up: the ledger can't be told that it goes on");
                GcState::Stopped
            }
        }
    }

    /// Notes now and then how far it is; returns once that has failed for too long.
    async fn keep_noted(&self, report: &Report) {
        let WorkerContext { ledger, clock, .. } = &*self.context;
        let mut noted_at = clock.elapsed();
        let mut ticks = interval(GC_NOTED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if clock.elapsed().saturating_sub(noted_at) >= UNNOTED_MAX {
                return;
            }
            let run = report.lock().clone();
            match timeout(UNNOTED_MAX, ledger.note_gc(&run)).await {
                Ok(Ok(())) => noted_at = clock.elapsed(),
                Ok(Err(error)) => warn!(error = %ErrorChain(&error), "how far the comparison is can't be noted"),
                Err(_) => return,
            }
        }
    }

    async fn end(&self, report: &Report, state: GcState) {
        let WorkerContext { ledger, clock, metrics, .. } = &*self.context;
        let run = {
            let mut run = report.lock();
            run.state = state;
            run.ended_at = Some(clock.now());
            run.clone()
        };
        reached(GcStep::Ended);
        metrics.gc_ended(state, &run.report);
        let took_ms = millis(clock.now().since(run.started_at));
        let found = &run.report;
        info!(
            gc_id = %run.id,
            state = state.as_str(),
            known = found.known.files,
            unknown = found.unknown.files,
            missing = found.missing.files,
            adopted = found.adopted.files,
            deleted = found.deleted.files,
            took_ms,
            "stores were compared with the ledger"
        );
        match timeout(END_NOTED_WITHIN, ledger.note_gc(&run)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %ErrorChain(&error), "how the comparison ended can't be noted"),
            Err(_) => warn!(timeout_s = END_NOTED_WITHIN.as_secs(), "noting how the comparison ended timed out"),
        }
        self.signals.ended();
    }
}

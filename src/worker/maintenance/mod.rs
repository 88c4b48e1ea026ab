//! What is done beside the jobs, one file a duty.

mod cancellation_listener;
mod clock_keeper;
mod eraser;
mod garbage;
mod kept_originals;
mod lease_reaper;
mod record_cleaner;
mod spool_reconciler;

pub use cancellation_listener::CancellationListener;
pub use clock_keeper::ClockKeeper;
pub use eraser::Eraser;
use eraser::add_files;
pub use garbage::GarbageCollector;
pub use kept_originals::{KeptFor, KeptOriginals, remove_kept_originals};
pub use lease_reaper::LeaseReaper;
pub use record_cleaner::RecordCleaner;
pub use spool_reconciler::{ReconcileError, ReconcileScope, SpoolReconciler};

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Jobs or records that one call of the queue may touch, so that none blocks the others for long.
const BATCH: usize = 100;

/// Runs `duty` now and then once a `period` until `stop`; a run that has begun is finished.
async fn repeat<F: Future<Output = ()>>(period: Duration, stop: &CancellationToken, mut duty: impl FnMut() -> F) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        duty().await;
    }
}

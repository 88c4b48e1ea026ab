//! How many events that jobs are erased are owed: counted beside whoever asks, since nobody who asks waits for a disk or a bucket.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::error_chain::ErrorChain;
use crate::ledger::{ErasableLedger, ErasureSignals};

/// Between two counts, if nothing changes here: other nodes may have changed something.
const COUNT_EVERY: Duration = Duration::from_mins(1);
/// At least so long is between two counts of this machine's own database.
const PAUSE: Duration = Duration::from_secs(1);
/// The same of the bucket, where a count is a list of them all.
const PAUSE_SHARED: Duration = Duration::from_secs(15);

/// Counts the events that a ledger owes, for [`ErasureSignals::owed_events`]. One for each server, whether it delivers them or
/// another node does.
pub struct OwedEventsMonitor {
    ledger: Arc<dyn ErasableLedger>,
    signals: ErasureSignals,
    pause: Duration,
}

impl OwedEventsMonitor {
    /// That of `ledger`, which other nodes deliver from too if it `is_shared`.
    #[must_use]
    pub fn new(ledger: Arc<dyn ErasableLedger>, signals: ErasureSignals, is_shared: bool) -> Self {
        Self { ledger, signals, pause: if is_shared { PAUSE_SHARED } else { PAUSE } }
    }

    /// Counts them now and whenever it is worth it, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                match self.ledger.owed_events().await {
                    Ok(owed) => self.signals.set_owed_events(owed),
                    // The next count may succeed; what can't be delivered is told where it is tried.
                    Err(error) => debug!(error = %ErrorChain(&error), "counting events of erased jobs failed"),
                }
                sleep(self.pause).await;
                // Whichever comes first.
                let _ = timeout(COUNT_EVERY, self.signals.wait_events_changed()).await;
            }
        })
        .await;
    }
}

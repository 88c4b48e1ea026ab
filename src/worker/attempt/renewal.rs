//! Keeps an attempt's lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use crate::active_jobs::{ActiveAttempt, StopReason};
use crate::error_chain::ErrorChain;
use crate::queue::{Lease, LeaseState};
use crate::worker::WorkerContext;

/// So long before its lease lapses, an attempt stops whose lease can't be renewed and whose job another node may be given then:
/// longer than writes to stores take to be cancelled.
const STOP_BEFORE_LAPSE: Duration = Duration::from_secs(10);

/// Renews a lease until it is dropped, and stops the attempt when the job is cancelled, the lease lost, or the server
/// stops (`drain`).
pub(super) struct LeaseRenewal(JoinHandle<()>);

impl LeaseRenewal {
    pub(super) fn start(
        context: &Arc<WorkerContext>,
        lease: &Lease,
        attempt: &Arc<ActiveAttempt>,
        drain: CancellationToken,
    ) -> Self {
        let (context, lease, attempt) = (Arc::clone(context), lease.clone(), Arc::clone(attempt));
        let renew = async move {
            let WorkerContext { queue, clock, settings, .. } = &*context;
            let mut renewed = clock.elapsed();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(settings.lease_renew) => {}
                    () = drain.cancelled() => return attempt.stop().cancel(),
                }
                let asked = clock.elapsed();
                match queue.extend(&lease, settings.lease).await {
                    Ok(LeaseState::Held(_)) => renewed = asked,
                    Ok(LeaseState::CalledOff) => return attempt.stop_for(StopReason::CalledOff),
                    Ok(LeaseState::Cancelled | LeaseState::Lost) => return attempt.stop().cancel(),
                    Err(error)
                        if queue.is_shared()
                            && is_in_doubt(clock.elapsed().saturating_sub(renewed), settings.lease) =>
                    {
                        warn!(error = %ErrorChain(&error), "lease can't be renewed for so long that the attempt is given up");
                        return attempt.stop_for(StopReason::LeaseInDoubt);
                    }
                    // The lease may still hold; if it doesn't, the next renewal says so, or the settlement is stale.
                    Err(error) => warn!(error = %ErrorChain(&error), "lease can't be renewed; will be retried"),
                }
            }
        };
        Self(tokio::spawn(renew.in_current_span()))
    }
}

/// Whether a lease that was renewed so long ago may soon be another's.
fn is_in_doubt(since: Duration, lease: Duration) -> bool {
    // A short lease is renewed that much more often.
    since >= lease.saturating_sub(STOP_BEFORE_LAPSE.min(lease / 3))
}

impl Drop for LeaseRenewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

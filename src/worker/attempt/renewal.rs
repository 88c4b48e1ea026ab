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

/// Between tries to renew one then.
const RETRY_SHARED: Duration = Duration::from_secs(1);

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
            // A short lease is renewed that much more often.
            let good_for = settings.lease.saturating_sub(STOP_BEFORE_LAPSE.min(settings.lease / 3));
            let mut renewed = lease.expires.saturating_sub(settings.lease);
            let mut wait = settings.lease_renew;
            loop {
                // How long nobody else can be given the job, and there is time to stop.
                let left = |renewed: Duration| {
                    if queue.is_shared() { (renewed + good_for).saturating_sub(clock.elapsed()) } else { Duration::MAX }
                };
                tokio::select! {
                    () = tokio::time::sleep(wait.min(left(renewed))) => {}
                    () = drain.cancelled() => return attempt.stop().cancel(),
                }
                let asked = clock.elapsed();
                match tokio::time::timeout(left(renewed), queue.extend(&lease, settings.lease)).await {
                    Ok(Ok(LeaseState::Held(_))) => (renewed, wait) = (asked, settings.lease_renew),
                    Ok(Ok(LeaseState::CalledOff)) => return attempt.stop_for(StopReason::CalledOff),
                    Ok(Ok(LeaseState::Cancelled | LeaseState::Lost)) => return attempt.stop().cancel(),
                    // The lease may still hold; if it doesn't, the next renewal says so, or the settlement is stale.
                    Ok(Err(error)) if !left(renewed).is_zero() => {
                        warn!(error = %ErrorChain(&error), "lease can't be renewed; will be retried");
                        wait = if queue.is_shared() { RETRY_SHARED } else { settings.lease_renew };
                    }
                    Ok(Err(_)) | Err(_) => {
                        warn!("lease can't be renewed for so long that the attempt is given up");
                        return attempt.stop_for(StopReason::LeaseInDoubt);
                    }
                }
            }
        };
        Self(tokio::spawn(renew.in_current_span()))
    }
}

impl Drop for LeaseRenewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

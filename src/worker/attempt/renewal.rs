//! Keeps an attempt's lease.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

use crate::active_jobs::ActiveAttempt;
use crate::error_chain::ErrorChain;
use crate::queue::{Lease, LeaseState};
use crate::worker::WorkerContext;

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
            loop {
                tokio::select! {
                    () = tokio::time::sleep(context.settings.lease_renew) => {}
                    () = drain.cancelled() => return attempt.stop().cancel(),
                }
                match context.queue.extend(&lease, context.settings.lease).await {
                    Ok(LeaseState::Held(_)) => {}
                    Ok(LeaseState::Cancelled | LeaseState::Lost) => return attempt.stop().cancel(),
                    // The lease may still hold; if it doesn't, the next renewal says so, or the settlement is stale.
                    Err(error) => warn!(error = %ErrorChain(&error), "lease can't be renewed; will be retried"),
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

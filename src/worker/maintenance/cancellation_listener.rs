//! Stops the attempts whose jobs were called off through other nodes.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::worker::WorkerContext;

/// One for the whole server.
pub struct CancellationListener {
    context: Arc<WorkerContext>,
}

impl CancellationListener {
    /// A listener that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>) -> Self {
        Self { context }
    }

    /// Listens until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(id) = stop.run_until_cancelled(self.context.queue.next_stop()).await {
            info!(job_id = %id, "job called off through another node");
            self.context.active_jobs.call_off(id);
        }
    }
}

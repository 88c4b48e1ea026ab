//! Removes the records of jobs that ended longer ago than the retention; forgets used tokens that are taken no more, and answers
//! that are given again no more.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{BATCH, repeat};
use crate::clock::PROBATION;
use crate::error_chain::ErrorChain;
use crate::nodes::Leadership;
use crate::worker::WorkerContext;

const PERIOD: Duration = Duration::from_hours(1);

/// One for the whole server, or of many nodes for all of them.
pub struct RecordCleaner {
    context: Arc<WorkerContext>,
    leadership: Leadership,
}

impl RecordCleaner {
    /// A cleaner that has not started.
    #[must_use]
    pub fn new(context: Arc<WorkerContext>, leadership: Leadership) -> Self {
        Self { context, leadership }
    }

    /// Cleans now and then once an hour, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        repeat(PERIOD, &stop, || self.clean()).await;
    }

    async fn clean(&self) {
        if !self.leadership.holds() {
            return;
        }
        if !self.context.clock_trust.is_trusted() {
            // By a clock that was set wrong, every record would be old.
            warn!(
                now = %self.context.clock.now(), wait_s = PROBATION.as_secs(),
                "clock is far from the time seen last; no record is removed until it has run on for a while"
            );
            return;
        }
        let before = self.context.clock.now().before(self.context.settings.retention);
        let mut removed = 0;
        loop {
            match self.context.queue.purge(before, BATCH).await {
                Ok(0) => break,
                Ok(purged) => removed += purged,
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "old records can't be removed; will be retried");
                    break;
                }
            }
        }
        if removed > 0 {
            info!(records = removed, "records older than the retention removed");
        }
        loop {
            match self.context.queue.forget_used_tokens(BATCH).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "used tokens can't be forgotten; will be retried");
                    break;
                }
            }
        }
        loop {
            match self.context.queue.forget_answers(BATCH).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    warn!(error = %ErrorChain(&error), "old answers to requests can't be forgotten; will be retried");
                    break;
                }
            }
        }
    }
}

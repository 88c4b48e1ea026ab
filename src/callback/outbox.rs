//! The loop that empties the queue's outbox.
//!
//! The outbox lives in the queue and is durable; nothing here is. What is in hand when the process dies is handed out
//! again when its lease lapses, under the same `webhook-id`: that is the "at least once".

mod lanes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::lanes::{Lanes, Ticket};
use super::delivery::{Courier, DeliveryError};
use super::settings::CallbackSettings;
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::JobId;
use crate::queue::{Delivery, DeliveryOutbox, DeliveryOutcome, Job, QueueError, Retry};
use crate::retry::RetryPolicy;

/// Deliveries asked of the queue at a time.
const BATCH: usize = 64;
/// How late a delivery may be begun because the queue's hint was missed.
const WAIT_AT_MOST: Duration = Duration::from_secs(1);
/// The first wait after the queue failed; it doubles up to the second.
const QUEUE_PAUSE_MIN: Duration = Duration::from_secs(1);
const QUEUE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much longer than a try a delivery stays hidden: time for its host's turn to come, and to settle.
const LEASE_SLACK: Duration = Duration::from_secs(45);

/// Delivers what the queue's outbox holds, many at once, and settles it.
pub struct Outbox {
    desk: Arc<Desk>,
    concurrency: usize,
    lease: Duration,
    lanes: Lanes,
    tries: JoinSet<()>,
    /// Whose try each task is: one that panics can't say it itself.
    tickets: HashMap<task::Id, Ticket>,
}

/// What every try needs.
struct Desk {
    queue: Arc<dyn DeliveryOutbox>,
    courier: Courier,
    retry: RetryPolicy,
}

impl Outbox {
    /// The outbox of `queue`, delivered by `courier`.
    #[must_use]
    pub fn new(queue: Arc<dyn DeliveryOutbox>, courier: Courier, settings: &CallbackSettings) -> Self {
        Self {
            desk: Arc::new(Desk { queue, courier, retry: settings.retry }),
            concurrency: settings.concurrency,
            lease: settings.timeout + LEASE_SLACK,
            lanes: Lanes::new(settings.concurrency_per_host),
            tries: JoinSet::new(),
            tickets: HashMap::new(),
        }
    }

    /// Runs until `shutdown`, then begins no try and lets those in flight end, which takes no longer than one try may.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let queue = Arc::clone(&self.desk.queue);
        let mut pause = QUEUE_PAUSE_MIN;
        while !shutdown.is_cancelled() {
            let filled = self.fill(&shutdown).await;
            if let Err(error) = &filled {
                warn!(error = %ErrorChain(error), "can't ask the queue which callbacks are due");
            }
            let free = self.has_free_slot();
            let wait = async {
                match &filled {
                    Ok(()) if free => queue.wait_delivery(WAIT_AT_MOST).await,
                    Ok(()) => std::future::pending().await,
                    // Not the queue's own hint: it may say "due" for as long as it fails.
                    Err(_) => tokio::time::sleep(pause).await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                Some(ended) = self.tries.join_next_with_id() => self.ended(ended),
                () = wait => {}
            }
            pause = if filled.is_ok() { QUEUE_PAUSE_MIN } else { (pause * 2).min(QUEUE_PAUSE_MAX) };
        }
        while let Some(ended) = self.tries.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// Begins tries until every slot is taken or nothing that is due may begin.
    async fn fill(&mut self, shutdown: &CancellationToken) -> Result<(), QueueError> {
        while !shutdown.is_cancelled() {
            self.begin_waiting(shutdown);
            if !self.has_free_slot() {
                return Ok(());
            }
            let due = self.desk.queue.due_deliveries(BATCH, self.lease).await?;
            if due.is_empty() {
                return Ok(());
            }
            // First who has ended, else what is due again would pass for what is still in hand.
            while let Some(ended) = self.tries.try_join_next_with_id() {
                self.ended(ended);
            }
            for Delivery { id, host, attempts } in due {
                self.lanes.take_in(Ticket { id, attempts, host });
            }
        }
        Ok(())
    }

    fn begin_waiting(&mut self, shutdown: &CancellationToken) {
        while self.has_free_slot() {
            let Some(ticket) = self.lanes.next() else { return };
            let (desk, shutdown) = (Arc::clone(&self.desk), shutdown.clone());
            let (id, attempts) = (ticket.id, ticket.attempts);
            let task = self.tries.spawn(async move { desk.attempt(id, attempts, &shutdown).await });
            self.tickets.insert(task.id(), ticket);
        }
    }

    fn has_free_slot(&self) -> bool {
        self.tries.len() < self.concurrency
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let (task, panicked) = match ended {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), true),
        };
        let Some(ticket) = self.tickets.remove(&task) else { return };
        if panicked {
            error!(job_id = %ticket.id, host = ticket.host, "the try to deliver a callback panicked; it comes again");
        }
        self.lanes.leave(&ticket);
    }
}

impl Desk {
    /// One try, from looking the job up to settling what came of it.
    async fn attempt(&self, id: JobId, attempts: u32, shutdown: &CancellationToken) {
        let outcome = match self.queue.delivery_job(&id).await {
            Ok(Some(job)) => self.deliver(&job, attempts).await,
            Ok(None) => {
                error!(job_id = %id, "a callback is owed for a job that the queue doesn't know; dropped");
                DeliveryOutcome::Done
            }
            Err(error) => {
                warn!(job_id = %id, error = %ErrorChain(&error), "can't look a callback's job up; it comes again");
                return;
            }
        };
        self.settle(&id, outcome, shutdown).await;
    }

    async fn deliver(&self, job: &Job, attempts: u32) -> DeliveryOutcome {
        let (id, host, attempt) = (job.record.id, host_of(job), attempts.saturating_add(1));
        reached(Step::CallbackBeforeSend);
        let error = match self.courier.deliver(job).await {
            Ok(status) => {
                reached(Step::CallbackAfterReply);
                info!(job_id = %id, host, status = status.as_u16(), attempt, "callback delivered");
                return DeliveryOutcome::Done;
            }
            Err(error) => error,
        };
        let (status, cause) = (error.status().map(|status| status.as_u16()), ErrorChain(&error).to_string());
        let Some(wait) = self.next_wait(attempt, error.retry()) else {
            if matches!(error, DeliveryError::Gone) {
                info!(job_id = %id, host, status, attempt, "callback refused for good by its receiver");
            } else {
                error!(job_id = %id, host, status, attempt, error = cause, "callback given up");
            }
            return DeliveryOutcome::Done;
        };
        warn!(job_id = %id, host, status, attempt, error = cause, retry_in_s = wait.as_secs(), "callback not delivered");
        DeliveryOutcome::Retry(wait)
    }

    /// How long to wait after `tries` tries, of which the last one failed; none if the callback is to be given up.
    ///
    /// A receiver may ask for a longer wait than the policy's, never for a shorter one: a `Retry-After: 0` would
    /// otherwise use up every try within a second.
    fn next_wait(&self, tries: u32, retry: Retry) -> Option<Duration> {
        let Retry::After(at_least) = retry else { return None };
        Some(self.retry.wait_after(tries)?.max(at_least))
    }

    /// Settles, however long the queue takes to recover: the slot stays taken, since a callback whose outcome can't be
    /// written down would be sent again and again.
    async fn settle(&self, id: &JobId, outcome: DeliveryOutcome, shutdown: &CancellationToken) {
        let mut pause = QUEUE_PAUSE_MIN;
        while let Err(error) = self.queue.settle_delivery(id, outcome).await {
            warn!(job_id = %id, error = %ErrorChain(&error), "can't settle a callback; trying again");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(QUEUE_PAUSE_MAX);
        }
        reached(Step::CallbackSettled);
    }
}

/// The host alone: a URL's user name, path and query may hold secrets.
fn host_of(job: &Job) -> &str {
    job.record.callback.as_ref().and_then(|target| target.url.host_str()).unwrap_or_default()
}

//! The loop that empties the queue's outbox.
//!
//! The outbox lives in the queue and is durable; nothing here is. What is in flight when the process dies is handed out
//! again when its lease lapses, under the same `webhook-id`: that is the "at least once".

mod delivery_queues;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, warn};

use self::delivery_queues::{DeliveryQueues, PendingDelivery};
use super::content::CallbackContent;
use super::delivery::{DeliveryError, NextTry, WebhookClient};
use super::erased::ErasedOutbox;
use super::metrics::{AttemptResult, CallbackMetrics};
use super::settings::CallbackSettings;
use crate::clock::{SharedClock, millis};
use crate::error_chain::ErrorChain;
use crate::failpoint::{Step, reached};
use crate::job::{DeliveryId, DeliverySubject};
use crate::queue::{Delivery, DeliveryOutbox, DeliveryOutcome, DeliveryTry, QueueError};
use crate::retry::RetrySchedule;
use crate::telemetry::{SpanKind, TraceSpan, trace_span};

/// Deliveries asked of the queue at a time.
const BATCH: usize = 64;
/// The first wait after the queue failed; it doubles up to the second.
const QUEUE_PAUSE_MIN: Duration = Duration::from_secs(1);
const QUEUE_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much longer than a try a delivery stays hidden: time for its turn to come, and to settle.
const LEASE_SLACK: Duration = Duration::from_secs(45);

/// Delivers what the queue's outbox holds, many at once, and settles it.
pub struct Outbox {
    dispatcher: Arc<Dispatcher>,
    lease: Duration,
    queues: DeliveryQueues,
    tries: JoinSet<()>,
    /// The delivery of each task, by which one that panics is known.
    running: HashMap<task::Id, PendingDelivery>,
}

/// What every try needs.
struct Dispatcher {
    queue: Arc<dyn DeliveryOutbox>,
    /// What the queue knows nothing of.
    erased: Option<ErasedOutbox>,
    client: WebhookClient,
    retry_waits: RetrySchedule,
    metrics: CallbackMetrics,
    clock: SharedClock,
    /// Whether the log has it that a callback can't be unsealed.
    sealed_told: AtomicBool,
}

impl Outbox {
    /// The outbox of `queue`, delivered by `client`.
    #[must_use]
    pub fn new(
        queue: Arc<dyn DeliveryOutbox>,
        client: WebhookClient,
        settings: &CallbackSettings,
        clock: SharedClock,
    ) -> Self {
        Self {
            dispatcher: Arc::new(Dispatcher {
                queue,
                erased: None,
                client,
                retry_waits: settings.retry_waits.clone(),
                metrics: CallbackMetrics::default(),
                clock,
                sealed_told: AtomicBool::new(false),
            }),
            lease: settings.timeout + LEASE_SLACK,
            queues: DeliveryQueues::new(settings.concurrency, settings.concurrency_per_host),
            tries: JoinSet::new(),
            running: HashMap::new(),
        }
    }

    /// One that delivers these events as well.
    ///
    /// # Panics
    /// If it runs.
    #[must_use]
    pub fn with_erased(mut self, erased: ErasedOutbox) -> Self {
        let dispatcher = Arc::get_mut(&mut self.dispatcher).expect("INVARIANT: tries share it, and none has begun");
        dispatcher.erased = Some(erased);
        self
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &CallbackMetrics {
        &self.dispatcher.metrics
    }

    /// Runs until `shutdown`, then begins no try and lets those in flight end, which takes no longer than one try may.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let dispatcher = Arc::clone(&self.dispatcher);
        let queue = &dispatcher.queue;
        let mut pause = QUEUE_PAUSE_MIN;
        while !shutdown.is_cancelled() {
            let filled = self.fill(&shutdown).await;
            if let Err(error) = &filled {
                warn!(error = %ErrorChain(error), "asking the queue for due callbacks failed; will be retried");
            }
            let free = self.queues.has_place();
            let wait = async {
                match &filled {
                    Ok(()) if free => {
                        tokio::select! {
                            () = queue.wait_delivery(queue.idle_delivery_poll()) => {}
                            () = dispatcher.wait_erased() => {}
                        }
                    }
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

    /// Begins tries until every place is taken or nothing that is due may begin.
    async fn fill(&mut self, shutdown: &CancellationToken) -> Result<(), QueueError> {
        while !shutdown.is_cancelled() {
            self.begin_waiting(shutdown);
            if !self.queues.has_place() {
                return Ok(());
            }
            let mut due = match &self.dispatcher.erased {
                Some(erased) => erased.due(BATCH, self.lease).await,
                None => Vec::new(),
            };
            let owed = self.dispatcher.queue.due_deliveries(BATCH, self.lease).await;
            let failed = owed.map(|owed| due.extend(owed)).err();
            if due.is_empty() {
                return failed.map_or(Ok(()), Err);
            }
            // What has ended is removed first: a delivery that is due again would be taken for one that is still pending.
            while let Some(ended) = self.tries.try_join_next_with_id() {
                self.ended(ended);
            }
            for Delivery { id, owner, host, attempts } in due {
                self.queues.push(PendingDelivery::new(id, attempts, &owner, host));
            }
            if let Some(error) = failed {
                self.begin_waiting(shutdown);
                return Err(error);
            }
        }
        Ok(())
    }

    fn begin_waiting(&mut self, shutdown: &CancellationToken) {
        while let Some(delivery) = self.queues.next() {
            let (dispatcher, shutdown) = (Arc::clone(&self.dispatcher), shutdown.clone());
            let (id, attempts) = (delivery.id, delivery.attempts);
            let task = self.tries.spawn(async move { dispatcher.attempt(id, attempts, &shutdown).await });
            self.running.insert(task.id(), delivery);
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let (task, panicked) = match ended {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), true),
        };
        let Some(delivery) = self.running.remove(&task) else { return };
        if panicked {
            error!(id = %delivery.id, host = delivery.host, "delivering a callback panicked; will be retried");
        }
        self.queues.finish(&delivery);
    }
}

impl Dispatcher {
    /// One try, from looking the job up to settling what came of it.
    async fn attempt(&self, id: DeliveryId, attempts: u32, shutdown: &CancellationToken) {
        let (at, began) = (self.clock.now(), self.clock.elapsed());
        let (outcome, status, error) = match self.content(&id).await {
            Ok(Some(content)) => {
                let mut trace = trace_of(&id, &content, attempts.saturating_add(1));
                let span = trace_span(trace.context());
                self.deliver(&id, &content, attempts, &mut trace).instrument(span).await
            }
            Ok(None) => {
                error!(%id, "callback of an unknown job dropped");
                (DeliveryOutcome::GivenUp, None, Some("the job is unknown".to_owned()))
            }
            Err(error) => {
                warn!(%id, error = %ErrorChain(&error), "looking up the job of a callback failed; will be retried");
                return;
            }
        };
        let took = self.clock.elapsed().saturating_sub(began);
        let duration_ms = millis(took);
        self.settle(
            &id,
            DeliveryTry { at, number: attempts.saturating_add(1), status, duration_ms, error },
            outcome,
            shutdown,
        )
        .await;
    }

    async fn content(&self, id: &DeliveryId) -> Result<Option<CallbackContent>, QueueError> {
        if let Some(erased) = self.erased_of(id) {
            return Ok(erased.content(&id.job).map(CallbackContent::Erased));
        }
        let content = self.queue.delivery_content(id).await?;
        Ok(content.map(|content| CallbackContent::Job(Box::new(content))))
    }

    /// Who keeps what is told as `id`, if the queue doesn't.
    fn erased_of(&self, id: &DeliveryId) -> Option<&ErasedOutbox> {
        self.erased.as_ref().filter(|_| id.subject == DeliverySubject::Erased)
    }

    /// Returns when an event that a job is erased may be due.
    async fn wait_erased(&self) {
        match &self.erased {
            Some(erased) => erased.wait().await,
            None => std::future::pending().await,
        }
    }

    /// Answers what came of it, and the receiver's status or what went wrong.
    async fn deliver(
        &self,
        id: &DeliveryId,
        content: &CallbackContent,
        attempts: u32,
        trace: &mut TraceSpan,
    ) -> (DeliveryOutcome, Option<u16>, Option<String>) {
        let (host, attempt) = (content.host(), attempts.saturating_add(1));
        reached(Step::CallbackBeforeSend);
        // The receiver's part of the trace belongs below this try.
        let error = match self.client.deliver(id, content, trace.context()).await {
            Ok(status) => {
                reached(Step::CallbackAfterReply);
                self.metrics.attempted(AttemptResult::Delivered);
                trace.set_number("http.response.status_code", status.as_u16().into());
                info!(job_id = %id.job, %id, host, status = status.as_u16(), attempt, "callback delivered");
                return (DeliveryOutcome::Delivered, Some(status.as_u16()), None);
            }
            Err(error) => error,
        };
        let (status, cause) = (error.status().map(|status| status.as_u16()), ErrorChain(&error).to_string());
        let next = error.next_try();
        let result = AttemptResult::of(&error);
        trace.fail(result.word());
        if let Some(status) = status {
            trace.set_number("http.response.status_code", status.into());
        }
        let outcome = if next == NextTry::AtNextStart {
            self.metrics.attempted(result);
            self.tell_of_sealed(id, &cause);
            DeliveryOutcome::Held
        } else if let Some(wait) = self.next_wait(attempt, next) {
            self.metrics.attempted(result);
            warn!(
                job_id = %id.job, %id, host, status, attempt, error = cause, retry_in_s = wait.as_secs(),
                "callback attempt failed; will be retried"
            );
            DeliveryOutcome::Retry(wait)
        } else {
            self.metrics.attempted(if result == AttemptResult::Gone { result } else { AttemptResult::GivenUp });
            if matches!(error, DeliveryError::Gone) {
                info!(job_id = %id.job, %id, host, status, attempt, "callback given up; the receiver is gone");
            } else {
                error!(job_id = %id.job, %id, host, status, attempt, error = cause, "callback given up; it is not retried by itself");
            }
            DeliveryOutcome::GivenUp
        };
        (outcome, status, Some(error.public_text()))
    }

    /// Once is enough: what one callback lacks thousands may.
    fn tell_of_sealed(&self, id: &DeliveryId, error: &str) {
        if self.sealed_told.swap(true, Ordering::Relaxed) {
            debug!(%id, error, "callback can't be unsealed; it waits for the next start");
        } else {
            error!(
                %id, error,
                "callback can't be unsealed; it and all like it wait for a start with the missing sealing key"
            );
        }
    }

    /// How long to wait after `tries` tries, of which the last one failed; none if there is to be no other.
    ///
    /// A receiver may ask for a longer wait than the schedule's, never for a shorter one: a `Retry-After: 0` would
    /// otherwise use up every try within a second.
    fn next_wait(&self, tries: u32, next: NextTry) -> Option<Duration> {
        let NextTry::After(at_least) = next else { return None };
        Some(self.retry_waits.wait_after(tries)?.max(at_least))
    }

    /// Settles, however long the queue takes to recover: the place stays taken, since a callback whose outcome can't be
    /// written down would be sent again and again.
    async fn settle(
        &self,
        id: &DeliveryId,
        tried: DeliveryTry,
        outcome: DeliveryOutcome,
        shutdown: &CancellationToken,
    ) {
        let mut pause = QUEUE_PAUSE_MIN;
        loop {
            let settled = match self.erased_of(id) {
                Some(erased) => erased.settle(&id.job, outcome).await.map_err(|error| ErrorChain(&error).to_string()),
                None => self
                    .queue
                    .settle_delivery(id, tried.clone(), outcome)
                    .await
                    .map_err(|error| ErrorChain(&error).to_string()),
            };
            let Err(error) = settled else { break };
            warn!(%id, error, "settling a callback failed; will be retried");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(QUEUE_PAUSE_MAX);
        }
        reached(Step::CallbackSettled);
    }
}

/// The span of a try, by OpenTelemetry's conventions for clients; of the URL no more than the host is told.
fn trace_of(id: &DeliveryId, content: &CallbackContent, attempt: u32) -> TraceSpan {
    let mut trace = TraceSpan::start(SpanKind::Client, format_args!("callback"), content.trace());
    trace.set("http.request.method", "POST");
    trace.set("server.address", content.host());
    trace.set("pixerve.job_id", id.job);
    trace.set("pixerve.hash", content.hash());
    trace.set_number("pixerve.attempt", attempt.into());
    trace
}

//! The events that jobs are erased: owed by the ledger, since the queue knows nothing of such a job.
//!
//! They are delivered as all callbacks are, beside them and in the same places; here is what the queue does for those. Several
//! nodes may deliver: whoever takes an event puts it off for as long as its try may take, so that the others leave it alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::clock::{ClockTrust, SharedClock};
use crate::error_chain::ErrorChain;
use crate::job::{DeliveryId, JobId, SealedText};
use crate::ledger::{EVENT_KEPT_FOR, ErasableLedger, ErasedEvent, ErasedJob, ErasureSignals, LedgerError};
use crate::queue::{Delivery, DeliveryOutcome};

/// How often it is looked for what a process that died has left, or another node has written.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Events that this process delivers at a time, at most: more are left in the ledger, so that a receiver that is down can't fill
/// the memory.
const TAKEN_MAX: usize = 1_000;
/// After the ledger failed, and while no more may be taken.
const PAUSE: Duration = Duration::from_secs(5);
/// Between looks at an event that can't be unsealed: the key may be back at the next start.
const SEALED_WAIT: Duration = Duration::from_hours(1);
/// The last try is made so long before the end of [`EVENT_KEPT_FOR`].
const LAST_TRY_BEFORE_END: Duration = Duration::from_mins(1);

/// Opens what the eraser sealed.
pub trait OpenErased: Send + Sync + 'static {
    /// What is to be told of the job `id`, or why it can't be opened, in words that hold no secret.
    fn open_erased(&self, id: &JobId, sealed: &SealedText) -> Result<ErasedJob, String>;
}

/// The outbox of a ledger.
pub struct ErasedOutbox {
    ledger: Arc<dyn ErasableLedger>,
    opener: Arc<dyn OpenErased>,
    signals: ErasureSignals,
    clock: SharedClock,
    trust: ClockTrust,
    /// Whether other nodes deliver what is in this ledger, too.
    is_shared: bool,
    state: Mutex<State>,
    /// Whether the log has it that an event can't be unsealed.
    sealed_told: AtomicBool,
}

#[derive(Default)]
struct State {
    /// What this process delivers.
    taken: HashMap<JobId, TakenEvent>,
    /// When it is worth looking again, by [`crate::clock::Clock::elapsed`].
    next_look: Duration,
}

struct TakenEvent {
    event: ErasedEvent,
    job: Arc<ErasedJob>,
    /// When it may be taken again.
    until: Duration,
}

impl ErasedOutbox {
    /// That of `ledger`, which other nodes deliver from too if it `is_shared`.
    #[must_use]
    pub fn new(
        ledger: Arc<dyn ErasableLedger>,
        opener: Arc<dyn OpenErased>,
        signals: ErasureSignals,
        clock: SharedClock,
        trust: ClockTrust,
        is_shared: bool,
    ) -> Self {
        let (state, sealed_told) = (Mutex::default(), AtomicBool::new(false));
        Self { ledger, opener, signals, clock, trust, is_shared, state, sealed_told }
    }

    /// Events that are due, each hidden from further calls for `lease`. None while the ledger fails.
    pub(super) async fn due(&self, limit: usize, lease: Duration) -> Vec<Delivery> {
        let now = self.clock.elapsed();
        if !self.signals.take_events_owed() && now < self.state.lock().next_look {
            return Vec::new();
        }
        match self.look(limit, lease).await {
            Ok(due) => due,
            Err(error) => {
                warn!(error = %ErrorChain(&error), "events of erased jobs can't be read; will be retried");
                self.state.lock().next_look = now.saturating_add(PAUSE);
                Vec::new()
            }
        }
    }

    async fn look(&self, limit: usize, lease: Duration) -> Result<Vec<Delivery>, LedgerError> {
        let (now, wall) = (self.clock.elapsed(), self.clock.now());
        let known = {
            let mut state = self.state.lock();
            state.taken.retain(|_, taken| taken.until > now);
            if state.taken.len() >= TAKEN_MAX {
                state.next_look = now.saturating_add(PAUSE);
                return Ok(Vec::new());
            }
            state.taken.len()
        };
        // Those that are taken are due still.
        let limit = limit.saturating_add(known);
        let due = self.ledger.due_events(wall, limit).await?;
        let has_more = due.events.len() >= limit;
        let mut deliveries = Vec::new();
        for event in due.events {
            if !self.state.lock().taken.contains_key(&event.job_id) {
                deliveries.extend(self.take(event, lease).await?);
            }
        }
        let wait = due.next_due.map_or(LOOK_EVERY, |next| next.since(wall).min(LOOK_EVERY));
        self.state.lock().next_look = now.saturating_add(if has_more { Duration::ZERO } else { wait });
        Ok(deliveries)
    }

    /// Takes an event, unless its time is over or it can't be unsealed.
    async fn take(&self, mut event: ErasedEvent, lease: Duration) -> Result<Option<Delivery>, LedgerError> {
        let (id, now) = (DeliveryId::of_erasure(event.job_id), self.clock.now());
        // By a clock that was set wrong, every one would be old.
        if now.since(event.since) >= EVENT_KEPT_FOR && self.trust.is_trusted() {
            error!(%id, attempts = event.attempts, "callback given up; nobody has taken it for three days");
            self.ledger.remove_event(&event).await?;
            self.signals.events_changed();
            return Ok(None);
        }
        let job = match self.opener.open_erased(&event.job_id, &event.sealed) {
            Ok(job) => Arc::new(job),
            Err(why) => {
                if !self.sealed_told.swap(true, Ordering::Relaxed) {
                    error!(%id, error = why, "event of an erased job can't be unsealed; it and all like it wait for the missing sealing key");
                }
                self.ledger.put_off_event(&event, now.after(SEALED_WAIT), event.attempts).await?;
                return Ok(None);
            }
        };
        if self.is_shared {
            let due_at = now.after(lease);
            self.ledger.put_off_event(&event, due_at, event.attempts).await?;
            event.due_at = due_at;
        }
        let host = job.recipient.target.host().to_owned();
        let delivery = Delivery { id, owner: job.owner.clone(), host, attempts: event.attempts };
        let until = self.clock.elapsed().saturating_add(lease);
        self.state.lock().taken.insert(event.job_id, TakenEvent { event, job, until });
        Ok(Some(delivery))
    }

    /// What is to be told of an erased job, if this process has taken it.
    pub(super) fn content(&self, job: &JobId) -> Option<Arc<ErasedJob>> {
        self.state.lock().taken.get(job).map(|taken| Arc::clone(&taken.job))
    }

    /// Settles one try, durably.
    pub(super) async fn settle(&self, job: &JobId, outcome: DeliveryOutcome) -> Result<(), LedgerError> {
        let Some(event) = self.state.lock().taken.get(job).map(|taken| taken.event.clone()) else { return Ok(()) };
        let now = self.clock.now();
        let last_try = event.since.after(EVENT_KEPT_FOR.saturating_sub(LAST_TRY_BEFORE_END));
        let due_at = match outcome {
            DeliveryOutcome::Delivered | DeliveryOutcome::GivenUp => None,
            DeliveryOutcome::Held => Some((now.after(SEALED_WAIT), event.attempts)),
            DeliveryOutcome::Retry(_) if now >= last_try && self.trust.is_trusted() => None,
            DeliveryOutcome::Retry(wait) => {
                // Not beyond the end: one more try is made before it.
                let wait = if now < last_try { wait.min(last_try.since(now)) } else { wait };
                Some((now.after(wait), event.attempts.saturating_add(1)))
            }
        };
        if let Some((due_at, attempts)) = due_at {
            self.ledger.put_off_event(&event, due_at, attempts).await?;
        } else {
            self.ledger.remove_event(&event).await?;
            self.signals.events_changed();
        }
        let mut state = self.state.lock();
        state.taken.remove(job);
        if let Some((due_at, _)) = due_at {
            let look = self.clock.elapsed().saturating_add(due_at.since(now));
            state.next_look = state.next_look.min(look);
        }
        Ok(())
    }

    /// Returns when an event may be due. A hint.
    pub(super) async fn wait(&self) {
        let wait = {
            let state = self.state.lock();
            state.next_look.saturating_sub(self.clock.elapsed())
        };
        tokio::select! {
            () = self.signals.wait_events_owed() => {}
            () = sleep(wait) => {}
        }
    }
}

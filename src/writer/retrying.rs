//! Tries again what may pass, for as long as it is worth it: a wrapper around any store, for what one job asks of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::gate::Pass;
use super::metrics::{DELETE, DIRECT_HOST, GET, PUT};
use super::{
    Deletion, FileList, FoundFile, Object, ObjectBytes, ProbeOutcome, StoreGate, StoreMetrics, StoreSettings,
    WriteError, WriteErrorKind, WriterBackend,
};
use crate::clock::{SharedClock, Timestamp, millis};
use crate::error_chain::ErrorChain;
use crate::job::{OwnerKey, Stored};
use crate::telemetry::{SpanKind, TraceSpan};

/// A store of which everything is asked until it succeeds, can't, or is no longer worth it.
///
/// While the store can't be reached, its gate lets one try in at a time, of whichever job. While it refuses this job,
/// one of the job's calls asks at a time.
pub struct Retrying<W> {
    inner: W,
    gate: Arc<StoreGate>,
    owner: OwnerKey,
    settings: StoreSettings,
    give_up: Option<GiveUpTime>,
    signals: WriteSignals,
    clock: SharedClock,
    metrics: StoreMetrics,
    /// Held by the write that asks while the store refuses.
    refusal: Mutex<Refusal>,
    refused_since: watch::Sender<Option<Timestamp>>,
}

/// What ends waits and writes early.
#[derive(Clone, Debug, Default)]
pub struct WriteSignals {
    /// Begin nothing, and end what is under way.
    pub stop: CancellationToken,
    /// End what is under way, but wait neither for another try nor for a store that can't be reached.
    pub no_waiting: CancellationToken,
}

/// Until when a store is waited for that can't be reached, by [`Clock::elapsed`](crate::clock::Clock::elapsed). It isn't
/// known before every variant is made. Clones are one.
#[derive(Clone, Debug)]
pub struct GiveUpTime(watch::Sender<Option<Duration>>);

/// The present run of refusals.
#[derive(Default)]
struct Refusal {
    /// When the first was, by the monotonic clock.
    since: Option<Duration>,
    tries: u32,
}

impl Default for GiveUpTime {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl GiveUpTime {
    /// Makes it known.
    pub fn set(&self, at: Duration) {
        self.0.send_replace(Some(at));
    }

    fn left(&self, clock: &SharedClock) -> Option<Duration> {
        self.0.borrow().map(|at| at.saturating_sub(clock.elapsed()))
    }

    async fn passed(&self, clock: &SharedClock) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
        while let Some(left) = self.left(clock).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left).await;
        }
    }
}

impl<W: WriterBackend> Retrying<W> {
    /// Wraps `inner`, whose gate this is, for the writes of one job of `owner`. Without `give_up` a store that can't be
    /// reached is waited for without end.
    ///
    /// Once a signal to stop has come no further try begins, and a wait ends at once. A try that has begun may go on for
    /// the settings' `cancel_grace`, so that what arrives can be noted as stored; then it is cancelled.
    #[expect(clippy::too_many_arguments, reason = "each is a part of its own")]
    pub fn new(
        inner: W,
        gate: Arc<StoreGate>,
        owner: OwnerKey,
        settings: StoreSettings,
        give_up: Option<GiveUpTime>,
        signals: WriteSignals,
        clock: SharedClock,
        metrics: StoreMetrics,
    ) -> Self {
        let (refusal, refused_since) = (Mutex::default(), watch::Sender::new(None));
        Self { inner, gate, owner, settings, give_up, signals, clock, metrics, refusal, refused_since }
    }

    /// Since when the store can't be reached, if it can't.
    pub fn unreachable_since(&self) -> Option<Timestamp> {
        self.gate.outage().map(|outage| outage.since)
    }

    /// Since when the store refuses this job's files, if it does.
    pub fn refused_since(&self) -> Option<Timestamp> {
        *self.refused_since.borrow()
    }

    /// One try, if the store can be reached and has a place at once.
    pub async fn try_put(&self, object: &Object) -> Option<Result<Stored, WriteError>> {
        if self.signals.stop.is_cancelled() {
            return None;
        }
        let pass = self.gate.try_enter()?;
        Some(self.one_try(pass, object).await)
    }

    async fn one_try(&self, pass: Pass, object: &Object) -> Result<Stored, WriteError> {
        let give_up = CancellationToken::new();
        let mut trace = self.trace_of(object);
        let object = &Object { trace: trace.context().cloned(), ..object.clone() };
        let mut put = pin!(self.inner.put_until(object, &give_up));
        let tried = async {
            tokio::select! {
                result = &mut put => result,
                () = self.grace_over() => {
                    give_up.cancel();
                    put.await
                }
            }
        };
        let result = self.settled(pass, PUT, tried).await;
        if let Err(error) = &result {
            trace.fail(error.kind.word());
        }
        result
    }

    /// One try at what is cancelled by dropping it.
    async fn one_try_of<T>(
        &self,
        pass: Pass,
        operation: &'static str,
        location: &str,
        tried: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        let until_stopped = async {
            tokio::select! {
                result = tried => result,
                () = self.grace_over() => Err(WriteError::cancelled(format!("{operation} `{location}`"))),
            }
        };
        self.settled(pass, operation, until_stopped).await
    }

    /// What `tried` comes to, as the gate and the metrics are told.
    async fn settled<T>(
        &self,
        pass: Pass,
        operation: &'static str,
        tried: impl Future<Output = Result<T, WriteError>>,
    ) -> Result<T, WriteError> {
        let began = self.clock.elapsed();
        let result = tried.await;
        pass.settle(&result);
        self.metrics.count(self.name(), operation, &result, self.clock.elapsed().saturating_sub(began));
        result
    }

    async fn grace_over(&self) {
        self.signals.stop.cancelled().await;
        tokio::time::sleep(self.settings.cancel_grace).await;
    }

    fn trace_of(&self, object: &Object) -> TraceSpan {
        let backend = self.name();
        let kind = if backend == DIRECT_HOST { SpanKind::Internal } else { SpanKind::Client };
        let mut trace = TraceSpan::start(kind, format_args!("store {backend}"), object.trace.as_ref());
        trace.set("pixerve.backend", backend);
        trace.set_number("pixerve.bytes", object.body.len());
        trace
    }

    /// A place at the store; why there is none any more, otherwise.
    async fn enter(&self, what: &str, last_error: Option<WriteError>) -> Result<Pass, WriteError> {
        let given_up = async {
            match &self.give_up {
                Some(give_up) => give_up.passed(&self.clock).await,
                None => std::future::pending().await,
            }
        };
        let not_worth_waiting = async {
            self.signals.no_waiting.cancelled().await;
            self.gate.wait_for_outage().await;
        };
        tokio::select! {
            biased;
            () = self.signals.stop.cancelled() => Err(WriteError::cancelled(what.to_owned())),
            pass = self.gate.enter(self.owner) => Ok(pass),
            () = not_worth_waiting => Err(WriteError::cancelled(what.to_owned())),
            () = given_up => Err(last_error.unwrap_or_else(|| WriteError {
                what: what.to_owned(),
                detail: self.gate.outage().map_or_else(|| "the store has no place".to_owned(), |outage| outage.error),
                kind: WriteErrorKind::Unavailable,
            })),
        }
    }

    /// Waits for `wait` before another try of what failed with `error`; no longer than `left`, and not at all if none is.
    async fn wait(&self, wait: Duration, left: Option<Duration>, error: WriteError) -> Result<WriteError, WriteError> {
        let wait = left.map_or(wait, |left| wait.min(left));
        if wait.is_zero() {
            return Err(error);
        }
        let interrupted = async {
            tokio::select! {
                () = self.signals.stop.cancelled() => {}
                () = self.signals.no_waiting.cancelled() => {}
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(error),
            () = interrupted => Err(WriteError { kind: WriteErrorKind::Cancelled, ..error }),
        }
    }

    async fn retry_unavailable(&self, tries: u32, error: WriteError) -> Result<WriteError, WriteError> {
        let left = self.give_up.as_ref().and_then(|give_up| give_up.left(&self.clock));
        let wait = self.settings.backoff.wait_after(tries);
        // The gate says so, once.
        if self.gate.outage().is_none() {
            let retry_in_ms = millis(wait);
            warn!(backend = self.name(), error = %ErrorChain(&error), retry_in_ms, "write failed; will be retried");
        }
        self.wait(wait, left, error).await
    }

    async fn retry_refused(&self, refusal: &mut Refusal, error: WriteError) -> Result<WriteError, WriteError> {
        let now = self.clock.elapsed();
        if refusal.since.is_none() {
            refusal.since = Some(now);
            self.refused_since.send_replace(Some(self.clock.now()));
            let give_up_s = self.settings.refused_give_up_after.as_secs();
            warn!(backend = self.name(), error = %ErrorChain(&error), give_up_s, "store refuses; will be retried");
        }
        refusal.tries = refusal.tries.saturating_add(1);
        let left = self.refusal_left(refusal);
        debug!(backend = self.name(), error = %ErrorChain(&error), left_s = left.as_secs(), "write refused");
        self.wait(self.settings.backoff.wait_after(refusal.tries), Some(left), error).await
    }

    /// For how long a store that refuses is still asked.
    fn refusal_left(&self, refusal: &Refusal) -> Duration {
        let now = self.clock.elapsed();
        let until = refusal.since.unwrap_or(now).saturating_add(self.settings.refused_give_up_after);
        until.saturating_sub(now)
    }

    /// The right to ask a store that refuses; none is needed if it doesn't.
    async fn ask_alone(&self) -> Option<MutexGuard<'_, Refusal>> {
        let refusal = self.refusal.lock().await;
        refusal.since.is_some().then_some(refusal)
    }

    /// What `one_try` comes to in the end. The last try's error stands for all.
    async fn tried<'s, T>(
        &'s self,
        what: &str,
        one_try: impl Fn(Pass) -> BoxFuture<'s, Result<T, WriteError>> + Send + Sync,
    ) -> Result<T, WriteError> {
        let mut tries = 0;
        let mut last_error = None;
        let mut asking = None;
        loop {
            if asking.is_none() {
                asking = self.ask_alone().await;
                let is_over = asking.as_ref().is_some_and(|refusal| self.refusal_left(refusal).is_zero());
                if let Some(error) =
                    last_error.take_if(|error: &mut WriteError| is_over && error.kind == WriteErrorKind::Refused)
                {
                    return Err(error);
                }
            }
            let pass = self.enter(what, last_error.take()).await?;
            let error = match one_try(pass).await {
                Ok(done) => {
                    self.end_refusal(asking);
                    return Ok(done);
                }
                Err(error) => error,
            };
            tries += 1;
            last_error = Some(match error.kind {
                WriteErrorKind::Unavailable | WriteErrorKind::Shortage => {
                    // What it refused before an outage says nothing about what it does after it.
                    self.end_refusal(asking.take());
                    self.retry_unavailable(tries, error).await?
                }
                WriteErrorKind::Refused => {
                    // If another write asks already, the next turn waits for what it hears.
                    asking = asking.or_else(|| self.refusal.try_lock().ok());
                    match &mut asking {
                        Some(refusal) => self.retry_refused(refusal, error).await?,
                        None => error,
                    }
                }
                WriteErrorKind::Missing
                | WriteErrorKind::Invalid
                | WriteErrorKind::SourceDamaged
                | WriteErrorKind::Cancelled => return Err(error),
            });
        }
    }

    fn end_refusal(&self, refusal: Option<MutexGuard<'_, Refusal>>) {
        if let Some(mut refusal) = refusal {
            *refusal = Refusal::default();
            self.refused_since.send_replace(None);
        }
    }
}

#[async_trait]
impl<W: WriterBackend> WriterBackend for Retrying<W> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        self.tried(&format!("put `{}`", object.name), |pass| self.one_try(pass, object).boxed()).await
    }

    async fn delete(&self, location: &str) -> Result<Deletion, WriteError> {
        let one_try = |pass| self.one_try_of(pass, DELETE, location, self.inner.delete(location)).boxed();
        self.tried(&format!("delete `{location}`"), one_try).await
    }

    /// One try, and one place for all of them.
    async fn delete_all(&self, locations: &[String]) -> Vec<Result<Deletion, WriteError>> {
        let Some(first) = locations.first() else { return Vec::new() };
        let pass = match self.enter(&format!("delete `{first}`"), None).await {
            Ok(pass) => pass,
            Err(error) => return vec![Err(error); locations.len()],
        };
        let began = self.clock.elapsed();
        let deleted = self.inner.delete_all(locations).await;
        // One that failed says more of the store than all that didn't.
        if let Some(told) = deleted.iter().find(|deleted| deleted.is_err()).or(deleted.first()) {
            pass.settle(told);
        }
        let took = self.clock.elapsed().saturating_sub(began) / u32::try_from(deleted.len()).unwrap_or(u32::MAX).max(1);
        for deleted in &deleted {
            self.metrics.count(self.name(), DELETE, deleted, took);
        }
        deleted
    }

    /// Only until the first byte may come: what breaks off later is for whoever reads to ask for again.
    async fn get(&self, location: &str, bytes_max: u64) -> Result<ObjectBytes, WriteError> {
        let one_try = |pass| self.one_try_of(pass, GET, location, self.inner.get(location, bytes_max)).boxed();
        self.tried(&format!("get `{location}`"), one_try).await
    }

    /// One try: a list that breaks off begins anew.
    async fn list(&self) -> Result<FileList, WriteError> {
        self.inner.list().await
    }

    /// One try.
    async fn look(&self, location: &str) -> Result<Option<FoundFile>, WriteError> {
        self.inner.look(location).await
    }

    /// One try: whoever probes waits for the answer.
    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        self.inner.probe().await
    }
}

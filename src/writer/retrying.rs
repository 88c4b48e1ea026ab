//! Tries again what may pass: a wrapper around any store.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use super::{Object, WriteError, WriterBackend};
use crate::job::Stored;

/// Enough for a store that answers at all, and short enough for someone who waits for a cancellation.
const GRACE: Duration = Duration::from_secs(1);

/// How often to try, and how long to wait in between.
#[derive(Clone, Copy, Debug)]
pub struct RetrySettings {
    /// Tries in all, the first included.
    pub tries: usize,
    /// The longest the first wait may be.
    pub delay_min: Duration,
    /// The longest any wait may be; each may be twice as long as the one before, up to this.
    pub delay_max: Duration,
    /// How long a try that has begun may go on once nobody waits for it any more.
    pub grace: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { tries: 5, delay_min: Duration::from_millis(200), delay_max: Duration::from_secs(20), grace: GRACE }
    }
}

impl RetrySettings {
    fn delays(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.delay_min)
            .with_max_delay(self.delay_max)
            .with_factor(2.0)
            .with_max_times(self.tries.saturating_sub(1))
            .build()
    }
}

/// A store whose writes are tried again as long as the error is transient.
pub struct Retrying<W> {
    inner: W,
    settings: RetrySettings,
    stop: CancellationToken,
}

impl<W: WriterBackend> Retrying<W> {
    async fn one_try(&self, object: &Object) -> Result<Stored, WriteError> {
        let give_up = CancellationToken::new();
        let mut put = pin!(self.inner.put_until(object, &give_up));
        let patience = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.settings.grace).await;
        };
        tokio::select! {
            settled = &mut put => return settled,
            () = patience => give_up.cancel(),
        }
        put.await
    }
}

impl<W: WriterBackend> Retrying<W> {
    /// Wraps `inner`. Once `stop` is cancelled no further try begins, and a wait ends at once. A try that has begun may
    /// go on for the settings' `grace`, so that what arrives can be noted as stored; then it is given up.
    pub fn new(inner: W, settings: RetrySettings, stop: CancellationToken) -> Self {
        Self { inner, settings, stop }
    }
}

#[async_trait]
impl<W: WriterBackend> WriterBackend for Retrying<W> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// The last try's error stands for all; it is still marked transient when only the tries ran out or `stop` came.
    async fn put(&self, object: &Object) -> Result<Stored, WriteError> {
        let mut delays = self.settings.delays();
        loop {
            let error = match self.one_try(object).await {
                Err(error) if error.transient => error,
                settled => return settled,
            };
            let Some(delay_max) = delays.next() else { return Err(error) };
            let delay = up_to(delay_max);
            tracing::warn!(backend = self.name(), %error, delay_ms = delay.as_millis(), "write failed, will try again");
            if self.stop.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                return Err(error);
            }
        }
    }

    /// One try: whoever probes waits for the answer.
    async fn probe(&self) -> Result<(), WriteError> {
        self.inner.probe().await
    }
}

/// Full jitter: anything from nothing to `delay_max`, so that writers that failed together don't return together.
fn up_to(delay_max: Duration) -> Duration {
    // Without randomness the longest wait is the safe one.
    getrandom::u32().map_or(delay_max, |random| delay_max.mul_f64(f64::from(random) / f64::from(u32::MAX)))
}

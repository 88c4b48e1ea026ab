//! Tries again what may pass: a wrapper around any store.

use std::pin::pin;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Object, ProbeOutcome, StoreSettings, WriteError, WriterBackend};
use crate::error_chain::ErrorChain;
use crate::job::Stored;

/// A store whose writes are retried as long as the error is transient.
pub struct Retrying<W> {
    inner: W,
    settings: StoreSettings,
    stop: CancellationToken,
}

impl<W: WriterBackend> Retrying<W> {
    async fn one_try(&self, object: &Object) -> Result<Stored, WriteError> {
        let give_up = CancellationToken::new();
        let mut put = pin!(self.inner.put_until(object, &give_up));
        let grace_over = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.settings.cancel_grace).await;
        };
        tokio::select! {
            settled = &mut put => return settled,
            () = grace_over => give_up.cancel(),
        }
        put.await
    }
}

impl<W: WriterBackend> Retrying<W> {
    /// Wraps `inner`. Once `stop` is cancelled no further try begins, and a wait ends at once. A try that has begun may
    /// go on for the settings' `cancel_grace`, so that what arrives can be noted as stored; then it is cancelled.
    pub fn new(inner: W, settings: StoreSettings, stop: CancellationToken) -> Self {
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
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.one_try(object).await {
                Err(error) if error.transient => error,
                settled => return settled,
            };
            let Some(wait) = self.settings.retry.wait_after(tries) else { return Err(error) };
            tracing::warn!(
                backend = self.name(),
                error = ErrorChain(&error).to_string(),
                retry_in_ms = wait.as_millis(),
                "write failed; will be retried"
            );
            if self.stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Err(error);
            }
        }
    }

    /// One try: whoever probes waits for the answer.
    async fn probe(&self) -> Result<ProbeOutcome, WriteError> {
        self.inner.probe().await
    }
}

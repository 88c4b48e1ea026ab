//! What a node answers that hasn't started yet, since it waits for the Redis that it shares with others: that it lives, and
//! takes nothing in. A load balancer sees why it gets nothing, and nobody starts it again for want of an answer.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::listener::BriefAnswers;
use super::start_error::StartError;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::error_chain::ErrorChain;
use crate::routes::{CrossOrigin, answer_while_starting};

/// Answers until it is ended.
pub(super) struct StartingAnswers {
    answering: AbortOnDropHandle<TcpListener>,
    stop: CancellationToken,
}

impl StartingAnswers {
    /// Answers whoever comes to `listener`.
    pub(super) fn begin(listener: TcpListener, config: &Config, clock: &SharedClock) -> Self {
        let cross_origin = Arc::new(CrossOrigin::new(config.server.http.cors_origins.clone()));
        let answers = BriefAnswers::new(Arc::clone(clock), cross_origin, answer_while_starting);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let answering = tokio::spawn(async move {
            while let Some(accepted) = stopped.run_until_cancelled(listener.accept()).await {
                match accepted {
                    Ok((stream, _)) => answers.answer(stream),
                    Err(error) => {
                        debug!(error = %ErrorChain(&error), "accepting a connection failed");
                        tokio::time::sleep(super::listener::ACCEPT_RETRY_DELAY).await;
                    }
                }
            }
            listener
        });
        Self { answering: AbortOnDropHandle::new(answering), stop }
    }

    /// Gives the listener back. Whoever comes from now on waits for the server's own answers.
    pub(super) async fn end(self) -> Result<TcpListener, StartError> {
        self.stop.cancel();
        Ok(self.answering.await?)
    }
}

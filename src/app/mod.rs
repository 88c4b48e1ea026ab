//! Puts the rooms together: settings to parts, then serve and work, then drain.

mod compose;
mod demo;
mod descriptors;
mod listener;
mod parts;
mod persistent_state;
mod sealed_callbacks;
mod start_error;
mod token;

pub use compose::App;
pub use start_error::StartError;
pub use token::{TokenOptions, token};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::config::Config;

/// What `pixerve serve` may be asked beside its settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServeOptions {
    /// Print a token and a curl line once the server listens.
    pub demo: bool,
}

/// Runs the server until it is told to stop.
pub async fn serve(config: Config, options: ServeOptions) -> anyhow::Result<()> {
    let mut stop = StopSignals::new().context("listening for signals")?;
    let drain_timeout = config.server.drain_timeout;
    let app = App::start(config).await?;
    if options.demo {
        demo::print(&app)?;
    }
    let signal = stop.recv().await;
    info!(signal, drain_timeout_s = drain_timeout.as_secs(), "stopping; uploads are refused, running jobs may finish");
    tokio::select! {
        () = app.stop(drain_timeout) => {}
        // A second signal ends the wait: the jobs that still run are in the spool, and the next start requeues them.
        signal = stop.recv() => warn!(signal, "stopped without waiting for running jobs"),
    }
    info!("stopped");
    Ok(())
}

struct StopSignals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

//! Puts the rooms together: settings to parts, then serve and work, then drain.

mod background;
mod compose;
mod demo;
mod descriptors;
mod direct_host;
mod home_mark;
mod keys;
mod listener;
mod metrics;
mod migrate;
mod parts;
mod persistent_state;
mod private_files;
#[cfg(feature = "s3")]
mod register_peers;
mod sealed_callbacks;
mod service_manager;
mod shared_state;
mod signals;
mod start_error;
mod starting;
mod usage_monitor;
mod webhook_secret;

pub use background::TaskFailure;
pub use compose::App;
pub use home_mark::{Destination, HomeMarkError, MarkedHome};
pub use keys::{NewKeys, keys};
pub use migrate::{MigrateError, MigrateOptions, Migrated, migrate};
pub use start_error::StartError;
pub use webhook_secret::webhook_secret;

use anyhow::Context;
use tracing::{error, info};

use self::signals::{Request, Signals};
use crate::config::Config;
use crate::error_chain::ErrorChain;

/// What `pixerve serve` may be asked beside its settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServeOptions {
    /// Show the page, hand it tokens, and print where it is, and a curl line, once the server listens.
    pub demo: bool,
}

/// Runs the server until it is told to stop, or a part of it fails.
pub async fn serve(mut config: Config, options: ServeOptions) -> anyhow::Result<()> {
    if options.demo {
        demo::tell_address(&mut config);
    }
    let mut signals = Signals::listen().context("listening for signals")?;
    let drain_timeout = config.server.drain_timeout;
    let mut app = tokio::select! {
        app = App::start(config, options) => app?,
        // What a start does can be done again, as after a kill.
        signal = signals.stop() => {
            info!(signal, "stopped while it started");
            return Ok(());
        }
    };
    if options.demo {
        demo::print(&app)?;
    }
    service_manager::ready();
    let failure = tokio::select! {
        ended = run(&mut app, &mut signals) => ended.err(),
        () = service_manager::keep_alive() => None,
    };
    service_manager::stopping();
    match &failure {
        None => info!(
            drain_timeout_s = drain_timeout.as_secs(),
            "stopping; uploads are refused, running jobs may finish; a second signal ends it at once"
        ),
        Some(failure) => error!(error = %ErrorChain(failure), "a part of the server failed; stopping"),
    }
    app.stop(drain_timeout).await;
    info!("stopped");
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Returns when the server is to stop, or has to.
async fn run(app: &mut App, signals: &mut Signals) -> Result<(), TaskFailure> {
    loop {
        let request = tokio::select! {
            request = signals.next() => request,
            failure = app.failed() => return Err(failure),
        };
        match request {
            Request::Stop(signal) => {
                info!(signal, "told to stop");
                return Ok(());
            }
            Request::ReloadKeys => app.reload_keys().await,
        }
    }
}

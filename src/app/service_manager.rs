//! systemd, or whatever speaks like it: told how the server is, and the socket that it may lend.
//!
//! A socket that the service manager holds outlives the server: connections wait in it during a restart instead of being
//! refused. So a server on such a socket stops by no longer accepting, and takes what it has accepted already.

use std::net::SocketAddr;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::time::interval;
use tracing::{debug, info};

use super::start_error::StartError;
use crate::error_chain::ErrorChain;

/// The socket that the service manager lends, and its address; none if it lends none. `configured` is what it stands in
/// for.
pub(super) fn lent_socket(configured: SocketAddr) -> Result<Option<(TcpListener, SocketAddr)>, StartError> {
    let failed = |source| StartError::LentSocket { source };
    let Some(socket) = ListenFd::from_env().take_tcp_listener(0).map_err(failed)? else { return Ok(None) };
    socket.set_nonblocking(true).map_err(failed)?;
    let addr = socket.local_addr().map_err(failed)?;
    info!(%addr, %configured, "listening on the service manager's socket; PIXERVE_ADDR is ignored");
    Ok(Some((TcpListener::from_std(socket).map_err(failed)?, addr)))
}

/// Says that the server listens.
pub(super) fn ready() {
    notify(NotifyState::Ready);
}

/// Says that it is stopping.
pub(super) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Says that it lives, as often as the service manager asks for; never, if it doesn't. The runtime says it: one that is
/// stuck falls silent, and the server is started again.
pub(super) async fn keep_alive() {
    let Some(within) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    // Twice as often as is needed.
    let mut ticks = interval((within / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        notify(NotifyState::Watchdog);
    }
}

/// Nobody listens where there is no service manager.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!(error = %ErrorChain(&error), "service manager can't be notified");
    }
}

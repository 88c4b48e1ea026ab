//! The connection loop: what a bare `axum::serve` doesn't do - places for each address, time-outs for heads, idle
//! connections and slow readers, bounds on HTTP/2, request ids on what hyper answers by itself.

mod activity;
mod answer;
mod brief;
mod connection;
mod http2;
mod places;
mod request_id;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

pub(super) use self::brief::BriefAnswers;
use self::connection::Connection;
use self::places::{Place, Places};
use crate::config::ConnectionLimits;
use crate::error_chain::ErrorChain;
use crate::routes::{AppState, Peer, Refusal};
use crate::telemetry::Tally;

/// Between two pings on an HTTP/2 connection, and for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// What HTTP/2 holds of one answer beside the chunk that is read from its body.
const HTTP2_SEND_BYTES: usize = 16 * 1024;
/// After `accept` failed, most often for want of descriptors.
pub(super) const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// The least that hyper reads at once.
const READ_BYTES_MIN: usize = 8 * 1024;
/// Bytes that wait in the kernel of what was not yet sent: less of memory, and a slow reader's progress shows in steps
/// of half of it instead of a third of a send buffer of megabytes.
const UNSENT_IN_KERNEL: u32 = 128 * 1024;

/// When to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerStop {
    /// Accept nothing more, and let requests in flight end.
    pub(super) close: CancellationToken,
    /// Cut those that are still in flight.
    pub(super) cut: CancellationToken,
}

/// Answers connections until `stop.close`, then waits for the requests in flight until `stop.cut`.
pub(super) async fn listen(
    listener: TcpListener,
    router: Router,
    state: AppState,
    limits: ConnectionLimits,
    stop: ListenerStop,
) {
    let (clock, cross_origin, rates) = (&state.clock, &state.cross_origin, Arc::clone(&state.rates));
    let places =
        Places::new(limits.connections_max, limits.connections_per_address_max, rates, state.http_metrics.clone());
    let turned_away =
        BriefAnswers::new(Arc::clone(clock), Arc::clone(cross_origin), |_| Refusal::TooManyConnections.into_response());
    let refused = Tally::new(|count, last| {
        warn!(count, last = %last, "connections refused: their address has as many as it may");
    });
    let builder = Arc::new(builder(&limits));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.close.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, Some(place))) => {
                let connection = Connection {
                    builder: Arc::clone(&builder),
                    router: router.clone(),
                    cross_origin: Arc::clone(cross_origin),
                    clock: Arc::clone(clock),
                    limits: limits.clone(),
                    places: places.clone(),
                    peer,
                    place,
                    stop: stop.clone(),
                };
                connections.spawn(connection.serve(stream));
            }
            Ok((stream, peer, None)) => {
                refused.count(peer.0.ip());
                turned_away.answer(stream);
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "accepting a connection failed; will be retried");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn builder(limits: &ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let read_bytes = usize::try_from(limits.headers_bytes_max).unwrap_or(usize::MAX).max(READ_BYTES_MIN);
    // hyper's own time-out for heads begins when a connection is idle: `activity` tells the two apart.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(read_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(limits.headers_bytes_max)
        .max_send_buf_size(HTTP2_SEND_BYTES)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    if limits.http2 { builder } else { builder.http1_only() }
}

/// The next connection, once there is a place for it; without one if its address has too many.
async fn accept(listener: &TcpListener, places: &Places) -> std::io::Result<(TcpStream, Peer, Option<Place>)> {
    let free = places.free().await;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_IN_KERNEL) {
        debug!(error = %ErrorChain(&error), "unsent bytes of a connection are not bounded in the kernel");
    }
    let peer = Peer(peer);
    Ok((stream, peer, places.take(free, peer)))
}

//! The connection loop: what a bare `axum::serve` doesn't do - time-outs for headers, a cap on connections, bounds on
//! HTTP/2, request ids on what hyper answers by itself.

mod http2;
mod request_id;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::{debug, warn};

use self::request_id::{Answering, AnsweringBody, Answers, RequestIdStream};
use crate::clock::SharedClock;
use crate::config::ConnectionLimits;
use crate::error_chain::ErrorChain;
use crate::routes::Peer;

/// Between two pings on an HTTP/2 connection, and for the answer to one.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// After `accept` failed, most often for want of descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// For requests in flight when the listener closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The least that hyper reads at once.
const READ_BYTES_MIN: usize = 8 * 1024;

/// Answers connections until `stop`, then lets those in flight end.
pub(super) async fn listen(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    clock: SharedClock,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let builder = Arc::new(builder(&limits));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let connection = Connection {
                    builder: Arc::clone(&builder),
                    router: router.clone(),
                    clock: Arc::clone(&clock),
                    first_head_timeout: limits.header_timeout,
                    write_timeout: limits.write_timeout,
                    peer,
                    place,
                };
                connection.start(stream, graceful.watcher());
            }
            Err(error) => {
                warn!(error = %ErrorChain(&error), "accepting a connection failed; will be retried");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(CLOSE_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("requests were still in flight when the server stopped");
    }
}

fn builder(limits: &ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let read_bytes = usize::try_from(limits.headers_bytes_max).unwrap_or(usize::MAX).max(READ_BYTES_MIN);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(read_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(limits.headers_bytes_max)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    builder
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, Peer, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed; without a permit the connection would only be uncounted.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, Peer(peer), place))
}

struct Connection {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    clock: SharedClock,
    first_head_timeout: Duration,
    write_timeout: Duration,
    peer: Peer,
    place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn start(self, stream: TcpStream, watcher: hyper_util::server::graceful::Watcher) {
        let Self { builder, router, clock, first_head_timeout, write_timeout, peer, place } = self;
        tokio::spawn(async move {
            // Taken along: the place is free again when this task ends.
            let _place = place;
            let had_request = Arc::new(AtomicBool::new(false));
            let answers = Answers::default();
            let service = {
                let (router, had_request, answers) = (router, Arc::clone(&had_request), answers.clone());
                service_fn(move |mut request: Request<Incoming>| {
                    had_request.store(true, Ordering::Relaxed);
                    request.extensions_mut().insert(peer);
                    answer(router.clone(), request, answers.begin())
                })
            };
            // A client that reads nothing would hold a place, and what is to be sent, for as long as it likes.
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(write_timeout));
            let stream = RequestIdStream::new(Box::pin(stream), clock, answers);
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            tokio::select! {
                served = watcher.watch(connection) => if let Err(error) = served {
                    debug!(error = %ErrorChain(&*error), "connection failed");
                },
                // hyper's own time-out begins once it knows the protocol, which a silent client never tells it.
                () = no_request(first_head_timeout, &had_request) => debug!("connection without a request closed"),
            }
        });
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    answering: Answering,
) -> Result<Response<AnsweringBody>, Infallible> {
    router.oneshot(request.map(Body::new)).await.map(|response| answering.with(response))
}

/// Returns if no request has begun within `limit`.
async fn no_request(limit: Duration, had_request: &AtomicBool) {
    sleep(limit).await;
    if had_request.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

//! Connections of an address that has as many as it may: one request is answered with a 429, and that is it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use crate::clock::SharedClock;
use crate::routes::{CrossOrigin, Peer, Refusal, RequestOrigin};
use crate::telemetry::{Tally, request_id};

/// At the same time; further ones are closed without an answer.
const ANSWERS_AT_ONCE: usize = 32;
/// For one, from its acceptance to its end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of its body, so that its sender sees the answer and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers those who get no place, and counts them.
pub(super) struct TurnedAway {
    clock: SharedClock,
    cross_origin: Arc<CrossOrigin>,
    answers: Arc<Semaphore>,
    tally: Tally,
}

impl TurnedAway {
    pub(super) fn new(clock: SharedClock, cross_origin: Arc<CrossOrigin>) -> Self {
        let tally = Tally::new(|count, last| {
            warn!(count, last = %last, "connections refused: their address has as many as it may");
        });
        Self { clock, cross_origin, answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)), tally }
    }

    /// Answers in a task of its own.
    pub(super) fn answer(&self, stream: TcpStream, peer: Peer) {
        self.tally.count(peer.0.ip());
        let Ok(place) = Arc::clone(&self.answers).try_acquire_owned() else { return };
        let (clock, cross_origin) = (Arc::clone(&self.clock), Arc::clone(&self.cross_origin));
        tokio::spawn(async move {
            let _place = place;
            let refuse = service_fn(|request| refuse(request, &clock, &cross_origin));
            let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), refuse);
            // Who sends nothing, or resets, is told nothing.
            let _ = timeout(ANSWER_TIMEOUT, connection).await;
        });
    }
}

async fn refuse(
    request: Request<Incoming>,
    clock: &SharedClock,
    cross_origin: &CrossOrigin,
) -> Result<Response<Body>, Infallible> {
    let origin = RequestOrigin::of(&request);
    let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
    let id = request_id(given, clock.now());
    let mut body = request.into_body();
    let _ = timeout(DRAIN_TIMEOUT, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    let mut response = Refusal::TooManyConnections.into_response();
    cross_origin.share(&origin, &mut response);
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    Ok(response)
}

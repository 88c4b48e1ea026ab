//! Connections that get one short answer and no place: of an address that has as many as it may, or of a node that hasn't
//! started yet.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock::SharedClock;
use crate::routes::{CrossOrigin, RequestOrigin};
use crate::telemetry::request_id;

/// At the same time; further ones are closed without an answer.
const ANSWERS_AT_ONCE: usize = 32;
/// For one, from its acceptance to its end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of its body, so that its sender sees the answer and not a reset.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// What a request is answered, by its path.
type Answer = fn(&str) -> Response;

/// Answers the first request of each connection and closes it.
#[derive(Clone)]
pub(in crate::app) struct BriefAnswers {
    clock: SharedClock,
    cross_origin: Arc<CrossOrigin>,
    answer: Answer,
    places: Arc<Semaphore>,
}

impl BriefAnswers {
    pub(in crate::app) fn new(clock: SharedClock, cross_origin: Arc<CrossOrigin>, answer: Answer) -> Self {
        Self { clock, cross_origin, answer, places: Arc::new(Semaphore::new(ANSWERS_AT_ONCE)) }
    }

    /// Answers in a task of its own.
    pub(in crate::app) fn answer(&self, stream: TcpStream) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let this = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let respond = service_fn(|request| this.respond(request));
            let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), respond);
            // Who sends nothing, or resets, is told nothing.
            let _ = timeout(ANSWER_TIMEOUT, connection).await;
        });
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let origin = RequestOrigin::of(&request);
        let given = request.headers().get("x-request-id").and_then(|value| value.to_str().ok());
        let id = request_id(given, self.clock.now());
        let mut response = (self.answer)(request.uri().path());
        let mut body = request.into_body();
        let _ = timeout(DRAIN_TIMEOUT, async { while let Some(Ok(_)) = body.frame().await {} }).await;
        self.cross_origin.share(&origin, &mut response);
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert("x-request-id", id);
        }
        Ok(response)
    }
}

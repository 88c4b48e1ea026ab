//! Request ids and the access log: one line a request, and one span around everything it does.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, debug, info};

use super::AppState;
use crate::telemetry::{request_id, request_span};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that this task is answering.
#[must_use]
pub(super) fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Gives the request an id (or keeps a plain one that a proxy gave it), runs it in a span of that id, answers with it,
/// and logs one line. The query is left out of the line: it may hold what its sender considers private.
#[expect(clippy::disallowed_methods, reason = "how long an answer took is read by people, not by logic")]
pub(super) async fn access_log(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let id = request_id(given, state.clock.now());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let span = request_span(&id, &method, &route);
    let started = Instant::now();
    let answer = async {
        let response = next.run(request).await;
        let ms = started.elapsed().as_millis();
        let status = response.status().as_u16();
        // Load balancers ask every few seconds.
        if route == "/health" && status == 200 {
            debug!(?path, status, ms, "request answered");
        } else {
            info!(?path, status, ms, "request answered");
        }
        response
    };
    let mut response = REQUEST_ID.scope(id.clone(), answer).instrument(span).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    response
}

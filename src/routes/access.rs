//! Request ids and the access log: one line a request, when its answer has been sent, and one span around everything it does.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::EXPECT;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tracing::{Instrument, Span, debug, info};

use super::http_metrics::{HttpMetrics, RequestKind};
use super::request_body::RequestBody;
use super::{AppState, Peer, status_of};
use crate::clock::millis;
use crate::job::{ErrorCode, TraceContext};
use crate::telemetry::{SpanKind, TraceSpan, cut, request_id, request_span};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Routes that load balancers and scrapers ask, and that no trace is about.
const PROBED: [&str; 3] = ["/health", "/health/live", "/metrics"];

/// Bytes of a path that are logged.
const PATH_BYTES_MAX: usize = 512;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that this task is answering.
#[must_use]
pub(super) fn current_request_id() -> Option<String> {
    REQUEST_ID.try_with(Clone::clone).ok()
}

/// Gives the request an id (or keeps a plain one that a proxy gave it), runs it in a span of that id, answers with it,
/// and logs one line. The query is left out of the line: it may hold what its sender considers private. A refusal reads
/// on before it is answered, so that a client in the middle of sending sees it.
pub(super) async fn access_log(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let id = request_id(given, state.clock.now());
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let trace = trace_of(&request, &route);
    let context = trace.context().cloned();
    let span = request_span(&id, request.method(), &route, context.as_ref());
    let kind = RequestKind::of(request.method(), Some(route.as_str()));
    let mut line = Line::of(&state, &request, kind, route == "/health", span.clone(), trace);
    let waits_for_continue = request.headers().contains_key(EXPECT);
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(RequestTrace(context));
    let mut body = RequestBody::new(body);
    let request = Request::from_parts(parts, Body::new(body.clone()));
    let answer = async {
        let response = next.run(request).await;
        // That of a refusal which is told by a redirect is hidden behind that.
        let refused = response.extensions().get::<ErrorCode>().copied().and_then(status_of);
        body.drain_if_refused(refused.unwrap_or(response.status()), waits_for_continue).await;
        response
    };
    let mut response = REQUEST_ID.scope(id.clone(), answer).instrument(span).await;
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    line.status = response.status().as_u16();
    line.code = response.extensions().get::<ErrorCode>().copied();
    line.bytes_in = body.bytes();
    if line.code == Some(ErrorCode::TooManyRequests) {
        state.rates.note_refused(line.client.or(line.peer));
    }
    response.map(|body| Body::new(LoggedBody { body, line }))
}

/// The trace that a request is a part of, among its extensions.
#[derive(Clone, Debug)]
pub(super) struct RequestTrace(pub(super) Option<TraceContext>);

/// The request's span, by OpenTelemetry's conventions for servers. Its path is told where that is the route's, and can hold
/// nothing else. Whoever asks every few seconds how the server is has none.
fn trace_of(request: &Request, route: &str) -> TraceSpan {
    let parent = TraceContext::from_headers(request.headers());
    if PROBED.contains(&route) {
        return TraceSpan::untold(parent);
    }
    // The conventions' words for methods that are none of HTTP's.
    let (method, named) = match RequestKind::of(request.method(), None).method {
        "other" => ("_OTHER", "HTTP"),
        method => (method, method),
    };
    let name = format_args!("{named}{}{route}", if route.is_empty() { "" } else { " " });
    let mut trace = TraceSpan::start(SpanKind::Server, name, parent.as_ref());
    trace.set("http.request.method", method);
    trace.set("url.scheme", "http");
    if !route.is_empty() {
        trace.set("http.route", route);
    }
    if !route.is_empty() && !route.contains('{') {
        trace.set("url.path", route);
    }
    trace
}

/// What is logged of a request, when it is dropped.
struct Line {
    span: Span,
    trace: TraceSpan,
    kind: RequestKind,
    metrics: HttpMetrics,
    path: String,
    peer: Option<IpAddr>,
    /// Who a trusted proxy says it is.
    client: Option<IpAddr>,
    is_health: bool,
    started: Instant,
    status: u16,
    code: Option<ErrorCode>,
    bytes_in: u64,
    bytes_out: u64,
}

impl Line {
    #[expect(clippy::disallowed_methods, reason = "how long an answer took is read by people, not by logic")]
    fn of(
        state: &AppState,
        request: &Request,
        kind: RequestKind,
        is_health: bool,
        span: Span,
        trace: TraceSpan,
    ) -> Self {
        let peer = request.extensions().get::<Peer>().copied();
        let client = peer.and_then(|peer| state.rates.client(peer, request.headers()));
        let peer = peer.map(|peer| peer.0.ip().to_canonical());
        Self {
            span,
            trace,
            kind,
            metrics: state.http_metrics.clone(),
            path: cut(request.uri().path(), PATH_BYTES_MAX),
            peer,
            client: client.filter(|client| Some(*client) != peer),
            is_health,
            started: Instant::now(),
            status: 0,
            code: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    fn tell_trace(&mut self) {
        self.trace.set_number("http.response.status_code", self.status.into());
        if let Some(code) = self.code {
            self.trace.set("pixerve.code", code.as_str());
        }
        if self.status >= 500 {
            self.trace.fail(self.code.map_or("_OTHER", ErrorCode::as_str));
        }
    }

    fn log(&self) {
        let took = self.started.elapsed();
        self.metrics.answered(self.kind, self.status, self.code, took, self.bytes_in);
        let ms = millis(took);
        let Self { path, status, bytes_in, bytes_out, .. } = self;
        let code = self.code.map(ErrorCode::as_str);
        let [peer, client] = [self.peer, self.client].map(|address| address.map(tracing::field::display));
        // Load balancers ask every few seconds, and whoever is told to slow down comes more often still.
        if (self.is_health && *status == 200) || self.code == Some(ErrorCode::TooManyRequests) {
            debug!(path, status, code, ms, bytes_in, bytes_out, peer, client, "request answered");
        } else {
            info!(path, status, code, ms, bytes_in, bytes_out, peer, client, "request answered");
        }
    }
}

/// A response's body, whose end is the end of the request.
struct LoggedBody {
    body: Body,
    line: Line,
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        self.line.tell_trace();
        self.line.span.in_scope(|| self.line.log());
    }
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.line.bytes_out += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

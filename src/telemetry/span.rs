//! The spans that give events their ids. Their level is that of errors, so that no filter parts an event from its ids.

use http::Method;
use tracing::{Span, error_span};

use crate::job::{HashKey, JobId, TraceContext};

/// Around everything that one request does. `route` is the pattern it matched, such as `/files/{*path}`, never the
/// path itself, which may hold anything.
pub fn request_span(request_id: &str, method: &Method, route: &str, trace: Option<&TraceContext>) -> Span {
    error_span!("request", request_id, %method, route, trace_id = trace.map(TraceContext::trace_id))
}

/// The first `bytes_max` bytes of `text`, with a mark if that isn't all of it.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(bytes_max)])
}

/// Around everything that one attempt of a job does, `attempt` counted from 1.
pub fn attempt_span(job_id: &JobId, hash: &HashKey, attempt: u32, trace: Option<&TraceContext>) -> Span {
    error_span!("attempt", %job_id, hash = hash.as_str(), attempt, trace_id = trace.map(TraceContext::trace_id))
}

/// Around what is done for a trace outside of both; none without a trace.
pub fn trace_span(trace: Option<&TraceContext>) -> Span {
    trace.map_or_else(Span::none, |trace| error_span!("trace", trace_id = trace.trace_id()))
}

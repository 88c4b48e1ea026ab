//! The spans of a job's trace, for whoever collects them. Not to be mixed up with the spans around log lines, which are in
//! `span`: these begin and end where work does, and each knows its parent, be that in another process.
//!
//! Where nothing is exported there are no spans; what remains is the context that a request came with, which is told on as
//! it is.

use std::fmt::{Arguments, Display};
use std::time::Duration;

use crate::job::TraceContext;

#[cfg(feature = "otel")]
use super::otlp;

/// On which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It answers one.
    Server,
    /// It makes one, and waits for the answer.
    Client,
    /// Neither.
    Internal,
}

/// Something that takes time, as a part of a trace; it ends when this is dropped.
#[derive(Debug)]
pub struct TraceSpan {
    context: Option<TraceContext>,
    #[cfg(feature = "otel")]
    span: Option<opentelemetry_sdk::trace::Span>,
}

impl TraceSpan {
    /// One that begins now, below `parent`; the first of a new trace if there is none.
    #[must_use]
    #[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "there are no spans"))]
    pub fn start(kind: SpanKind, name: Arguments<'_>, parent: Option<&TraceContext>) -> Self {
        #[cfg(feature = "otel")]
        if let Some((span, context)) = otlp::start(kind, name, parent) {
            return Self { context: Some(context), span: Some(span) };
        }
        Self::untold(parent.cloned())
    }

    /// None, whatever is exported: what is told on is `parent` itself.
    #[must_use]
    pub fn untold(parent: Option<TraceContext>) -> Self {
        Self {
            context: parent,
            #[cfg(feature = "otel")]
            span: None,
        }
    }

    /// What is told to whom is called within it, and kept for what is done later.
    #[must_use]
    pub fn context(&self) -> Option<&TraceContext> {
        self.context.as_ref()
    }

    /// Tells something of it. No secret, no owner, no text of a client's.
    #[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "there are no spans"))]
    pub fn set(&mut self, key: &'static str, value: impl Display) {
        #[cfg(feature = "otel")]
        if let Some(span) = &mut self.span {
            otlp::set(span, key, value.to_string().into());
        }
    }

    /// The same of a number.
    #[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "there are no spans"))]
    pub fn set_number(&mut self, key: &'static str, value: u64) {
        #[cfg(feature = "otel")]
        if let Some(span) = &mut self.span {
            otlp::set(span, key, i64::try_from(value).unwrap_or(i64::MAX).into());
        }
    }

    /// It came to nothing, for a reason of this kind: a word of a fixed set.
    #[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "there are no spans"))]
    pub fn fail(&mut self, error_type: impl Display) {
        #[cfg(feature = "otel")]
        if let Some(span) = &mut self.span {
            otlp::fail(span, error_type.to_string());
        }
    }
}

/// Tells of a span below `parent` that is over: it took `took`, and ended so long ago.
#[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "there are no spans"))]
pub fn trace_past(name: Arguments<'_>, parent: Option<&TraceContext>, took: Duration, ended_ago: Duration) {
    #[cfg(feature = "otel")]
    otlp::past(name, parent, took, ended_ago);
}

/// The same in OpenTelemetry's words.
#[cfg(any(feature = "otel", feature = "gcs"))]
pub fn opentelemetry_context(context: Option<&TraceContext>) -> opentelemetry::Context {
    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId};

    let span = context.map(|context| {
        let trace_id = TraceId::from_hex(context.trace_id()).unwrap_or(TraceId::INVALID);
        let span_id = SpanId::from_hex(context.span_id()).unwrap_or(SpanId::INVALID);
        let state = context.tracestate().and_then(|state| state.parse().ok()).unwrap_or_default();
        SpanContext::new(trace_id, span_id, TraceFlags::new(context.flags()), true, state)
    });
    span.map_or_else(Context::new, |span| Context::new().with_remote_span_context(span))
}

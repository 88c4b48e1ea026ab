//! Logs: what they look like, where they go, and what their fields are called. And traces, in `trace`.
//!
//! | field | what |
//! |---|---|
//! | `request_id` | one HTTP request; also the `x-request-id` of its answer |
//! | `trace_id` | one trace, of the request, or of the upload that its job came with; none where there is no trace |
//! | `job_id` | one job, from its upload to its callback |
//! | `hash` | the job's hash key, whose second half is its owner: the subject, or a digest of user and subject |
//! | `attempt` | which attempt of the job, from 1; of a callback, which delivery |
//! | `backend` | the kind of a store: `directHost`, `s3`, `gcs` |
//! | `code` | the stable code of a refusal |
//! | `peer` | who is at the other end of a connection; `client` whom it speaks for, if it is a trusted proxy |
//! | `error` | what went wrong and what caused it, logged where it is handled |
//!
//! The spans made here carry the first five: [`request_span`] the first, [`attempt_span`] those of a job, both of them and
//! [`trace_span`] the trace's. An event inside one repeats none of its fields; one outside carries those that it knows. Text
//! from outside is a field and never part of the message, as a string or with `?`: both are escaped, where `%` would let it
//! forge a line. Secrets are types that print as redacted.

mod capture;
mod filter;
mod log_file;
#[cfg(not(feature = "otel"))]
mod no_otlp;
#[cfg(feature = "otel")]
mod otlp;
mod output;
mod request_id;
mod span;
mod tally;
mod trace;

pub use capture::Capture;
pub use filter::{FilterError, parse_filter};
#[cfg(not(feature = "otel"))]
pub use no_otlp::TraceExport;
#[cfg(feature = "otel")]
pub use otlp::TraceExport;
pub use output::{DroppedLines, Guard, LogFormat, LogRotation, LogSettings, TelemetryError, init};
pub use request_id::request_id;
pub use span::{attempt_span, cut, request_span, trace_span};
pub use tally::Tally;
#[cfg(any(feature = "otel", feature = "gcs"))]
pub use trace::opentelemetry_context;
pub use trace::{SpanKind, TraceSpan, trace_past};

/// What names a collector of traces; the first is for them alone.
const COLLECTOR_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

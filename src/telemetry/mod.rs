//! Logs: what they look like, where they go, and what their fields are called.
//!
//! | field | what |
//! |---|---|
//! | `request_id` | one HTTP request; also the `x-request-id` of its answer |
//! | `job_id` | one job, from its upload to its callback |
//! | `hash` | the job's hash key, which names its owner |
//! | `attempt` | which try of the job, from 1 |
//! | `backend` | a store: `direct`, `s3`, `gcs` |
//! | `error` | what went wrong, logged once, where it is handled |
//!
//! The spans made here carry the first four; an event inside a span repeats none of its fields. Text from outside is logged
//! with `?`, never with `%`, so that it can't forge a line. Secrets are types that can't be logged.

mod capture;
mod filter;
mod output;
mod request_id;
mod span;

pub use capture::Capture;
pub use filter::{FilterError, parse_filter};
pub use output::{Format, Guard, Rotation, Settings, TelemetryError, init};
pub use request_id::request_id;
pub use span::{attempt_span, request_span};
